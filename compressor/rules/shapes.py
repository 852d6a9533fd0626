"""Reshapes and permutations: labels move with the elements; literal sizes are rewritten."""

from __future__ import annotations

from compressor.rules.calls import Call, Dims, UnsupportedCallError
from compressor.rules.registry import rule
from compressor.rules.rewrites import Kept, kept


@rule("aten.view", "aten.reshape", "aten._unsafe_view")
def view(call: Call) -> Dims:
    value = call.value("self")
    if "dtype" in call.arguments:
        raise UnsupportedCallError("memory read as another type")
    dims = call.reshape(value, call.shape)
    name = "shape" if "shape" in call.arguments else "size"
    call.rewrite(name, tuple(kept(labels) for labels in dims))
    return dims


@rule("aten.flatten", "aten.ravel", "aten.atleast_1d", "aten.atleast_2d", "aten.atleast_3d")
def flatten(call: Call) -> Dims:
    return call.reshape(call.operands[0], call.shape)


@rule("aten.view_as", "aten.reshape_as")
def view_as(call: Call) -> Dims:
    """The other tensor's sizes are the result's, so what it keeps must be what the result keeps."""
    dims = call.reshape(call.value("self"), call.shape)
    for labels, other in zip(dims, call.value("other").dims, strict=True):
        call.unify(labels, other)
    return dims


@rule("aten.unflatten")
def unflatten(call: Call) -> Dims:
    value = call.value("self")
    dim = call.dim("dim", value)
    dims = call.reshape(value, call.shape)
    sizes = call.integers("sizes")
    call.rewrite("sizes", tuple(kept(labels) for labels in dims[dim : dim + len(sizes)]))
    return dims


@rule("aten.permute")
def permute(call: Call) -> Dims:
    value = call.value("self")
    return tuple(value.dims[dim] for dim in call.integers("dims"))


@rule("aten.transpose", "aten.swapaxes", "aten.swapdims")
def transpose(call: Call) -> Dims:
    value = call.operands[0]
    first, second = ("dim0", "dim1") if "dim0" in call.arguments else ("axis0", "axis1")
    a, b = call.dim(first, value), call.dim(second, value)
    order = list(value.dims)
    order[a], order[b] = order[b], order[a]
    return tuple(order)


@rule("aten.movedim", "aten.moveaxis")
def move(call: Call) -> Dims:
    """The named dimensions go to their places, the others follow in order."""
    value = call.value("self")
    rank = len(value.shape)
    source, target = ([d % rank for d in call.integers(name)] for name in ("source", "destination"))
    rest = iter(d for d in range(rank) if d not in source)
    placed = dict(zip(target, source, strict=True))
    return tuple(value.dims[placed[d] if d in placed else next(rest)] for d in range(rank))


@rule("aten.t", "aten.numpy_T")
def reverse(call: Call) -> Dims:
    return tuple(reversed(call.operands[0].dims))


@rule("aten.mT", "aten.matrix_H", "aten.mH", "aten.adjoint")
def transpose_matrices(call: Call) -> Dims:
    *outer, rows, columns = call.operands[0].dims
    return (*outer, columns, rows)


@rule("aten.pixel_shuffle")
def pixel_shuffle(call: Call) -> Dims:
    """(channel, row, column) of the channels becomes channel and space: whole channels go."""
    value = call.value("self")
    factor = call.integer("upscale_factor")
    sizes = (value.shape[-3] // factor**2, factor, factor)
    channels, *offsets = call.split(value.dims[-3], sizes)
    for labels in offsets:
        call.freeze(labels, "becomes a position in space")
    call.fix_places(*value.dims[-2:])
    return (*value.dims[:-3], channels, None, None)


@rule("aten.pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Dims:
    value = call.value("self")
    factor = call.integer("downscale_factor")
    call.fix_places(*value.dims[-2:])
    sizes = (value.shape[-3], factor, factor)
    channels = call.units.merge((value.dims[-3], None, None), sizes)
    return (*value.dims[:-3], channels, None, None)


@rule("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(call: Call) -> Dims:
    """Channels are (group, place) and become (place, group); whole groups or places go."""
    value = call.value("self")
    groups = call.integer("groups")
    inner = value.shape[1] // groups
    group, place = call.split(value.dims[1], (groups, inner))
    if group is not None:
        call.rewrite("groups", Kept(group))
    shuffled = call.units.merge((place, group), (inner, groups))
    return (value.dims[0], shuffled, *value.dims[2:])


@rule("aten.unsqueeze")
def unsqueeze(call: Call) -> Dims:
    value = call.operands[0]
    dim = call.integer("dim") % (len(value.shape) + 1)
    return (*value.dims[:dim], None, *value.dims[dim:])


@rule("aten.squeeze")
def squeeze(call: Call) -> Dims:
    """Dimensions of size one are never labelled, so dropping them drops no label."""
    value = call.operands[0]
    rank = len(value.shape)
    wanted = call.integers("dim") if "dim" in call.arguments else range(rank)
    gone = {dim % rank for dim in wanted if value.shape[dim % rank] == 1}
    return tuple(labels for dim, labels in enumerate(value.dims) if dim not in gone)
