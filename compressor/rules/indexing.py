"""Picking and writing by tables of positions.

A table that is known when the graph is read is followed and written anew; else the dimension that
it points into stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.labels import Labels
from compressor.rules.calls import Argument, Call, Dims, UnsupportedCallError, Value
from compressor.rules.cuts import replaced, without
from compressor.rules.positions import known_positions
from compressor.rules.registry import rule
from compressor.rules.rewrites import Rewrite, Shifted

_INDEXED = "is indexed by a table of positions"


@rule("aten.index", "aten._unsafe_index")
def index(call: Call) -> Dims:
    """Indexing by tensors; the index's own dimensions are not removable.

    For a mask of several dimensions the answer has another rank than the result: it is refused.
    """
    value, entries = call.value("self"), _entries(call)
    tables = [(d, entry) for d, entry in enumerate(entries) if isinstance(entry, Value)]
    if len(tables) == 1:
        followed = _followed(call, value, *tables[0])
        if followed is not None:
            return followed
    return _indexed(call, value, entries)


def _entries(call: Call) -> Sequence[Argument]:
    entries = call.arguments["indices"]
    if not isinstance(entries, tuple | list):
        raise UnsupportedCallError("indices that are not a list")
    return entries


def _followed(call: Call, value: Value, dim: int, table: Value) -> Dims | None:
    """Labels of the rows that a known table picks."""
    labels = call.placed(value, dim)
    if labels is None or not call.live(labels):
        return None
    places = known_positions(call, table, len(labels))
    if places is None:
        return None
    call.fix(*table.dims)
    return replaced(value, dim, call.pick(dim, labels, places))


def _indexed(call: Call, value: Value, entries: Sequence[Argument]) -> Dims:
    """Labels of ``value[entries]``, whose indexed dimensions freeze."""
    tables = [(d, entry) for d, entry in enumerate(entries) if isinstance(entry, Value)]
    indexed = [d for d, _ in tables]
    for d, entry in tables:
        call.freeze(value.dims[d], _INDEXED)
        for labels in entry.dims:
            call.freeze(labels, "holds positions of an index")
    rest: list[Labels] = [x for d, x in enumerate(value.dims) if d not in indexed]
    new: list[Labels] = [None] * max(len(entry.shape) for _, entry in tables)
    adjacent = indexed == list(range(indexed[0], indexed[0] + len(indexed)))
    at = indexed[0] if adjacent else 0
    return (*rest[:at], *new, *rest[at:])


@rule("aten.index_select")
def index_select(call: Call) -> Dims:
    value, table = call.value("self"), call.value("index")
    dim = call.dim("dim", value)
    followed = _followed(call, value, dim, table)
    if followed is not None:
        return followed
    call.freeze(value.dims[dim], _INDEXED)
    call.freeze(table.dims[0] if table.dims else None, "holds positions of an index")
    return replaced(value, dim, None)


@rule("aten.flip")
def flip(call: Call) -> Dims:
    value = call.value("self")
    rank = len(value.shape)
    turned = {dim % rank for dim in call.integers("dims")}
    return tuple(
        labels[::-1] if labels is not None and dim in turned else labels
        for dim, labels in enumerate(value.dims)
    )


@rule("aten.roll")
def roll(call: Call) -> Dims:
    """What is moved around the end stays behind the same rows: the shift counts its kept rows."""
    value = call.value("self")
    dims = call.integers("dims")
    if not dims:
        raise UnsupportedCallError("rolled over everything")
    result = list(value.dims)
    rewrites: list[Rewrite] = []
    for place, dim in enumerate(dims):
        labels = result[dim]
        if labels is None or call.placed(value, dim) is None or not call.live(labels):
            rewrites.append(None)
            continue
        moved = call.integers("shifts")[place] % len(labels)
        rewrites.append(Shifted(labels[len(labels) - moved :]))
        result[dim] = np.roll(labels, moved, axis=0)
    if any(rewrites):
        call.rewrite("shifts", tuple(rewrites))
    return tuple(result)


@rule("aten.gather")
def gather(call: Call) -> Dims:
    """One element for each of the index's, along one dimension; along others, place by place."""
    value, table = call.value("self"), call.value("index")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], _INDEXED)
    picked = _place_by_place(call, value, table, dim)
    for axis, labels in enumerate(picked):
        if labels is not None and len(labels) < value.shape[axis]:
            call.cut_out(labels)
    return picked


