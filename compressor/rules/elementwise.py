"""Elementwise operators: every operand's units are the result's units, after broadcasting."""

from __future__ import annotations

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims
from compressor.rules.registry import rule


@rule(
    "pointwise",  # every operator that torch tags so
    "aten.dropout",
    "aten.feature_dropout",
    "aten.alpha_dropout",
    "aten.contiguous",
    "aten.clone",
    "aten.detach",
    "aten.detach_",
    "aten.alias",
    "aten.to",
    "aten._to_copy",
    "aten.type_as",
    "aten.float",
    "aten.copy",
    "aten.expand_as",
    "aten.hardswish",
    "aten.where",
    "aten.masked_fill",
    "aten.lift_fresh_copy",
    "aten.__and__",
    "aten.__or__",
)
def elementwise(call: Call) -> Dims:
    rank = len(call.shape)
    result: list[Labels] = [None] * rank
    for position in range(rank):
        size = call.shape[position]
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
    "aten.zeros_like",
    "aten.ones_like",
    "aten.full_like",
    "aten.rand_like",
    "aten.fill",
    "aten.zero",
)
def filled(call: Call) -> Dims:
    return call.operands[0].dims


@rule("aten.glu")
def gated_linear_unit(call: Call) -> Dims:
    """Halves of one dimension multiplied: both halves' units go together."""
    value = call.value("self")
    dim = call.dim("dim", value)
    labels = value.dims[dim]
    if labels is None:
        return value.dims
    half = len(labels) // 2
    call.unify(labels[:half], labels[half:])
    return (*value.dims[:dim], labels[:half], *value.dims[dim + 1 :])
