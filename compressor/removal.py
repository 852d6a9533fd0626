"""Mask and remove: a plan applied to a graph, by zeroing units or by slicing them out.

Comes in: a ``Graph``, its ``Analysis``, a ``Plan`` made for this structure.  Goes out: a new
``Graph``; the input is never changed.  Labels are computed anew (about 0.1 s).  Knows nothing of
why units were chosen.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compressor.errors import PlanError
from compressor.graphs import Graph, Rows
from compressor.labelling import Known, Labelling, Stored, label
from compressor.labels import Labels
from compressor.overlaps import take
from compressor.planning import keep_mask
from compressor.rules import Value
from compressor.rules.calls import Dims
from compressor.rules.rewrites import Kept, Picked, Pinned, Rewrite, Shifted
from compressor.types import Analysis, Plan

Mask = NDArray[np.bool_]
aten = torch.ops.aten

# Operators that divide, and the position of what is divided by.
_DIVISIONS: Mapping[object, int] = {
    aten.div.Tensor: 1,
    aten.div_.Tensor: 1,
    aten.div.Tensor_mode: 1,
    aten.reciprocal.default: 0,
    aten.rsqrt.default: 0,
    aten.log.default: 0,
}
_REARRANGEMENTS = frozenset(
    {
        aten.view.default,
        aten.reshape.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
        aten.expand.default,
        aten.permute.default,
        aten.transpose.int,
        aten.contiguous.default,
        aten.clone.default,
        aten.detach.default,
        aten.to.dtype,
    }
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A plan laid over a graph's labels: which rows of every dimension stay."""

    labelling: Labelling
    keep: Mask  # by global unit number

    def rows(self, labels: Labels) -> Mask | None:
        """Which rows stay; None where all do."""
        return self.labelling.kept(labels, self.keep)

    def count(self, labels: Labels) -> int:
        rows = self.rows(labels)
        return len(labels) if rows is None else int(rows.sum())  # type: ignore[arg-type]


def lay(graph: Graph, analysis: Analysis, plan: Plan) -> Cut:
    """Check that the plan fits this graph and lay it over its labels.

    Raises PlanError for a plan or analysis of another structure.
    """
    if not graph.fingerprint == analysis.fingerprint == plan.fingerprint:
        raise PlanError(
            f"the plan was made for another structure than {graph.architecture}; "
            "analyse and plan this network, or load the one the plan belongs to"
        )
    return Cut(label(graph), keep_mask(analysis, plan))


def remove(graph: Graph, analysis: Analysis, plan: Plan) -> Graph:
    """The physically smaller graph, which knows what was ``kept`` of every node.

    Raises PlanError where the plan does not fit the graph.
    """
    cut = lay(graph, analysis, plan)
    program = copy.deepcopy(graph.program.graph)
    tensors = _slice_tensors(graph, cut)
    for node in list(program.nodes):
        for name, rewrite in cut.labelling.record.rewrites.get(node.name, {}).items():
            _rewrite_argument(node, name, rewrite, cut)
        picked = cut.labelling.record.picks.get(node.name)
        if picked is not None:
            _pick_anew(node, picked, cut, tensors)
    kept = kept_rows_of(cut)
    for node in program.nodes:
        node.meta["shape"] = _shrunk(
            node.meta.get("shape"), cut.labelling.nodes.get(node.name), cut
        )
    return graph.rebuild(program, tensors, kept=kept)


def mask(graph: Graph, analysis: Analysis, plan: Plan) -> Graph:
    """The same shapes with removed units zero: in every parameter and buffer, and where activations
    are summed against activations (there a unit may have become non-zero, as after a sigmoid).
    Stored tensors that something is divided by are one there.

    Raises PlanError where the plan does not fit the graph.
    """
    cut = lay(graph, analysis, plan)
    program = copy.deepcopy(graph.program.graph)
    tensors = _zero_tensors(graph, cut)
    for node in list(program.nodes):
        for name, dim in cut.labelling.record.contracted.get(node.name, ()):
            _gate_operand(program, node, name, dim, cut, tensors)
    return graph.rebuild(program, tensors)


