"""Elementwise operators: every operand's units are the result's units, after broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims
from compressor.rules.registry import rule


def broadcast(call: Call, shape: Sequence[int]) -> Dims:
    """Unite the operands of a call, broadcast to a shape; the labels of the result."""
    rank = len(shape)
    result: list[Labels] = [None] * rank
    for position, size in enumerate(shape):
        if size == 1:
            continue
        meeting = []
        for operand in call.operands:
            own = position - rank + len(operand.shape)
            if own >= 0 and operand.shape[own] == size:
                meeting.append(operand.dims[own])
        for other in meeting[1:]:
            call.unify(meeting[0], other, "meets a dimension that stays")
        result[position] = next((labels for labels in meeting if labels is not None), None)
    return tuple(result)


@rule(
    "pointwise",  # every operator that torch tags so
    "aten.copy",
    "aten.expand_as",
    "aten.where",
    "aten.masked_fill",
    "aten.__and__",
    "aten.__or__",
    "aten.__xor__",
    "aten.__lshift__",
    "aten.__rshift__",
    "aten.floor_divide",
    "aten.isclose",
    "aten.hardswish",
    "aten.hardsigmoid",
)
def elementwise(call: Call) -> Dims:
    return broadcast(call, call.shape)


@rule(
    "aten.dropout",
    "aten.feature_dropout",
    "aten.alpha_dropout",
    "aten.feature_alpha_dropout",
    "aten.contiguous",
    "aten.clone",
    "aten.detach",
    "aten.detach_",
    "aten.alias",
    "aten.real",
    "aten.to",
    "aten._to_copy",
    "aten.type_as",
    "aten.lift_fresh",
    "aten.lift_fresh_copy",
    "aten.resolve_conj",
    "aten.resolve_neg",
    "aten.zeros_like",
    "aten.ones_like",
    "aten.full_like",
    "aten.empty_like",
    "aten.fill",
    "aten.zero",
    "aten.log_sigmoid",
    "aten.isfinite",
    "aten.one_hot",
)
def passed(call: Call) -> Dims:
    """The first operand's labels; a new last dimension (of one_hot) always stays."""
    dims = call.operands[0].dims
    return (*dims, *([None] * (len(call.shape) - len(dims))))


@rule("aten.native_dropout")
def dropout_with_mask(call: Call) -> tuple[Dims, ...]:
    return (call.operands[0].dims,) * 2


@rule("aten.prelu")
def prelu(call: Call) -> Dims:
    """One slope, or one for each channel."""
    value, weight = call.value("self"), call.value("weight")
    if weight.shape and weight.shape[0] > 1:
        call.unify(value.dims[1], weight.dims[0], "has slopes of channels that stay")
    return value.dims
