"""Reductions: sums are exact when removed units are zero; means, maxima and softmax are not."""

from __future__ import annotations

import math

from compressor.rules.calls import Call, Dims, Value
from compressor.rules.elementwise import broadcast
from compressor.rules.registry import rule


def _reduced(call: Call, value: Value, name: str = "dim") -> tuple[int, ...]:
    wanted = call.arguments.get(name)
    if wanted is None or wanted == ():
        return tuple(range(len(value.shape)))
    return tuple(dim % len(value.shape) for dim in call.integers(name))


def remaining(call: Call, value: Value, dims: tuple[int, ...]) -> Dims:
    if call.arguments.get("keepdim"):
        return tuple(None if d in dims else labels for d, labels in enumerate(value.dims))
    return tuple(labels for d, labels in enumerate(value.dims) if d not in dims)


@rule("aten.sum", "aten.nansum")
def total(call: Call) -> Dims:
    value = call.value("self")
    dims = _reduced(call, value)
    _sum_over(call, "self", value, dims)
    return remaining(call, value, dims)


def _sum_over(call: Call, name: str, value: Value, dims: tuple[int, ...]) -> None:
    for dim in dims:
        if value.dims[dim] is not None:
            call.contract(name, dim)


@rule("aten.linalg_vector_norm", "aten.norm")
def vector_norm(call: Call) -> Dims:
    """A sum of powers where these are positive: zeros add nothing."""
    name = "self" if "self" in call.arguments else "x"
    value = call.value(name)
    dims = _reduced(call, value)
    order = call.arguments.get("ord", call.arguments.get("p"))
    if order is None or (isinstance(order, int | float) and order >= 0):
        _sum_over(call, name, value, dims)
    else:
        for dim in dims:
            call.inexact(value.dims[dim])
    return remaining(call, value, dims)


@rule("aten.cosine_similarity", "aten.linalg_vecdot")
def product_along(call: Call) -> Dims:
    """Elements of two tensors multiplied, then summed along one dimension."""
    names = ("x1", "x2") if "x1" in call.arguments else ("x", "y")
    values = [call.value(name) for name in names]
    rank = max(len(value.shape) for value in values)
    widest = [
        max(v.shape[d - rank] if d >= rank - len(v.shape) else 1 for v in values)
        for d in range(rank)
    ]
    dims = broadcast(call, widest)
    dim = call.integer("dim") % rank
    for name, value in zip(names, values, strict=True):
        own = dim - rank + len(value.shape)
        if own >= 0:
            _sum_over(call, name, value, (own,))
    return (*dims[:dim], *dims[dim + 1 :])


@rule("aten.cdist", "aten._cdist_forward")
def distances(call: Call) -> Dims:
    """Between rows of two tensors: a sum over their last dimension."""
    first, second = call.value("x1"), call.value("x2")
    last = len(first.shape) - 1
    call.unify(first.dims[-1], second.dims[-1], "is compared with a dimension that stays")
    _sum_over(call, "x1", first, (last,))
    _sum_over(call, "x2", second, (len(second.shape) - 1,))
    for a, b in zip(first.dims[:-2], second.dims[:-2], strict=True):
        call.unify(a, b)
    return (*first.dims[:-1], second.dims[-2])


@rule(
    "aten.mean",
    "aten.nanmean",
    "aten.amax",
    "aten.amin",
    "aten.logsumexp",
    "aten.prod",
    "aten.any",
    "aten.all",
)
def statistic(call: Call) -> Dims:
    return taken_over(call)


def taken_over(call: Call) -> Dims:
    """What is left of the first operand after a statistic that zeros would change."""
    value = call.operands[0]
    dims = _reduced(call, value)
    for dim in dims:
        call.inexact(value.dims[dim])
    return remaining(call, value, dims)


def spread(call: Call) -> Dims:
    """A variance divides by one less than its number of values, so two of them stay.

    A free size may be one.
    """
    value = call.operands[0]
    dims = _reduced(call, value)
    given = call.arguments.get("correction", call.arguments.get("unbiased"))
    spared = 1 + (int(given) if isinstance(given, int | float) else 1)
    others = [value.shape[dim] for dim in dims if value.dims[dim] is None]
    if math.prod(size for size in others if not call.is_free(size)) < spared:
        for dim in dims:
            labels = value.dims[dim]
            if labels is not None:
                call.freeze(labels[:spared], "is needed for a variance of more than one value")
    return taken_over(call)


rule("aten.std", "aten.var")(spread)


@rule("aten.std_mean", "aten.var_mean")
def spread_and_mean(call: Call) -> tuple[Dims, ...]:
    return (spread(call),) * 2


@rule("aten.aminmax")
def two_statistics(call: Call) -> tuple[Dims, ...]:
    return (taken_over(call),) * 2


@rule(
    "aten.softmax",
    "aten.log_softmax",
    "aten._softmax",
    "aten._log_softmax",
    "aten._safe_softmax",
    "aten.special_softmax",
    "aten.special_log_softmax",
)
def softmax(call: Call) -> Dims:
    value = call.operands[0]
    call.inexact(value.dims[call.dim("dim", value)])
    return value.dims
