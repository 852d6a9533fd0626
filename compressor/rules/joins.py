"""Joining along a dimension: labels are put one under the other, pad widths are rewritten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.labels import Labels, Matrix
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.cuts import first_known
from compressor.rules.registry import operator_name, rule
from compressor.rules.rewrites import Rewrite, kept


def stack_rows(parts: Sequence[tuple[int, Labels]]) -> Labels:
    """One label matrix under the other; parts that always stay have rows without units."""
    if all(labels is None for _, labels in parts):
        return None
    width = max(labels.shape[1] for _, labels in parts if labels is not None)
    rows: list[Matrix] = []
    for size, labels in parts:
        block = np.zeros((size, width), dtype=np.int64)
        if labels is not None:
            block[:, : labels.shape[1]] = labels
        rows.append(block)
    return np.concatenate(rows)


@rule("aten.cat", "aten.concat", "aten.concatenate")
def concatenate(call: Call) -> Dims:
    values = [v for v in call.values("tensors") if v.shape != (0,)]
    return _joined(call, values, call.dim("dim", values[0]))


_OUTWARD = {"aten.vstack": 0, "aten.hstack": 1, "aten.column_stack": 1, "aten.dstack": 2}


@rule(*_OUTWARD)
def join_outward(call: Call) -> Dims:
    """Along the rows, the columns or what is behind them, where tensors have these."""
    values = call.values("tensors")
    dim = _OUTWARD[operator_name(call.node.target)]
    if any(len(value.shape) <= max(dim, 1) for value in values):
        raise UnsupportedCallError("tensors put side by side along a dimension that is made for it")
    return _joined(call, values, dim)


def _joined(call: Call, values: Sequence[Value], dim: int) -> Dims:
    rank = range(len(values[0].shape))
    for other in values[1:]:
        for axis in rank:
            if axis != dim:
                call.unify(values[0].dims[axis], other.dims[axis])
    joined = stack_rows([value.size_and_labels(dim) for value in values])
    return tuple(
        joined if axis == dim else first_known([v.dims[axis] for v in values]) for axis in rank
    )


@rule("aten.stack")
def stack(call: Call) -> Dims:
    values = call.values("tensors")
    dim = call.integer("dim") % (len(values[0].shape) + 1)
    for other in values[1:]:
        for axis in range(len(values[0].shape)):
            call.unify(values[0].dims[axis], other.dims[axis])
    rest = [first_known([v.dims[axis] for v in values]) for axis in range(len(values[0].shape))]
    return (*rest[:dim], None, *rest[dim:])


@rule("aten.pad", "aten.constant_pad_nd")
def pad(call: Call) -> Dims:
    """Padded rows are units of their own without weights: they go where they are united to."""
    value = call.value("self")
    widths = call.integers("pad")
    rank = len(value.shape)
    constant = call.arguments.get("mode") in (None, "constant")
    dims = list(value.dims)
    rewrites: list[Rewrite] = [None] * len(widths)
    for place in range(len(widths) // 2):
        dim = rank - 1 - place
        before, after = widths[2 * place], widths[2 * place + 1]
        labels = dims[dim]
        if labels is None or (before, after) == (0, 0):
            continue
        if call.placed(value, dim) is None:
            dims[dim] = None
            continue
        if not constant or before < 0 or after < 0:
            if not call.live(labels):
                dims[dim] = None
                continue
            raise UnsupportedCallError("padding of removable units other than by a constant")
        parts = call.units.fresh(before), call.units.fresh(after)
        inner = call.cut_out(labels)  # else the constant alone might be kept
        dims[dim] = stack_rows([(before, parts[0]), (len(labels), inner), (after, parts[1])])
        rewrites[2 * place], rewrites[2 * place + 1] = kept(parts[0]), kept(parts[1])
    if any(rewrites):
        call.rewrite("pad", tuple(rewrites))
    return tuple(dims)
