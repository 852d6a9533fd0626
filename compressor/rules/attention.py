"""Attention in one operator, and tables of rows that are looked up."""

from __future__ import annotations

from compressor.rules.calls import Call, Dims, UnsupportedCallError
from compressor.rules.contractions import contract
from compressor.rules.registry import rule


@rule("aten.embedding")
def embedding(call: Call) -> Dims:
    weight, positions = call.value("weight"), call.value("indices")
    call.freeze(weight.dims[0], "rows are looked up by index")
    call.role(weight, 1, "writes")
    for labels in positions.dims:
        call.freeze(labels, "holds indices of an embedding")
    return (*([None] * len(positions.shape)), weight.dims[1])


@rule("aten.embedding_bag")
def embedding_bag(call: Call) -> tuple[Dims, ...]:
    """Sums of looked-up rows; the other results count bags and rows."""
    weight = call.value("weight")
    call.freeze(weight.dims[0], "rows are looked up by index")
    call.role(weight, 1, "writes")
    return ((None, weight.dims[1]), *((None,) * len(shape) for shape in call.shape[1:]))  # type: ignore[arg-type]


@rule("aten.scaled_dot_product_attention")
def attention(call: Call) -> Dims:
    """softmax(q k^T * scale + mask) v; the hidden default scale 1/sqrt(width) is pinned."""
    query, key, value = call.value("query"), call.value("key"), call.value("value")
    mask = call.optional("attn_mask")
    rank = len(call.shape)
    for position in range(rank - 2):
        for other in (key, value):
            shared = query.dims[position]
            if other.shape[position] != query.shape[position]:
                if position != rank - 3 or not call.arguments.get("enable_gqa"):
                    raise UnsupportedCallError("attention with broadcast heads")
                heads = other.shape[position]  # query heads are (key head, query of it)
                shared, _ = call.split(shared, (heads, query.shape[position] // heads))
            call.unify(shared, other.dims[position])
        if mask is not None:
            own = position - rank + len(mask.shape)
            if own >= 0 and mask.shape[own] > 1:
                call.unify(query.dims[position], mask.dims[own])
    contract(call, ("query", query, rank - 1), ("key", key, rank - 1))
    contract(call, ("value", value, rank - 2), ("key", key, rank - 2))
    call.inexact(key.dims[-2])
    if call.arguments.get("is_causal"):  # who looks at whom is said by places, not by units
        for places in (query.dims[-2], key.dims[-2]):
            call.freeze(places, "is a position in an order")
    if mask is not None:
        for dim, places in ((-2, query.dims[-2]), (-1, key.dims[-2])):
            if mask.shape[dim] > 1:
                call.unify(mask.dims[dim], places, "is a position of an attention mask")
    width = query.shape[-1]
    if query.dims[-1] is not None and call.arguments.get("scale") is None:
        call.pin("scale", width**-0.5)
    outer = [query.size_and_labels(d) for d in range(rank - 1)]
    call.work(*outer, key.size_and_labels(-2), query.size_and_labels(-1))
    call.work(*outer, key.size_and_labels(-2), value.size_and_labels(-1))
    return (*query.dims[:-1], value.dims[-1])
