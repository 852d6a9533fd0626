"""New tensors: constant ones have units without weights; those that count positions stay whole."""

from __future__ import annotations

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims
from compressor.rules.registry import rule
from compressor.rules.rewrites import kept


@rule(
    "aten.zeros",
    "aten.ones",
    "aten.full",
    "aten.empty",
    "aten.new_zeros",
    "aten.new_ones",
    "aten.new_full",
    "aten.new_empty",
)
def constant(call: Call) -> Dims:
    dims: tuple[Labels, ...] = tuple(
        call.units.fresh(size) if size > 1 else None for size in call.shape
    )
    call.rewrite("size", tuple(kept(labels) for labels in dims))
    return dims


@rule("aten.arange", "aten.linspace", "aten.scalar_tensor", "aten.eye")
def counted(call: Call) -> Dims:
    return (None,) * len(call.shape)
