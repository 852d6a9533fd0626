"""Joining and cutting along a dimension: array operations on labels, lists of sizes rewritten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.labels import Labels, Matrix
from compressor.rules.calls import Call, Dims, Kept, Rewrite, UnsupportedCallError, kept
from compressor.rules.registry import rule


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
    dim = call.dim("dim", values[0])
    for other in values[1:]:
        for axis in range(len(values[0].shape)):
            if axis != dim:
                call.unify(values[0].dims[axis], other.dims[axis])
    joined = stack_rows([value.size_and_labels(dim) for value in values])
    return tuple(
        joined if axis == dim else _first([v.dims[axis] for v in values])
        for axis in range(len(values[0].shape))
    )


def _first(meeting: Sequence[Labels]) -> Labels:
    return next((labels for labels in meeting if labels is not None), None)


@rule("aten.stack")
def stack(call: Call) -> Dims:
    values = call.values("tensors")
    dim = call.integer("dim") % (len(values[0].shape) + 1)
    for other in values[1:]:
        for axis in range(len(values[0].shape)):
            call.unify(values[0].dims[axis], other.dims[axis])
    rest = [_first([v.dims[axis] for v in values]) for axis in range(len(values[0].shape))]
    return (*rest[:dim], None, *rest[dim:])


@rule("aten.split_with_sizes")
def split(call: Call) -> tuple[Dims, ...]:
    """``chunk`` and ``split`` arrive here too: capture writes them with literal sizes."""
    value = call.value("self")
    dim = call.dim("dim", value)
    sizes = call.integers("split_sizes")
    labels = value.dims[dim]
    if labels is None:
        return (value.dims,) * len(sizes)
    stops = np.cumsum(sizes)
    parts = [labels[stop - size : stop] for size, stop in zip(sizes, stops, strict=True)]
    call.rewrite("split_sizes", tuple(Kept(part) for part in parts))
    return tuple((*value.dims[:dim], part, *value.dims[dim + 1 :]) for part in parts)


@rule("aten.slice")
def slice_rows(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    labels = value.dims[dim]
    if labels is None:
        return value.dims
    size = value.shape[dim]
    bounds = []
    for name, absent in (("start", 0), ("end", size)):
        given = call.arguments.get(name)
        place = absent if given is None else call.integer(name)
        bounds.append(min(max(place + size if place < 0 else place, 0), size))
    start, end = bounds
    step = call.arguments.get("step") or 1
    if step != 1:
        if call.units.resolve(labels).size:
            raise UnsupportedCallError("a strided slice of removable units")
        return (
            *value.dims[:dim],
            labels[start : end : call.integer("step")],
            *value.dims[dim + 1 :],
        )
    call.rewrite("start", Kept(labels[:start]))
    if end < size:
        call.rewrite("end", Kept(labels[:end]))
    return (*value.dims[:dim], labels[start:end], *value.dims[dim + 1 :])


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
        if not constant or before < 0 or after < 0:
            raise UnsupportedCallError("padding of removable units other than by a constant")
        parts = call.units.fresh(before), call.units.fresh(after)
        dims[dim] = stack_rows([(before, parts[0]), (len(labels), labels), (after, parts[1])])
        rewrites[2 * place], rewrites[2 * place + 1] = kept(parts[0]), kept(parts[1])
    if any(rewrites):
        call.rewrite("pad", tuple(rewrites))
    return tuple(dims)


@rule("aten.expand")
def expand(call: Call) -> Dims:
    """A dimension of size one repeated: new units without weights; sizes follow them."""
    value, sizes = call.value("self"), call.integers("size")
    lead = len(sizes) - len(value.shape)
    dims: list[Labels] = []
    for position, size in enumerate(call.shape):
        own = position - lead
        same = own >= 0 and value.shape[own] == size
        dims.append(value.dims[own] if same else _repeated(call, size))
    call.rewrite("size", tuple(kept(labels) for labels in dims))
    return tuple(dims)


def _repeated(call: Call, size: int) -> Labels:
    return call.units.fresh(size) if size > 1 else None


@rule("aten.repeat_interleave")
def repeat_interleave(call: Call) -> Dims:
    """Each element several times in a row: labels repeat with it."""
    value = call.value("self")
    if call.arguments.get("dim") is None:
        raise UnsupportedCallError("a repetition over everything")
    dim, times = call.dim("dim", value), call.integer("repeats")
    labels = value.dims[dim]
    repeated = None if labels is None else np.repeat(labels, times, axis=0)
    return (*value.dims[:dim], repeated, *value.dims[dim + 1 :])


@rule("aten.repeat")
def repeat(call: Call) -> Dims:
    """Whole tiles: labels tile with the elements, and the counts stay."""
    value, times = call.value("self"), call.integers("repeats")
    lead = len(times) - len(value.shape)
    own = (*([None] * lead), *value.dims)
    return tuple(
        None if labels is None else np.tile(labels, (count, 1))
        for labels, count in zip(own, times, strict=True)
    )
