"""Mask and remove: a plan applied to a graph, by zeroing units or by slicing them out.

Comes in: a ``Graph``, its ``Analysis``, a ``Plan`` made for this structure.  Goes out: a new
``Graph``; the input is never changed.  Labels are computed anew (about 0.1 s).  Knows nothing of
why units were chosen.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compressor.errors import PlanError
from compressor.graphs import Graph, Rows
from compressor.labelling import Known, Labelling, label
from compressor.labels import Labels
from compressor.planning import keep_mask
from compressor.rules import Value
from compressor.rules.calls import Kept, Pinned, Rewrite
from compressor.types import Analysis, Plan

Mask = NDArray[np.bool_]


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
    for node in list(program.nodes):
        for name, rewrite in cut.labelling.record.rewrites.get(node.name, {}).items():
            _rewrite_argument(node, name, rewrite, cut)
    kept = _kept_rows(cut)
    for node in program.nodes:
        node.meta["shape"] = _shrunk(
            node.meta.get("shape"), cut.labelling.nodes.get(node.name), cut
        )
    return graph.rebuild(program, _slice_tensors(graph, cut), kept=kept)


def mask(graph: Graph, analysis: Analysis, plan: Plan) -> Graph:
    """The same shapes with removed units zero: in every parameter and buffer, and where activations
    are summed against activations (there a unit may have become non-zero, as after a sigmoid).

    Raises PlanError where the plan does not fit the graph.
    """
    cut = lay(graph, analysis, plan)
    program = copy.deepcopy(graph.program.graph)
    tensors = _zero_tensors(graph, cut)
    for node in list(program.nodes):
        for name, dim in cut.labelling.record.contracted.get(node.name, ()):
            _gate_operand(program, node, name, dim, cut, tensors)
    return graph.rebuild(program, tensors)


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
        for name in (item.name, *item.aliases):  # tied tensors stay tied
            sliced[name] = sliced[item.name] if name != item.name else _like(tensors[name], tensor)
    return sliced


def _zero_tensors(graph: Graph, cut: Cut) -> dict[str, Tensor]:
    zeroed: dict[str, Tensor] = {}
    tensors = graph.tensors
    for item in cut.labelling.stored:
        tensor = tensors[item.name].detach().clone()
        for dim, labels in enumerate(item.dims):
            rows = cut.rows(labels)
            if rows is not None:
                gone = torch.from_numpy(np.flatnonzero(~rows)).to(tensor.device)
                tensor.index_fill_(dim, gone, 0)
        for name in (item.name, *item.aliases):
            zeroed[name] = zeroed[item.name] if name != item.name else _like(tensors[name], tensor)
    return zeroed


def _like(original: Tensor, tensor: Tensor) -> Tensor:
    own = tensor.clone() if tensor.data_ptr() == original.data_ptr() else tensor
    if isinstance(original, nn.Parameter):
        return nn.Parameter(own, requires_grad=original.requires_grad)
    return own


# -- nodes -------------------------------------------------------------------------------------


def _kept_rows(cut: Cut) -> dict[str, Mapping[int, Rows]]:
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
    """Position of an argument in the operator's schema."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    return names.index(name)


def _get_argument(node: fx.Node, name: str) -> Any:
    place = argument_place(node, name)
    if place < len(node.args):
        return node.args[place]
    default = node.target._schema.arguments[place].default_value  # type: ignore[union-attr]
    return node.kwargs.get(name, default)


def _set_argument(node: fx.Node, name: str, value: Any) -> None:
    place = argument_place(node, name)
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
    if isinstance(rewrite, Kept):
        return _count(node, old, len(rewrite.labels), cut.count(rewrite.labels))
    parts = [
        o if o == -1 else _rewritten(node, o, r, cut)  # an inferred size stays inferred
        for o, r in zip(old, rewrite, strict=True)
    ]
    return old if all(a is b for a, b in zip(parts, old, strict=True)) else parts


def _count(node: fx.Node, old: Any, before: int, after: int) -> Any:
    counted_from_end = isinstance(old, int) and old < 0  # another place once rows behind it go
    if old is None or (before == after and not counted_from_end):
        return old
    if not isinstance(old, fx.Node):
        return after
    # a symbolic size that holds the dimension as a factor (batch x heads)
    with node.graph.inserting_before(node):
        scaled = node.graph.call_function(operator.mul, (old, after))
        scaled.meta = {"shape": None, "where": "", "source": ""}
        exact = node.graph.call_function(operator.floordiv, (scaled, before))
        exact.meta = {"shape": after, "where": "", "source": ""}
    return exact


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
    gate = f"gate_{node.name}_{name}_{dim}"
    tensors[gate] = torch.from_numpy(rows.astype(np.float32)).reshape(shape)
    with program.inserting_before(node):
        constant = program.get_attr(gate)
        constant.meta = {"shape": tuple(shape), "where": "", "source": ""}
        gated = program.call_function(torch.ops.aten.mul.Tensor, (operand, constant))
        gated.meta = dict(operand.meta)
    _set_argument(node, name, gated)
