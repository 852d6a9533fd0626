"""Mask and remove: a plan applied to a graph, by zeroing units or by slicing them out.

Comes in: a ``Graph``, its ``Analysis``, a ``Plan`` made for this structure.  Goes out: a new
``Graph``; the input is never changed.  Knows nothing of why units were chosen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.cuts import Cut, kept_rows_of, lay, shrunk
from compressor.graphs import Graph
from compressor.labelling import Stored
from compressor.overlaps import take
from compressor.rewriting import gate_operand, pick_anew, rewrite_argument
from compressor.rules.calls import Dims
from compressor.types import Analysis, Plan

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


def remove(graph: Graph, analysis: Analysis, plan: Plan) -> Graph:
    """The physically smaller graph, which knows what was ``kept`` of every node.

    Raises PlanError where the plan does not fit the graph.
    """
    cut = lay(graph, analysis, plan)
    program = copy.deepcopy(graph.program.graph)
    tensors = _slice_tensors(graph, cut)
    for node in list(program.nodes):
        for name, rewrite in cut.labelling.record.rewrites.get(node.name, {}).items():
            rewrite_argument(node, name, rewrite, cut)
        picked = cut.labelling.record.picks.get(node.name)
        if picked is not None:
            pick_anew(node, picked, cut, tensors)
    kept = kept_rows_of(cut)
    for node in program.nodes:
        node.meta["shape"] = shrunk(node.meta.get("shape"), cut.labelling.nodes.get(node.name), cut)
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
            gate_operand(program, node, name, dim, cut, tensors)
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