@dataclass(frozen=True, slots=True)
class Fill:
    """Rows of one dimension of a stored tensor that go, and what stands there instead."""

    dim: int
    gone: Tensor
    nothing: int

    def apply(self, tensor: Tensor) -> None:
        tensor.index_fill_(self.dim, self.gone.to(tensor.device), self.nothing)


# Name of a stored tensor, every name of a tied one -> its fills.
Fills = Mapping[str, tuple[Fill, ...]]


def find_fills(graph: Graph, cut: Cut, device: torch.device | None = None) -> Fills:
    """What ``mask`` writes into stored tensors; the rows' numbers on ``device``."""
    divisors = set(_divisors(graph))
    found: dict[str, tuple[Fill, ...]] = {}
    for item in cut.labelling.stored:
        names = (item.name, *item.aliases)
        nothing = 1 if divisors.intersection(names) else 0
        kept = ((dim, cut.rows(labels)) for dim, labels in enumerate(item.dims))
        fills = tuple(
            Fill(dim, torch.from_numpy(np.flatnonzero(~rows)).to(device or "cpu"), nothing)
            for dim, rows in kept
            if rows is not None
        )
        if fills:
            found.update(dict.fromkeys(names, fills))
    return found


@torch.no_grad()
def hold_masked(graph: Graph, fills: Fills) -> None:
    """Take what is gone out of the stored tensors, in place: after an optimiser's step it moves
    through momentum, decay and, in variances and what is divided by, statistics.

    ``graph``: the one the fills were found in or its ``mask``, on any device.
    """
    tensors = graph.tensors
    for name, ours in fills.items():
        for fill in ours:
            fill.apply(tensors[name])


@torch.no_grad()
def put_back(student: Graph, whole: Graph, cut: Cut) -> None:
    """What lives takes the student's values in a graph of the full shapes, in place.

    The student is the graph masked or with units removed by this cut; what is gone keeps the value
    that it has in ``whole``.
    """
    sources, targets = student.tensors, whole.tensors
    for item in cut.labelling.stored:
        kept = ((dim, cut.rows(labels)) for dim, labels in enumerate(item.dims))
        places = [
            (dim, torch.from_numpy(np.flatnonzero(rows))) for dim, rows in kept if rows is not None
        ]
        for name in (item.name, *item.aliases):
            target = targets[name]
            source = sources[name].to(device=target.device, dtype=target.dtype)
            lives = [(dim, rows.to(target.device)) for dim, rows in places]
            if source.shape == target.shape:
                for dim, rows in lives:
                    source = source.index_select(dim, rows)
            _copy_into(target, source, lives)


def _copy_into(target: Tensor, source: Tensor, places: Sequence[tuple[int, Tensor]]) -> None:
    """The source into these rows of these dimensions of the target."""
    if not places:
        target.copy_(source)
        return
    (dim, rows), *others = places
    if others:
        part = target.index_select(dim, rows)
        _copy_into(part, source, others)
        source = part
    target.index_copy_(dim, rows, source)


# -- tensors -----------------------------------------------------------------------------------


def _slice_tensors(graph: Graph, cut: Cut) -> dict[str, Tensor]:
    sliced: dict[str, Tensor] = {}
    tensors = graph.tensors
    for item in cut.labelling.stored:
        tensor = tensors[item.name].detach()
        for dim, labels in enumerate(item.dims):
            rows = cut.rows(labels)
            if rows is not None:
                index = torch.from_numpy(np.flatnonzero(rows)).to(tensor.device)
                tensor = tensor.index_select(dim, index)
        _share(sliced, tensors, item, tensor)
    return _with_views(sliced, tensors, cut, shrinks=cut)


def _zero_tensors(graph: Graph, cut: Cut) -> dict[str, Tensor]:
    zeroed: dict[str, Tensor] = {}
    tensors = graph.tensors
    fills = find_fills(graph, cut)
    for item in cut.labelling.stored:
        tensor = tensors[item.name].detach().clone()
        for fill in fills.get(item.name, ()):
            fill.apply(tensor)
        _share(zeroed, tensors, item, tensor)
    return _with_views(zeroed, tensors, cut, shrinks=None)


