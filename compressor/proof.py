"""Proof: the student is the teacher without the removed units, shown node by node in float64.

Comes in: the teacher's graph, the student just removed from it, analysis and plan.  Goes out: a
``Proof``.  The masked teacher and the student run side by side on the same random inputs, at the
captured size with a batch of 2; each node's value on the kept rows must equal the student's.  At
inexact nodes the teacher's norm, mean or softmax is restricted to the kept units.  Values are freed
after their last use.  Knows nothing of training or files.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from compressor.annotation import repeated
from compressor.cuts import Cut, Mask, lay
from compressor.graphs import Graph
from compressor.labels import Labels
from compressor.removal import mask
from compressor.rules import Value
from compressor.stepping import Stepper
from compressor.types import Analysis, Plan, Proof

TOLERANCE = 1e-9  # clean errors are near 1e-15, a wrong index shows above 1e-9 (docs/design.md)
BATCH = 2
PIECE = 2**16  # elements that are compared at once


def _double(tensor: Tensor) -> Tensor:
    """A copy: the program may write into it in place, and both runs start from the same tensors."""
    return tensor.to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)


def _in_double(arguments: Any) -> Any:
    """Floating dtypes among the constants become float64."""
    if isinstance(arguments, torch.dtype):
        return torch.float64 if arguments.is_floating_point else arguments
    if isinstance(arguments, tuple | list):
        return type(arguments)(_in_double(entry) for entry in arguments)
    if isinstance(arguments, dict):
        return {name: _in_double(entry) for name, entry in arguments.items()}
    return arguments


def _stepper(graph: Graph, inputs: tuple[Tensor, ...]) -> Stepper:
    return Stepper(graph, inputs, stored=_double, constants=_in_double)


@contextlib.contextmanager
def _double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def prove(graph: Graph, student: Graph, analysis: Analysis, plan: Plan, *, seed: int = 0) -> Proof:
    """Compare the masked teacher with the student at every node.

    ``student`` must be the direct result of ``remove`` (values unchanged).  A difference does not
    raise: ``passed`` is false and ``first_wrong`` names the node.
    """
    cut = lay(graph, analysis, plan)
    inputs = random_inputs(graph, seed)
    before = graph.copy().eval() if graph.training else graph
    smaller = student.copy().eval() if student.training else student
    with torch.no_grad():
        original = _run_whole(before, inputs)
        with _double_by_default():
            comparison = _Comparison(_real_sizes(graph, inputs), cut)
            masked_output = comparison.run(mask(before, analysis, plan), smaller, inputs)
    wrong = comparison.first_wrong or _lost(original, masked_output)
    removed = {g.group for g in plan.groups if g.width < g.units}
    exact = {group.id for group in analysis.groups if group.exact}
    return Proof(
        passed=wrong is None,
        max_relative_error=comparison.worst,
        tolerance=TOLERANCE,
        nodes_compared=comparison.compared,
        moved=_moved(original, masked_output),
        exact_groups=len(removed & exact),
        inexact_groups=len(removed - exact),
        exact_error=comparison.worst_exact,
        inexact_nodes=comparison.restricted,
        first_wrong=wrong,
    )


def random_inputs(graph: Graph, seed: int) -> tuple[Tensor, ...]:
    """Seeded normal inputs at the captured length with a batch of 2.

    Whole numbers (tokens, masks) and masks of real ones mean something and are taken as captured,
    samples repeated where there are too few.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for example, shape in zip(graph.example_inputs, _input_shapes(graph), strict=True):
        sizes = [
            real if hinted % graph.batch_hint else hinted // graph.batch_hint * BATCH
            for real, hinted in zip(example.shape, shape, strict=True)
        ]
        if example.is_floating_point() and not _is_mask(example):
            found.append(torch.randn(sizes, generator=generator, dtype=torch.float64))
            continue
        for dim, size in enumerate(sizes):
            places = torch.arange(size, device=example.device) % example.shape[dim]
            example = example.index_select(dim, places)
        found.append(example)
    return tuple(found)


def _is_mask(example: Tensor) -> bool:
    """Some zeros, some ones, nothing else."""
    one = example == 1
    return bool((one | (example == 0)).all() and one.any() and not one.all())


def _input_shapes(graph: Graph) -> list[tuple[int, ...]]:
    nodes = graph.program.graph.find_nodes(op="placeholder")
    return [node.meta["shape"] for node in nodes if "free" in node.meta]


def _real_sizes(graph: Graph, inputs: tuple[Tensor, ...]) -> dict[int, int]:
    """The prime of every free size -> that size in these inputs."""
    real = dict(graph.sizes.hints)
    for value, shape in zip(inputs, _input_shapes(graph), strict=True):
        for size, hinted in zip(value.shape, shape, strict=True):
            for hint in graph.sizes.hints:
                if hinted == hint:
                    real[hint] = size
    return real | {graph.batch_hint: BATCH}


