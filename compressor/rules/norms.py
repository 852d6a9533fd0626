"""Normalisations: exact where statistics run over kept dimensions, inexact over removable ones."""

from __future__ import annotations

from compressor.rules.calls import Call, Dims, Value
from compressor.rules.registry import rule
from compressor.rules.rewrites import Kept, kept


@rule("aten.batch_norm", "aten.instance_norm")
def batch_norm(call: Call) -> Dims:
    value = call.value("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        parameter = call.optional(name)
        if parameter is not None:
            call.unify(value.dims[1], parameter.dims[0], "normalises a dimension that stays")
    if call.optional("running_mean") is None or call.arguments.get("training") is True:
        # statistics of the input itself: over the batch (and space) only when those are all
        for dim in (0, *range(2, len(value.shape))):
            call.inexact(value.dims[dim])
    return value.dims


@rule("aten.layer_norm", "aten.rms_norm")
def layer_norm(call: Call) -> Dims:
    value = call.value("input")
    shape = call.integers("normalized_shape")
    first = len(value.shape) - len(shape)
    for name in ("weight", "bias"):
        parameter = call.optional(name)
        if parameter is not None:
            for offset in range(len(shape)):
                call.unify(
                    value.dims[first + offset],
                    parameter.dims[offset],
                    "normalises a dimension that stays",
                )
    for labels in value.dims[first:]:
        call.inexact(labels)
    if any(labels is not None for labels in value.dims[first:]):
        call.rewrite("normalized_shape", tuple(kept(labels) for labels in value.dims[first:]))
    return value.dims


@rule("aten.group_norm")
def group_norm(call: Call) -> Dims:
    """Statistics per group: inexact over its channels and over space, exact over whole groups."""
    value, groups = call.value("input"), call.integer("num_groups")
    for name in ("weight", "bias"):
        parameter = call.optional(name)
        if parameter is not None:
            call.unify(value.dims[1], parameter.dims[0], "normalises a dimension that stays")
    group, channel = call.split(value.dims[1], (groups, value.shape[1] // groups))
    for labels in (channel, *value.dims[2:]):
        call.inexact(labels)
    if group is not None:
        call.rewrite("num_groups", Kept(group))
    return value.dims


@rule("aten._weight_norm")
def weight_norm(call: Call) -> Dims:
    """Directions times lengths: a norm over all dimensions but one, zero where units are gone."""
    direction, length = call.value("v"), call.value("g")
    dim = call.dim("dim", direction)
    call.unify(direction.dims[dim], length.dims[dim], "has lengths that stay")
    call.inexact(direction.dims[dim])  # a direction of zeros has no length to divide by
    _sum_all_but(call, direction, dim)
    return direction.dims


@rule("aten.norm_except_dim")
def norm_except_dim(call: Call) -> Dims:
    value = call.value("v")
    dim = call.dim("dim", value)
    _sum_all_but(call, value, dim)
    return tuple(labels if axis == dim else None for axis, labels in enumerate(value.dims))


def _sum_all_but(call: Call, value: Value, dim: int) -> None:
    for axis, labels in enumerate(value.dims):
        if axis != dim and labels is not None and not value.stored:
            call.contract("v", axis)