def _place_by_place(call: Call, value: Value, table: Value, dim: int) -> Dims:
    """A table of the value's rank: its rows are the value's first ones, but along ``dim``."""
    result: list[Labels] = []
    for axis, its in enumerate(table.dims):
        if axis == dim:
            call.freeze(its, "holds positions of an index")
            result.append(None)
            continue
        first = _first_rows(call, value, axis, table.shape[axis])
        call.unify(first, its)
        result.append(first if first is not None else its)
    return tuple(result)


def _first_rows(call: Call, value: Value, dim: int, count: int) -> Labels:
    """Labels of the first rows of a dimension, or of all."""
    if count == value.shape[dim]:
        return value.dims[dim]
    labels = call.placed(value, dim)
    return None if labels is None else labels[:count]


@rule("aten.take_along_dim")
def take_along(call: Call) -> Dims:
    """As gather, with sizes of one broadcast; positions over everything are not followed."""
    value, table = call.value("self"), call.value("indices")
    if call.arguments.get("dim") is None:
        raise UnsupportedCallError("positions over everything")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], _INDEXED)
    call.freeze(table.dims[dim], "holds positions of an index")
    result: list[Labels] = []
    for axis, (own, its) in enumerate(zip(value.dims, table.dims, strict=True)):
        if value.shape[axis] == table.shape[axis] and axis != dim:
            call.unify(own, its)
        result.append(None if axis == dim else own if own is not None else its)
    return tuple(result)


@rule("aten.scatter", "aten.scatter_add", "aten.scatter_reduce")
def scatter(call: Call) -> Dims:
    """Elements written, or added, at positions along one dimension."""
    value, table = call.value("self"), call.value("index")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "is written at positions of a table")
    places = _place_by_place(call, value, table, dim)
    source = call.optional("src")
    for axis in range(len(value.shape)) if source is not None and source.shape else ():
        its = source.dims[axis]  # type: ignore[union-attr]
        if axis == dim:
            call.freeze(its, "is written at positions of a table")
        elif its is not None or places[axis] is not None:
            call.unify(places[axis], None if its is None else its[: table.shape[axis]])
    return value.dims


@rule("aten.index_add", "aten.index_copy", "aten.index_reduce", "aten.index_fill")
def write_rows(call: Call) -> Dims:
    value, source = call.value("self"), call.optional("source")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "is written at positions of a table")
    for labels in call.value("index").dims:
        call.freeze(labels, "holds positions of an index")
    for axis, labels in enumerate(source.dims if source is not None else ()):
        if axis == dim:
            call.freeze(labels, "is written at positions of a table")
        else:
            call.unify(value.dims[axis], labels)
    return value.dims


@rule("aten.index_put", "aten._unsafe_index_put")
def index_put(call: Call) -> Dims:
    value, written = call.value("self"), call.value("values")
    picked = _indexed(call, value, _entries(call))
    for behind in range(1, len(written.shape) + 1):
        if written.shape[-behind] > 1:
            its = written.dims[-behind]
            call.unify(picked[-behind] if behind <= len(picked) else None, its)
    return value.dims


@rule("aten.diagonal")
def diagonal(call: Call) -> Dims:
    value = call.value("self")
    pair = sorted((call.dim("dim1", value), call.dim("dim2", value)), reverse=True)
    rest = value
    for dim in pair:
        call.freeze(value.dims[dim], "a diagonal of it is taken")
        rest = Value(value.node, rest.shape[:dim] + rest.shape[dim + 1 :], without(rest, dim))
    return (*rest.dims, None)


@rule("aten.triu", "aten.tril")
def triangle(call: Call) -> Dims:
    value = call.value("self")
    for labels in value.dims[-2:]:
        call.freeze(labels, "a triangle of it is kept")
    return value.dims


@rule("aten.rot90")
def turn(call: Call) -> Dims:
    value = call.value("self")
    for dim in call.integers("dims"):
        call.freeze(value.dims[dim], "is turned into another dimension")
    if call.integer("k") % 2:
        first, second = call.integers("dims")
        crossed = list(value.dims)
        crossed[first], crossed[second] = None, None
        return tuple(crossed)
    return value.dims


@rule("aten.unfold")
def sliding_windows(call: Call) -> Dims:
    """Windows along one dimension, which becomes two: the windows, and (last) places in them."""
    value = call.value("self")
    dim = call.dim("dimension", value)
    call.freeze(value.dims[dim], "windows slide along it")
    return (*replaced(value, dim, None), None)
