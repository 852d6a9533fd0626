"""Picking by position: the dimension that is indexed stays whole."""

from __future__ import annotations

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.registry import rule


@rule("aten.select")
def select(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "one position of it is picked")
    return (*value.dims[:dim], *value.dims[dim + 1 :])


@rule("aten.unbind")
def unbind(call: Call) -> tuple[Dims, ...]:
    value = call.value("self")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "its positions are taken apart")
    return ((*value.dims[:dim], *value.dims[dim + 1 :]),) * value.shape[dim]


@rule("aten.index")
def index(call: Call) -> Dims:
    """Indexing by tensors: indexed dimensions freeze; the index's own are not removable."""
    value = call.value("self")
    entries = call.arguments["indices"]
    if not isinstance(entries, tuple | list):
        raise UnsupportedCallError("indices that are not a list")
    indexed = [d for d, entry in enumerate(entries) if isinstance(entry, Value)]
    for d in indexed:
        call.freeze(value.dims[d], "is indexed by a table of positions")
        entry = entries[d]
        if isinstance(entry, Value):
            for labels in entry.dims:
                call.freeze(labels, "holds positions of an index")
    rest: list[Labels] = [x for d, x in enumerate(value.dims) if d not in indexed]
    new: list[Labels] = [None] * (len(call.shape) - len(rest))
    adjacent = indexed == list(range(indexed[0], indexed[0] + len(indexed)))
    at = indexed[0] if adjacent else 0
    return (*rest[:at], *new, *rest[at:])


@rule("aten.index_select")
def index_select(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "is indexed by a table of positions")
    return (*value.dims[:dim], None, *value.dims[dim + 1 :])


@rule("aten.roll", "aten.flip")
def roll(call: Call) -> Dims:
    value = call.value("self")
    dims = call.integers("dims")
    if not dims:
        raise UnsupportedCallError("rolled over everything")
    for dim in dims:
        call.freeze(value.dims[dim], "positions along it are moved")
    return value.dims
