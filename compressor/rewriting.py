"""Arguments and operands of nodes written anew, for the rows that stay.

Comes in: a node of the smaller graph, what its rule said of an argument, the ``Cut``.  Goes out:
the node, changed in place: counts of kept rows, their places, gates before sums.  Knows nothing of
parameters.
"""

from __future__ import annotations

import operator
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compressor.cuts import Cut
from compressor.rules import Value
from compressor.rules.rewrites import Kept, Picked, Pinned, Rewrite, Shifted

aten = torch.ops.aten


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


def rewrite_argument(node: fx.Node, name: str, rewrite: Rewrite, cut: Cut) -> None:
    """As its rule says: the number of kept rows, or a value that must stay the teacher's."""
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


def pick_anew(node: fx.Node, picked: Picked, cut: Cut, tensors: dict[str, Tensor]) -> None:
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


def gate_operand(
    program: fx.Graph, node: fx.Node, name: str, dim: int, cut: Cut, tensors: dict[str, Tensor]
) -> None:
    """Before a sum over units: what goes is zero, whatever stands there."""
    operand = _get_argument(node, name)
    original = operand
    while original.name not in cut.labelling.nodes:  # gated before along other dimensions
        original = original.args[0]
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
