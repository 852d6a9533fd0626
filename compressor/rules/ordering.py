"""Operators along a dimension whose answer depends on places in it: that dimension stays whole."""

from __future__ import annotations

from typing import Any

from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.cuts import replaced, without
from compressor.rules.elementwise import broadcast
from compressor.rules.reductions import remaining, taken_over
from compressor.rules.registry import rule

_TEXT = "positions along this dimension are given out"


@rule("aten.max", "aten.min")
def maximum(call: Call) -> Dims | tuple[Dims, ...]:
    """Of two tensors, of everything, or along one dimension with the positions."""
    if "other" in call.arguments:
        return broadcast(call, call.shape)
    if "dim" not in call.arguments:
        return taken_over(call)
    value = call.operands[0]
    dim = call.dim("dim", value)
    call.freeze(value.dims[dim], _TEXT)
    rest = remaining(call, value, (dim,))
    return rest, rest


@rule(
    "aten.argmax",
    "aten.argmin",
    "aten.argsort",
    "aten.cumsum",
    "aten.logcumsumexp",
    "aten.diff",
    "aten.sort",
    "aten.topk",
    "aten.kthvalue",
    "aten.median",
    "aten.nanmedian",
    "aten.mode",
    "aten.cummax",
    "aten.cummin",
    "aten.linalg_cross",
    "aten.cross",
)
def positional(call: Call) -> Dims | tuple[Dims, ...]:
    value = call.operands[0]
    if call.arguments.get("dim") is None:
        raise UnsupportedCallError("positions over everything")
    dim = call.dim("dim", value)
    for operand in call.operands:
        call.freeze(operand.dims[dim], _TEXT)
    shapes: Any = call.shape
    if shapes and not isinstance(shapes[0], int):
        return tuple(_beside(call, value, dim, shape) for shape in shapes)
    return _beside(call, value, dim, shapes)


def _beside(call: Call, value: Value, dim: int, shape: tuple[int, ...]) -> Dims:
    """What is left of the other dimensions, where all operands agree."""
    kept = broadcast(call, value.shape) if len(call.operands) > 1 else value.dims
    known = Value(value.node, value.shape, kept)
    if len(shape) < len(value.shape):
        return without(known, dim)
    return known.dims if shape[dim] == value.shape[dim] else replaced(known, dim, None)


@rule(
    *(f"aten.fft_{way}fft" for way in ("", "i", "r", "ir", "h", "ih")),
    *(f"aten.fft_{way}fft{many}" for way in ("", "i", "r", "ir") for many in ("2", "n")),
)
def transform(call: Call) -> Dims:
    raise UnsupportedCallError("frequencies are complex numbers, which the proof does not compare")


@rule("aten.view_as_complex", "aten.view_as_real", "aten.complex", "aten.polar")
def complex_numbers(call: Call) -> Dims:
    raise UnsupportedCallError("complex numbers, which the proof does not compare")