def _divisors(graph: Graph) -> Iterator[str]:
    """Stored tensors that are divided by, as they are or reshaped: zero is not neutral there."""
    for node in graph.program.graph.nodes:
        if node.target not in _DIVISIONS:
            continue
        found = node.args[_DIVISIONS[node.target]]
        while isinstance(found, fx.Node) and found.target in _REARRANGEMENTS:
            found = found.args[0]
        if isinstance(found, fx.Node) and found.op == "get_attr":
            yield str(found.target)


def _share(
    into: dict[str, Tensor], tensors: Mapping[str, Tensor], item: Stored, tensor: Tensor
) -> None:
    """The same tensor under all its names: tied tensors stay tied."""
    for name in (item.name, *item.aliases):
        into[name] = into[item.name] if name != item.name else _like(tensors[name], tensor)


def _with_views(
    made: dict[str, Tensor], tensors: Mapping[str, Tensor], cut: Cut, shrinks: Cut | None
) -> dict[str, Tensor]:
    """Views taken anew from what they view, so that they go on sharing its memory."""
    stored = {item.name: item for item in cut.labelling.stored}
    for item in stored.values():
        if item.view is None:
            continue
        whole, window = item.view
        dims = stored[whole].dims

        def place(dim: int, row: int, dims: Dims = dims) -> int:
            labels = dims[dim]
            return row if shrinks is None or labels is None else shrinks.count(labels[:row])

        view = take(made[whole], window, tuple(made[item.name].shape), place)
        if isinstance(tensors[item.name], nn.Parameter):
            view = nn.Parameter(view, requires_grad=tensors[item.name].requires_grad)
        for name in (item.name, *item.aliases):
            made[name] = view
    return made


def _like(original: Tensor, tensor: Tensor) -> Tensor:
    own = tensor.clone() if tensor.data_ptr() == original.data_ptr() else tensor
    if isinstance(original, nn.Parameter):
        return nn.Parameter(own, requires_grad=original.requires_grad)
    return own


# -- nodes -------------------------------------------------------------------------------------


def kept_rows_of(cut: Cut) -> dict[str, Mapping[int, Rows]]:
    """Node -> dimension -> kept rows, where something went."""
    kept: dict[str, Mapping[int, Rows]] = {}
    for name, known in cut.labelling.nodes.items():
        if not isinstance(known, Value):
            continue
        found = {dim: cut.rows(labels) for dim, labels in enumerate(known.dims)}
        gone = {d: tuple(np.flatnonzero(r).tolist()) for d, r in found.items() if r is not None}
        if gone:
            kept[name] = gone
    return kept


def _shrunk(shape: Any, known: Known | None, cut: Cut) -> Any:
    if isinstance(known, Value):
        return tuple(
            size if labels is None else cut.count(labels)
            for size, labels in zip(known.shape, known.dims, strict=True)
        )
    if isinstance(known, tuple):
        return tuple(_shrunk(None, value, cut) for value in known)
    return shape


def argument_place(node: fx.Node, name: str) -> int:
    """Position of an argument in the operator's schema; "tensors.1" is in the list "tensors"."""
    name = name.partition(".")[0]
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    return names.index(name)


def _get_argument(node: fx.Node, name: str) -> Any:
    place = argument_place(node, name)
    whole, _, entry = name.partition(".")
    if place < len(node.args):
        given = node.args[place]
    else:
        default = node.target._schema.arguments[place].default_value  # type: ignore[union-attr]
        given = node.kwargs.get(whole, default)
    return given[int(entry)] if entry else given  # type: ignore[index]


def _set_argument(node: fx.Node, name: str, value: Any) -> None:
    place = argument_place(node, name)
    whole, _, entry = name.partition(".")
    if entry:
        values = list(_get_argument(node, whole))
        values[int(entry)] = value
        name, value = whole, values
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)


def _rewrite_argument(node: fx.Node, name: str, rewrite: Rewrite, cut: Cut) -> None:
    old = _get_argument(node, name)
    new = _rewritten(node, old, rewrite, cut)
    if new is not old:
        _set_argument(node, name, new)


def _rewritten(node: fx.Node, old: Any, rewrite: Rewrite, cut: Cut) -> Any:
    if rewrite is None:
        return old
    if isinstance(rewrite, Pinned):
        return rewrite.value
    if isinstance(rewrite, Shifted):
        return cut.count(rewrite.labels)
    if isinstance(rewrite, Kept):
        return _count(node, old, len(rewrite.labels), cut.count(rewrite.labels))
    parts = [
        # an inferred size stays inferred
        o if o == -1 and isinstance(r, Kept) else _rewritten(node, o, r, cut)
        for o, r in zip(old, rewrite, strict=True)
    ]
    return old if all(a is b for a, b in zip(parts, old, strict=True)) else parts


