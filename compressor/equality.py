"""Equality: a module and a graph give the same outputs, shown in float64 at two batch sizes.

Comes in: a module and the ``Graph`` that it should be.  Goes out: nothing, or ``UnholdableError``
with the module and the source line where the two part.  Knows nothing of plans.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compressor.attentions import UnholdableError
from compressor.graphs import Graph, source_line
from compressor.proof import TOLERANCE

BATCHES = (2, 3)


class _InDouble(TorchDispatchMode):
    """Single precision named in a program becomes double, in the module as in the graph."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._assert_tensor_metadata.default:
            return None
        args, kwargs = pytree.tree_map_only(
            torch.dtype,
            lambda dtype: torch.float64 if dtype.is_floating_point else dtype,
            (args, kwargs or {}),
        )
        return func(*args, **kwargs)


@contextlib.contextmanager
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), _InDouble():
            yield
    finally:
        torch.set_default_dtype(before)


def _doubled(module: nn.Module) -> nn.Module:
    """A copy in float64 and evaluation mode, tensors that are plain attributes included."""
    doubled = copy.deepcopy(module).eval().double()
    for part in doubled.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                part.__dict__[name] = value.double()
    return doubled


def check_equal(shrunk: nn.Module, student: Graph) -> None:
    """Run both in evaluation mode; neither is changed.

    Real inputs are seeded normal values, others those captured.  Raises UnholdableError where an
    output differs by more than 1e-9, relative to the largest value where that exceeds one.
    """
    device = next((x.device for x in student.example_inputs), torch.device("cpu"))
    module = _doubled(shrunk).to(device)  # a graph names the device it was captured on
    smaller = student.copy().eval()
    smaller.to(device, torch.float64)
    for batch in BATCHES:
        args, kwargs = _inputs(student, batch, device)
        with _double_precision():
            expected = smaller(*copy.deepcopy(args), **copy.deepcopy(kwargs))
            try:
                found = module(*args, **kwargs)
            except Exception as error:
                raise UnholdableError(_failure(module, student, error)) from error
        worst = _difference(_pairs(expected, found))
        if not worst <= TOLERANCE:
            raise UnholdableError(
                f"{type(shrunk).__name__}: its output differs from the graph student's by "
                f"{worst:.2g} (relative) at a batch of {batch}; its forward computes with sizes of "
                "the original that no attribute holds"
            )


def _inputs(
    student: Graph, batch: int, device: torch.device
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Seeded normal values where the captured inputs are real, else the captured rows in turn."""
    generator = torch.Generator().manual_seed(batch)
    examples = iter(student.example_inputs)
    leaves: list[Any] = []
    for node in student.program.graph.find_nodes(op="placeholder"):
        shape = node.meta.get("shape")
        if not isinstance(shape, tuple):
            leaves.append(node.meta.get("constant", shape))  # fixed by the capture
            continue
        example = next(examples)
        if example.ndim and 0 in node.meta.get("free", (0,)):
            example = torch.cat([example] * batch)[:batch]
        if example.is_floating_point():
            example = torch.randn(example.shape, generator=generator, dtype=torch.float64)
        leaves.append(example.to(device))
    spec = student.program.graph._codegen.pytree_info.in_spec  # type: ignore[attr-defined]
    args, kwargs = pytree.tree_unflatten(leaves, spec)
    return tuple(args), dict(kwargs)


def _difference(pairs: Iterable[tuple[Tensor, Any]]) -> float:
    """Largest difference, relative to the largest value where that exceeds one."""
    worst = 0.0
    for one, two in pairs:
        if not isinstance(two, Tensor) or one.shape != two.shape:
            return float("inf")
        if not one.is_floating_point():
            worst = worst if torch.equal(one, two) else float("inf")
        elif one.numel():
            same = (one == two) | (one.isnan() & two.isnan())
            difference = (one - two).abs().masked_fill(same, 0.0).max()
            scale = one.abs().nan_to_num(0.0, posinf=0.0).max().clamp_min(1.0)
            worst = max(worst, float(difference.nan_to_num(float("inf")) / scale))
    return worst


def _pairs(expected: Any, found: Any) -> Iterator[tuple[Tensor, Any]]:
    """Tensors of the graph's result beside those of the module's.

    What the module returns in a class of its own is a dict or a tuple in the graph, without what is
    no tensor.
    """
    if isinstance(expected, Tensor):
        yield expected, found
    elif isinstance(expected, Mapping):
        for name, value in expected.items():
            other = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
            yield from _pairs(value, other)
    elif isinstance(expected, tuple | list):
        others = found if isinstance(found, tuple | list) else ()
        values = [value for value in expected if _holds_tensors(value)]
        missing = [None] * len(values)
        found_values = [value for value in others if _holds_tensors(value)]
        for value, other in zip(values, (found_values + missing)[: len(values)], strict=True):
            yield from _pairs(value, other)


def _holds_tensors(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))


# -- where they part ------------------------------------------------------------------------


def titled(part: nn.Module, path: str) -> str:
    return f"{path} ({type(part).__name__})" if path else type(part).__name__


def _failure(module: nn.Module, student: Graph, error: Exception) -> str:
    """Module, line and message of what a forward met."""
    paths = {id(part): (path, part) for path, part in module.named_modules()}
    lines = str(error).strip().splitlines()
    source, path, place = "", "", module
    for frame, line in _frames(error.__traceback__):
        file = frame.f_code.co_filename
        if "/torch/" in file or file == __file__:
            continue
        source = source_line(f'File "{file}", line {line}')
        path, place = paths.get(id(frame.f_locals.get("self")), (path, place))
    message = lines[0] if lines else type(error).__name__
    return (
        f"{titled(place, path)}: {source} cannot run with the smaller sizes: {message}"
        f"{_uneven_split(student, path)}"
    )


def _uneven_split(student: Graph, path: str) -> str:
    """Where a chunk of this module would have to be uneven, in words."""
    for node in nodes_by_module(student).get(path, ()):
        if node.target is not torch.ops.aten.split_with_sizes.default:
            continue
        sizes = pytree.tree_leaves(node.args[1])
        if len(set(sizes)) > 1:
            return f"; {node.meta['source']} would have to split into {sizes}"
    return ""


def _frames(trace: TracebackType | None) -> Iterator[tuple[Any, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def nodes_by_module(student: Graph) -> dict[str, list[fx.Node]]:
    found: dict[str, list[fx.Node]] = {}
    for node in student.program.graph.nodes:
        found.setdefault(node.meta.get("where", ""), []).append(node)
    return found
