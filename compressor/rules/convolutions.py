"""Convolutions, transposed ones, and what they are made of: windows taken out and added up."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.labels import Labels
from compressor.rules.calls import Argument, Call, Dims, UnsupportedCallError, Value
from compressor.rules.contractions import contract
from compressor.rules.registry import rule
from compressor.rules.rewrites import Kept


def _check_batch(value: Value, weight: Value) -> None:
    if len(value.shape) != len(weight.shape):
        raise UnsupportedCallError("a convolution over a picture without a batch")


@rule("aten.conv1d", "aten.conv2d", "aten.conv3d")
def convolution(call: Call) -> Dims:
    """Grouped: channels are (group, channel in group) on both sides; the group part is shared."""
    value, weight, bias = call.value("input"), call.value("weight"), call.optional("bias")
    groups = call.integer("groups")
    _check_batch(value, weight)
    channels, outputs = weight.shape[1], weight.shape[0]
    call.fix(*weight.dims[2:])
    if groups == 1:
        contract(call, ("input", value, 1), ("weight", weight, 1))
        call.role(weight, 0, "writes")
    else:
        in_group, in_channel = call.split(value.dims[1], (groups, channels))
        out_group, _ = call.split(weight.dims[0], (groups, outputs // groups))
        call.unify(in_group, out_group, "is a group of a convolution whose input stays")
        if channels > 1:
            call.unify(in_channel, weight.dims[1])
            if not (value.stored or weight.stored):
                call.contract("input", 1)  # what is stored is zero where units are gone
            call.role(weight, 1, "reads")
            call.role(weight, 0, "writes")
        if out_group is not None:
            call.rewrite("groups", Kept(out_group))
    if bias is not None:
        call.unify(weight.dims[0], bias.dims[0])
    places = tuple(_places(call, value, weight))
    sizes = zip(call.shape[2:], places, strict=True)
    kernel = [(size, None) for size in weight.shape[2:]]
    batch = value.size_and_labels(0)
    call.work(batch, weight.size_and_labels(0), weight.size_and_labels(1), *kernel, *sizes)
    return (value.dims[0], weight.dims[0], *places)


def _places(call: Call, value: Value, weight: Value) -> Iterator[Labels]:
    """What the kernel slides over stays; a kernel of one that takes every place leaves it alone."""
    rank = len(weight.shape) - 2
    added = _each(call.arguments["padding"], rank)
    strides = _each(call.arguments["stride"], rank)
    for place in range(rank):
        if (weight.shape[2 + place], strides[place], added[place]) == (1, 1, 0):
            yield value.dims[2 + place]
        else:
            call.fix_places(value.dims[2 + place])
            yield None


def _each(given: Argument, rank: int) -> tuple[Argument, ...]:
    """One entry per dimension of space; one alone is for all."""
    entries = tuple(given) if isinstance(given, tuple | list) else (given,)
    return entries * rank if len(entries) == 1 else entries


@rule("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def transposed_convolution(call: Call) -> Dims:
    """The weight is (inputs, outputs per group, kernel); the groups are those of the inputs."""
    value, weight, bias = call.value("input"), call.value("weight"), call.optional("bias")
    groups = call.integer("groups")
    _check_batch(value, weight)
    call.fix(*weight.dims[2:])
    contract(call, ("input", value, 1), ("weight", weight, 0))
    call.role(weight, 1, "writes")
    channels = weight.dims[1]
    if groups > 1:
        group, _ = call.split(weight.dims[0], (groups, weight.shape[0] // groups))
        channels = call.units.merge((group, weight.dims[1]), (groups, weight.shape[1]))
        if group is not None:
            call.rewrite("groups", Kept(group))
    if bias is not None:
        call.unify(channels, bias.dims[0])
    space = [(size, None) for size in (*weight.shape[2:], *value.shape[2:])]
    call.work(
        value.size_and_labels(0), weight.size_and_labels(0), weight.size_and_labels(1), *space
    )
    call.fix_places(*value.dims[2:])
    return (value.dims[0], channels, *([None] * (len(call.shape) - 2)))


@rule("aten.im2col")
def windows(call: Call) -> Dims:
    """(channels, space) becomes (channels x kernel, windows): whole channels go."""
    value = call.value("self")
    kernel = call.shape[-2] // value.shape[-3]
    call.freeze(value.dims[-2], "is a position in space")
    call.freeze(value.dims[-1], "is a position in space")
    channels = call.units.merge((value.dims[-3], None), (value.shape[-3], kernel))
    return (*value.dims[:-3], channels, None)


@rule("aten.col2im")
def windows_added(call: Call) -> Dims:
    """The way back: (channels x kernel, windows) becomes (channels, space)."""
    value = call.value("self")
    channels = call.shape[-3]
    channel, kernel = call.split(value.dims[-2], (channels, value.shape[-2] // channels))
    call.freeze(kernel, "is a place in a window")
    call.freeze(value.dims[-1], "is a window")
    return (*value.dims[:-2], channel, None, None)