def _count(node: fx.Node, old: Any, before: int, after: int) -> Any:
    counted_from_end = isinstance(old, int) and old < 0  # another place once rows behind it go
    if old is None or (before == after and not counted_from_end):
        return old
    if not isinstance(old, fx.Node):
        return after
    # a free size that holds the dimension as a factor (batch x heads): both counts hold it too
    shared = gcd(before, after)
    with node.graph.inserting_before(node):
        scaled = node.graph.call_function(operator.mul, (old, after // shared))
        scaled.meta = {"shape": None, "where": "", "source": ""}
        exact = node.graph.call_function(operator.floordiv, (scaled, before // shared))
        exact.meta = {"shape": after, "where": "", "source": ""}
    return exact


def _pick_anew(node: fx.Node, picked: Picked, cut: Cut, tensors: dict[str, Tensor]) -> None:
    """Rows picked by place, at their places among the kept rows."""
    rows = cut.rows(picked.labels)
    if rows is None:
        return
    places = (np.cumsum(rows) - 1)[picked.places[rows[picked.places]]]
    if node.target is torch.ops.aten.slice.Tensor:
        steps = np.unique(np.diff(places))
        if len(places) and len(steps) <= 1:
            step = int(steps[0]) if len(steps) else 1
            bounds = int(places[0]), int(places[-1]) + 1, step
            node.args, node.kwargs = (node.args[0], picked.dim, *bounds), {}
            return
        node.target = torch.ops.aten.index_select.default
        node.args, node.kwargs = (node.args[0], picked.dim, None), {}
    table = _new_table(node, places, tensors)
    if node.target is torch.ops.aten.index_select.default:
        old = node.args[2]
        node.update_arg(2, table)
    else:
        entries = list(_get_argument(node, "indices"))
        place = next(place for place, entry in enumerate(entries) if entry is not None)
        old = entries[place]
        _set_argument(node, f"indices.{place}", table)
    _erase_unused(old)


def _erase_unused(node: Any) -> None:
    """Copies of a table that nobody reads any more; the table itself keeps its name and values."""
    while isinstance(node, fx.Node) and node.op == "call_function" and not node.users:
        above = node.all_input_nodes
        node.graph.erase_node(node)
        node = above[0] if above else None


def _new_table(node: fx.Node, places: NDArray[np.int64], tensors: dict[str, Tensor]) -> fx.Node:
    """A table of this node's own: others may read the one that it had."""
    name = f"places_{node.name}"
    while name in tensors:
        name = f"{name}_again"
    device = next(iter(tensors.values())).device
    tensors[name] = torch.from_numpy(places).to(device)
    with node.graph.inserting_before(node):
        table = node.graph.get_attr(name)
    table.meta = {"shape": (len(places),), "where": "", "source": ""}
    return table


def _gate_operand(
    program: fx.Graph, node: fx.Node, name: str, dim: int, cut: Cut, tensors: dict[str, Tensor]
) -> None:
    operand = _get_argument(node, name)
    # gated before along another dimension: the labels are those of what was gated
    original = operand if operand.name in cut.labelling.nodes else operand.args[0]
    value = cut.labelling.nodes[original.name]
    assert isinstance(value, Value)
    rows = cut.rows(value.dims[dim])
    if rows is None:
        return
    shape = [1] * len(value.shape)
    shape[dim] = len(rows)
    gate = f"gate_{node.name}_{name}_{dim}".replace(".", "_")
    tensors[gate] = torch.from_numpy(~rows).reshape(shape)
    with program.inserting_before(node):
        constant = program.get_attr(gate)
        constant.meta = {"shape": tuple(shape), "where": "", "source": ""}
        # filled, not multiplied: what is infinite or no number there must become zero too
        gated = program.call_function(aten.masked_fill.Scalar, (operand, constant, 0))
        gated.meta = {n: m for n, m in operand.meta.items() if n != "follows_mode"}
    _set_argument(node, name, gated)