def _run_whole(graph: Graph, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The network as it is, in its own precision: ``moved`` needs no more, at half the time."""
    pairs = zip(inputs, graph.example_inputs, strict=True)
    run = Stepper(graph, tuple(value.to(example.dtype, copy=True) for value, example in pairs))
    result: Any = None
    for node in run.nodes:
        result = run.step(node)
        run.release(node)
    return _tensors(result)


def _lost(original: list[Tensor], masked: list[Tensor]) -> str | None:
    """Both runs may agree on what is no number; where the whole network gives one, that fails."""
    for place, (a, b) in enumerate(zip(original, masked, strict=True)):
        if a.is_floating_point() and bool((a.isfinite() & ~b.isfinite()).any()):
            return f"output {place}: not a number where the teacher's is finite"
    return None


def _moved(original: list[Tensor], masked: list[Tensor]) -> float:
    """Largest change of an output against the largest original output."""
    moved = 0.0
    for a, b in zip(original, masked, strict=True):
        if a.is_floating_point() and a.numel():
            largest = a.abs().masked_fill(~a.isfinite(), 0.0).max().clamp_min(1e-30)
            moved = max(moved, float(_largest_difference(a, b) / largest))
    return moved


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


class _Comparison:
    """The masked teacher beside the student."""

    def __init__(self, real: dict[int, int], cut: Cut) -> None:
        self.real = real
        self.cut = cut
        self.compared = 0
        self.restricted = 0
        self.worst = 0.0
        self.worst_exact = 0.0
        self.first_wrong: str | None = None
        self._tainted: set[str] = set()

    def run(self, masked: Graph, student: Graph, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Step through both; returns the masked teacher's outputs."""
        teacher, smaller = _stepper(masked, inputs), _stepper(student, inputs)
        pending = iter(smaller.nodes)
        by_name = {node.name: node for node in smaller.nodes}
        result: Any = None
        alive = True
        for node in teacher.nodes:
            twin = by_name.get(node.name)
            inexact = self._is_inexact(node)
            if inexact and twin is not None:
                self.restricted += 1
                result = self._step_restricted(teacher, smaller, node, twin)
            else:
                result = teacher.step(node)
            if any(used.name in self._tainted for used in node.all_input_nodes) or inexact:
                self._tainted.add(node.name)
            if twin is not None and alive:
                alive = self._follow(smaller, pending, node, result)
            teacher.release(node)
        return _tensors(result)

    def _follow(
        self, smaller: Stepper, pending: Iterator[fx.Node], node: fx.Node, value: Any
    ) -> bool:
        """Run the student up to the same node and compare; false when it cannot go on."""
        while True:
            twin = next(pending)
            try:
                other = smaller.step(twin)
            except (RuntimeError, IndexError, ValueError) as error:
                self._blame(twin, f"the student cannot run it: {str(error).splitlines()[0]}")
                self.worst = float("inf")
                return False
            if twin.name == node.name:
                break
            smaller.release(twin)
        if node.op != "output":
            self._compare(node, value, other)
        smaller.release(twin)
        return True

    def _compare(self, node: fx.Node, value: Any, other: Any) -> None:
        known = self.cut.labelling.nodes.get(node.name)
        values = value if isinstance(value, tuple | list) else (value,)
        others = other if isinstance(other, tuple | list) else (other,)
        items = known if isinstance(known, tuple) else (known,)
        for one, two, item in zip(values, others, items, strict=False):
            if not isinstance(one, Tensor) or not isinstance(item, Value):
                continue
            self.compared += 1
            error = self._error(one, two, item)
            self.worst = max(self.worst, error)
            if node.name not in self._tainted:
                self.worst_exact = max(self.worst_exact, error)
            if not error <= TOLERANCE:
                self._blame(node, f"relative error {error:.2g}")

    def _error(self, value: Tensor, other: Any, item: Value) -> float:
        kept = self._kept(value, item)
        expected = [len(kept[dim]) if dim in kept else size for dim, size in enumerate(value.shape)]
        if not isinstance(other, Tensor) or expected != list(other.shape):
            return float("inf")
        if not value.is_floating_point():
            return 0.0 if torch.equal(_picked(value, kept), other) else float("inf")
        worst = scale = 0.0
        for part, twin in _pieces(value, other, kept):
            own = _picked(part, kept)
            apart, size = _largest(own - twin), _largest(own)
            if not math.isfinite(apart) or not math.isfinite(size):  # ``max`` would lose a NaN
                return _error_beside_infinities(_picked(value, kept), other)
            worst, scale = max(worst, apart), max(scale, size)
        return worst / max(1.0, scale)

    def _kept(self, value: Tensor, item: Value) -> dict[int, Tensor]:
        """Dimension -> places of the kept rows, where some go."""
        found = {dim: self._rows(labels, value.shape[dim]) for dim, labels in enumerate(item.dims)}
        return {
            dim: torch.from_numpy(np.flatnonzero(rows))
            for dim, rows in found.items()
            if rows is not None
        }

    def _gather(self, value: Tensor, item: Value) -> Tensor:
        """The kept rows of a full-size value."""
        return _picked(value, self._kept(value, item))

    def _scatter(self, value: Tensor, item: Value) -> Tensor:
        """A value on kept rows put back into full size, zero elsewhere."""
        for dim, labels in enumerate(item.dims):
            rows = self.cut.rows(labels)
            if rows is None:
                continue
            kept = value.shape[dim] == rows.sum()
            whole = rows if kept else rows[repeated(rows, self.real)]
            index = torch.from_numpy(np.flatnonzero(whole))
            shape = list(value.shape)
            shape[dim] = len(whole)
            value = value.new_zeros(shape).index_copy(dim, index, value)
        return value

    def _rows(self, labels: Labels, size: int) -> Mask | None:
        rows = self.cut.rows(labels)
        if rows is None or len(rows) == size:
            return rows
        return rows[repeated(rows, self.real)]  # a dimension that holds a free size (batch x heads)

    def _is_inexact(self, node: fx.Node) -> bool:
        entries = self.cut.labelling.record.inexact.get(node.name, ())
        return any(self.cut.rows(labels) is not None for labels in entries)

    def _step_restricted(
        self, teacher: Stepper, smaller: Stepper, node: fx.Node, twin: fx.Node
    ) -> Any:
        """The teacher's own values on kept rows through the operator, put back into full size.

        Constants such as normalized_shape are the student's: they count the kept rows.
        """

        def gathered(used: fx.Node) -> Any:
            known = self.cut.labelling.nodes.get(used.name)
            if isinstance(known, Value) and used.name in teacher.values:
                return self._gather(teacher.values[used.name], known)
            return smaller.values.get(used.name, teacher.values.get(used.name))

        args = _in_double(fx.map_arg(twin.args, gathered))
        kwargs = _in_double(fx.map_arg(twin.kwargs, gathered))
        value = node.target(*args, **kwargs)  # type: ignore[operator]
        known = self.cut.labelling.nodes[node.name]
        full: Any
        if isinstance(known, tuple):
            full = tuple(self._scatter(v, item) for v, item in zip(value, known, strict=True))
        else:
            full = self._scatter(value, known)
        teacher.values[node.name] = full
        return full

    def _blame(self, node: fx.Node, text: str) -> None:
        if self.first_wrong is None:
            place = ", ".join(
                part for part in (node.meta.get("where", ""), node.meta.get("source", "")) if part
            )
            self.first_wrong = f"{node.name} ({node.target}) {place}: {text}"


def _picked(value: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    for dim, rows in kept.items():
        value = value.index_select(dim, rows)
    return value


def _pieces(
    value: Tensor, other: Tensor, kept: Mapping[int, Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Both cut alike along the longest dimension that keeps all its rows.

    Small enough for the cache: of a large value, copies as a whole cost more than the arithmetic.
    """
    whole = [dim for dim in range(value.ndim) if dim not in kept]
    if not other.numel():
        return
    if not whole:
        yield value, other
        return
    dim = max(whole, key=lambda d: value.shape[d])
    size = max(1, PIECE * value.shape[dim] // value.numel())
    yield from zip(value.split(size, dim), other.split(size, dim), strict=True)


def _largest(tensor: Tensor) -> float:
    """Largest absolute value, in one pass; not finite where any value is not."""
    least, most = torch.aminmax(tensor)
    return max(abs(float(least)), abs(float(most)))


def _error_beside_infinities(expected: Tensor, other: Tensor) -> float:
    """Masks hold infinities: what is equal on both sides counts as no difference."""
    worst = _largest_difference(expected, other)
    scale = expected[expected.isfinite()].abs().max() if expected.isfinite().any() else worst
    return float(worst / max(1.0, float(scale))) if worst.isfinite() else math.inf


def _largest_difference(expected: Tensor, other: Tensor) -> Tensor:
    """What is equal, or no number on both sides, differs by nothing; no number on one: infinity."""
    same = (expected == other) | (expected.isnan() & other.isnan())
    difference = (expected - other).abs().masked_fill(same, 0.0)
    return difference.nan_to_num(nan=math.inf, posinf=math.inf).max()
