"""Operators within the last dimensions, space: pooling, resizing, sampling.  Those before pass."""

from __future__ import annotations

from collections.abc import Callable

from compressor.rules.calls import Call, Dims
from compressor.rules.registry import rule
from compressor.rules.rewrites import kept


def _passed(call: Call, rank: int) -> Dims:
    value = call.operands[0]
    outer = len(value.shape) - rank
    call.fix_places(*value.dims[outer:])
    return (*value.dims[:outer], *([None] * rank))


def _spatial(rank: int) -> Callable[[Call], Dims]:
    def spatial(call: Call) -> Dims:
        """Works within the last dimensions."""
        return _passed(call, rank)

    return spatial


def _spatial_with_positions(rank: int) -> Callable[[Call], tuple[Dims, ...]]:
    def pooled(call: Call) -> tuple[Dims, ...]:
        """The maxima, and where they were."""
        return (_passed(call, rank),) * 2

    return pooled


_KINDS = {1: ("linear",), 2: ("bilinear", "bicubic"), 3: ("trilinear",)}

for _rank, _kinds in _KINDS.items():
    rule(
        f"aten.max_pool{_rank}d",
        f"aten.avg_pool{_rank}d",
        f"aten.adaptive_avg_pool{_rank}d",
        f"aten.reflection_pad{_rank}d",
        f"aten.replication_pad{_rank}d",
        f"aten.upsample_nearest{_rank}d",
        f"aten._upsample_nearest_exact{_rank}d",
        *(f"aten.upsample_{kind}{_rank}d" for kind in _kinds),
    )(_spatial(_rank))
    rule(f"aten.adaptive_max_pool{_rank}d", f"aten.max_pool{_rank}d_with_indices")(
        _spatial_with_positions(_rank)
    )
rule("aten._adaptive_avg_pool2d", "aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa")(
    _spatial(2)
)
rule("aten._adaptive_avg_pool3d")(_spatial(3))


@rule("aten.max_unpool2d", "aten.max_unpool3d")
def unpool(call: Call) -> Dims:
    """Maxima back to where they were: positions are within a channel."""
    value, places = call.value("self"), call.value("indices")
    rank = 2 if "2d" in str(call.node.target) else 3
    for own, its in zip(value.dims[:-rank], places.dims[:-rank], strict=True):
        call.unify(own, its)
    return _passed(call, rank)


@rule("aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d")
def sample(call: Call) -> Dims:
    """Every channel is read at the same places."""
    value, grid = call.value("input"), call.value("grid")
    call.unify(value.dims[0], grid.dims[0])
    for labels in grid.dims[1:]:
        call.freeze(labels, "holds places to read at")
    return _passed(call, len(value.shape) - 2)


@rule("aten.affine_grid_generator")
def affine_grid(call: Call) -> Dims:
    theta = call.value("theta")
    for labels in theta.dims[1:]:
        call.freeze(labels, "is a matrix that moves places")
    call.rewrite("size", (kept(theta.dims[0]), *([None] * (len(call.shape) - 1))))
    return (theta.dims[0], *([None] * (len(call.shape) - 1)))


@rule("torchvision.roi_align", "torchvision.roi_pool")
def pool_regions(call: Call) -> Dims | tuple[Dims, ...]:
    """Every region gets all channels of its picture."""
    value, regions = call.value("input"), call.value("rois")
    for labels in regions.dims:
        call.freeze(labels, "holds regions of a picture")
    _passed(call, 2)
    dims: Dims = (None, value.dims[1], None, None)
    return (dims, dims) if "roi_pool" in str(call.node.target) else dims
