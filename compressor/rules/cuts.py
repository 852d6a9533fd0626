"""Cutting along a dimension: labels are cut alike, sizes and bounds are rewritten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.labels import Labels, Matrix
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.positions import is_written
from compressor.rules.registry import rule
from compressor.rules.rewrites import Kept


def replaced(value: Value, dim: int, labels: Labels) -> Dims:
    """The value's dimensions with other labels for one of them."""
    return (*value.dims[:dim], labels, *value.dims[dim + 1 :])


def without(value: Value, dim: int) -> Dims:
    return (*value.dims[:dim], *value.dims[dim + 1 :])


@rule("aten.split_with_sizes", "aten.unsafe_split_with_sizes")
def split(call: Call) -> tuple[Dims, ...]:
    """``chunk`` and ``split`` arrive here too: capture writes them with literal sizes."""
    value = call.value("self")
    dim = call.dim("dim", value)
    sizes = call.integers("split_sizes")
    labels = call.placed(value, dim)
    if labels is None:
        return (replaced(value, dim, None),) * len(sizes)
    stops = np.cumsum(sizes)
    parts = [
        call.cut_out(labels[stop - size : stop]) for size, stop in zip(sizes, stops, strict=True)
    ]
    call.rewrite("split_sizes", tuple(Kept(part) for part in parts))
    return tuple(replaced(value, dim, part) for part in parts)


@rule("aten.chunk", "aten.split", "aten.tensor_split", "aten.unsafe_chunk", "aten.unsafe_split")
def pieces(call: Call) -> tuple[Dims, ...]:
    """Where one piece ends and the next begins, other rows stand at another size: all stay.

    By number, size or places along a dimension that holds a free size, or by places out of order.
    """
    value = call.value("self")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "is cut into pieces that overlap or move with a free size")
    return (replaced(value, dim, None),) * len(call.shape)


def slice_bounds(call: Call, size: int) -> tuple[int, int, int]:
    """Start, end and step of a slice of a dimension, inside it and counted from its front."""
    bounds = []
    for name, absent in (("start", 0), ("end", size)):
        given = call.arguments.get(name)
        place = absent if given is None else call.integer(name)
        bounds.append(min(max(place + size if place < 0 else place, 0), size))
    return bounds[0], bounds[1], call.integer("step")


@rule("aten.slice")
def slice_rows(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    size = value.shape[dim]
    start, end, step = slice_bounds(call, size)
    if (start, end, step) == (0, size, 1):
        return value.dims
    labels = call.placed(value, dim)
    if labels is None:
        return replaced(value, dim, None)
    if step == 1:
        call.rewrite("start", Kept(labels[:start]))
        if end < size:
            call.rewrite("end", Kept(labels[:end]))
        return replaced(value, dim, call.cut_out(labels[start:end]))
    if is_written(call.node):
        _keep_whole_periods(call, labels, step)
    return replaced(value, dim, call.pick(dim, labels, np.arange(start, end, step)))


def _keep_whole_periods(call: Call, labels: Matrix, step: int) -> None:
    """What is written through a strided slice must stay one: its period goes as a whole."""
    if len(labels) % step:
        call.freeze(labels, "is written through a strided slice that does not fit its size")
        return
    _, place = call.split(labels, (len(labels) // step, step))
    call.freeze(place, "is a place in the period of a strided slice that is written in place")


@rule("aten.narrow")
def narrow(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    labels = call.placed(value, dim)
    if labels is None:
        return replaced(value, dim, None)
    start, length = call.integer("start") % len(labels), call.integer("length")
    call.rewrite("start", Kept(labels[:start]))
    call.rewrite("length", Kept(labels[start : start + length]))
    return replaced(value, dim, call.cut_out(labels[start : start + length]))


@rule("aten.slice_scatter")
def scatter_into_slice(call: Call) -> Dims:
    """A copy with a slice replaced."""
    value, source = call.value("self"), call.value("src")
    dim = call.dim("dim", value)
    labels = call.placed(value, dim)
    result = _united_but(call, value, source, dim)
    if labels is None:
        call.freeze(source.dims[dim], "takes a place that stays")
        return result
    start, end, step = slice_bounds(call, len(labels))
    if step != 1:
        _keep_whole_periods(call, labels, step)
    call.unify(labels[start:end:step], source.dims[dim])
    if step == 1:
        call.rewrite("start", Kept(labels[:start]))
    elif start >= step and call.live(labels):
        raise UnsupportedCallError("a strided slice that starts behind its first period")
    if end < len(labels):
        call.rewrite("end", Kept(labels[:end]))
    call.cut_out(labels[start:end:step])
    return result


def _united_but(call: Call, value: Value, other: Value, dim: int) -> Dims:
    """Two tensors agree in every dimension but one; labels of the first, or where it has none."""
    result: list[Labels] = []
    for axis, (own, its) in enumerate(zip(value.dims, other.dims, strict=True)):
        if axis != dim:
            call.unify(own, its)
        result.append(own if axis == dim or own is not None else its)
    return tuple(result)


@rule("aten.select_scatter")
def scatter_into_row(call: Call) -> Dims:
    """A copy with one row replaced: that row stays."""
    value, source = call.value("self"), call.value("src")
    dim = call.dim("dim", value)
    for own, its in zip(without(value, dim), source.dims, strict=True):
        call.unify(own, its)
    keep_row(call, value, dim)
    return value.dims


def keep_row(call: Call, value: Value, dim: int) -> None:
    """The row at ``index`` stays, and its place follows the rows before it."""
    labels = call.placed(value, dim)
    if labels is None or not call.live(labels):
        return
    place = call.integer("index") % len(labels)
    call.freeze(labels[place : place + 1], "one position of it is picked")
    call.rewrite("index", Kept(labels[:place]))


@rule("aten.select")
def select(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    keep_row(call, value, dim)
    return without(value, dim)


@rule("aten.unbind")
def unbind(call: Call) -> tuple[Dims, ...]:
    value = call.value("self")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "its positions are taken apart")
    return (without(value, dim),) * value.shape[dim]


@rule("aten.glu")
def gated_linear_unit(call: Call) -> Dims:
    """Halves of one dimension multiplied: both halves' units go together."""
    value = call.value("self")
    dim = call.dim("dim", value)
    labels = call.placed(value, dim)
    if labels is None:
        return replaced(value, dim, None)
    half = len(labels) // 2
    call.unify(labels[:half], labels[half:])
    return replaced(value, dim, call.cut_out(labels[:half]))


def first_known(meeting: Sequence[Labels]) -> Labels:
    return next((labels for labels in meeting if labels is not None), None)
