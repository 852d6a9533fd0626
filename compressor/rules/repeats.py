"""Repeating: labels repeat with the elements; a single element's copies have units of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, UnsupportedCallError
from compressor.rules.cuts import replaced
from compressor.rules.elementwise import broadcast
from compressor.rules.registry import rule
from compressor.rules.rewrites import Kept, Rewrite, kept


def _copies(call: Call, count: int) -> Labels:
    """New units without weights: they go where they are united to."""
    return call.units.fresh(count) if count > 1 else None


@rule("aten.expand", "aten.broadcast_to")
def expand(call: Call) -> Dims:
    """A dimension of size one repeated; sizes follow it."""
    value, sizes = call.value("self"), call.integers("size")
    lead = len(sizes) - len(value.shape)
    dims: list[Labels] = []
    for position, size in enumerate(call.shape):
        own = position - lead
        same = own >= 0 and value.shape[own] == size
        dims.append(value.dims[own] if same else _copies(call, size))
    call.rewrite("size", tuple(kept(labels) for labels in dims))
    return tuple(dims)


@rule("aten.repeat", "aten.tile")
def repeat(call: Call) -> Dims:
    """Whole tiles; the counts stay but where a single element is repeated."""
    value = call.value("self")
    name = "repeats" if "repeats" in call.arguments else "dims"
    times = call.integers(name)
    rank = len(call.shape)
    counts = (1,) * (rank - len(times)) + times  # tile may name fewer than there are
    lead = rank - len(value.shape)
    dims: list[Labels] = []
    rewrites: list[Rewrite] = []
    for position, count in enumerate(counts):
        own = position - lead
        size, labels = (1, None) if own < 0 else value.size_and_labels(own)
        made = _copies(call, count) if size == 1 else None
        dims.append(made if labels is None else np.tile(labels, (count, 1)))
        rewrites.append(kept(made))
    call.rewrite(name, tuple(rewrites[rank - len(times) :]))
    return tuple(dims)


@rule("aten.repeat_interleave")
def repeat_interleave(call: Call) -> Dims:
    """Each element several times in a row."""
    value = call.value("self")
    if call.arguments.get("dim") is None:
        raise UnsupportedCallError("a repetition over everything")
    dim, times = call.dim("dim", value), call.integer("repeats")
    size, labels = value.size_and_labels(dim)
    if labels is not None:
        return replaced(value, dim, np.repeat(labels, times, axis=0))
    made = _copies(call, times) if size == 1 else None
    if made is not None:
        call.rewrite("repeats", Kept(made))
    return replaced(value, dim, made)


@rule("aten.meshgrid")
def meshgrid(call: Call) -> tuple[Dims, ...]:
    """Every vector along a dimension of its own; "xy" swaps the first two."""
    values = call.values("tensors")
    dims = [value.dims[0] if value.shape else None for value in values]
    if call.arguments.get("indexing") == "xy" and len(dims) > 1:
        dims[:2] = dims[1], dims[0]
    return (tuple(dims),) * len(values)


@rule("aten.broadcast_tensors")
def broadcast_tensors(call: Call) -> tuple[Dims, ...]:
    shapes: Sequence[tuple[int, ...]] = call.shape  # type: ignore[assignment]
    return (broadcast(call, shapes[0]),) * len(shapes)
