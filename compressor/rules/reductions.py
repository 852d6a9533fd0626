"""Reductions: sums are exact when removed units are zero; means, maxima and softmax are not."""

from __future__ import annotations

from collections.abc import Callable

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.registry import rule


def _reduced(call: Call, value: Value, name: str = "dim") -> tuple[int, ...]:
    wanted = call.arguments.get(name)
    if wanted is None or wanted == ():
        return tuple(range(len(value.shape)))
    return tuple(dim % len(value.shape) for dim in call.integers(name))


def _remaining(call: Call, value: Value, dims: tuple[int, ...]) -> Dims:
    if call.arguments.get("keepdim"):
        return tuple(None if d in dims else labels for d, labels in enumerate(value.dims))
    return tuple(labels for d, labels in enumerate(value.dims) if d not in dims)


@rule("aten.sum", "aten.linalg_vector_norm")
def total(call: Call) -> Dims:
    value = call.operands[0]
    dims = _reduced(call, value)
    for dim in dims:
        if value.dims[dim] is not None:
            call.contract("self" if "self" in call.arguments else "x", dim)
    return _remaining(call, value, dims)


@rule("aten.mean", "aten.amax", "aten.amin", "aten.logsumexp", "aten.std", "aten.var")
def statistic(call: Call) -> Dims:
    value = call.operands[0]
    dims = _reduced(call, value)
    for dim in dims:
        call.inexact(value.dims[dim])
    return _remaining(call, value, dims)


@rule("aten.softmax", "aten.log_softmax", "aten._softmax", "aten._log_softmax")
def softmax(call: Call) -> Dims:
    value = call.operands[0]
    call.inexact(value.dims[call.dim("dim", value)])
    return value.dims


@rule("aten.max", "aten.min")
def maximum(call: Call) -> tuple[Dims, ...]:
    """Values and positions along one dimension; positions would shift, so the dimension freezes."""
    value = call.operands[0]
    if "dim" not in call.arguments:
        raise UnsupportedCallError("a maximum over everything")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "positions along this dimension are given out")
    rest = _remaining(call, value, (dim,))
    return rest, rest


@rule("aten.argmax", "aten.argmin", "aten.cumsum")
def positional(call: Call) -> Dims:
    value = call.operands[0]
    if call.arguments.get("dim") is None:
        raise UnsupportedCallError("positions over everything")
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], "positions along this dimension are given out")
    if len(call.shape) == len(value.shape):
        return value.dims
    return _remaining(call, value, (dim,))


def _spatial(rank: int) -> Callable[[Call], Dims]:
    def spatial(call: Call) -> Dims:
        """Works within the last dimensions; those before pass."""
        value = call.operands[0]
        outer = len(value.shape) - rank
        call.fix(*value.dims[outer:])
        passed: tuple[Labels, ...] = value.dims[:outer]
        return (*passed, *([None] * rank))

    return spatial


rule("aten.max_pool1d", "aten.avg_pool1d", "aten.adaptive_avg_pool1d")(_spatial(1))
rule(
    "aten.max_pool2d",
    "aten.avg_pool2d",
    "aten.adaptive_avg_pool2d",
    "aten.upsample_nearest2d",
    "aten.upsample_bilinear2d",
    "aten.upsample_bicubic2d",
)(_spatial(2))
rule("aten.max_pool3d", "aten.avg_pool3d", "aten.adaptive_avg_pool3d")(_spatial(3))


@rule("aten.adaptive_max_pool2d", "aten.max_pool2d_with_indices")
def pool_with_positions(call: Call) -> tuple[Dims, ...]:
    pooled = _spatial(2)(call)
    return pooled, pooled
