"""Operator rules: how labels pass through each operator, and which constants must be rewritten.

    calls         what a rule sees and may say
    rewrites      what becomes of a constant
    registry      operator name -> rule
    positions     tables and memory that are known when the graph is read
    elementwise   pointwise, dropout, copies
    contractions  linear, matrix products, bilinear
    convolutions  convolutions, transposed ones, windows
    summations    einsum
    attention     fused attention, embedding
    recurrent     LSTM, GRU, plain recurrence, their cells
    norms         batch, instance, layer, RMS and group norm, weight norm
    reductions    sums, means, vector norms, softmax
    ordering      sorting, running sums, transforms: what depends on places
    space         pooling, resizing, sampling
    shapes        reshapes, permutations, pixel and channel shuffle
    joins         concatenation, stacking, padding
    cuts          splits, slices, single rows, gated linear units
    repeats       expansion, repetition, grids
    indexing      tables of positions, roll, flip, gather, scatter
    creation      zeros, ones, arange

An operator without a rule freezes everything it touches.
"""

from __future__ import annotations

from compressor.rules import (
    attention,
    contractions,
    convolutions,
    creation,
    cuts,
    elementwise,
    indexing,
    joins,
    norms,
    ordering,
    positions,
    recurrent,
    reductions,
    repeats,
    rewrites,
    shapes,
    space,
    summations,
)
from compressor.rules.calls import Call, Record, UnsupportedCallError, Value
from compressor.rules.registry import find_rule, known_operators, rule

__all__ = [
    "Call",
    "Record",
    "UnsupportedCallError",
    "Value",
    "attention",
    "contractions",
    "convolutions",
    "creation",
    "cuts",
    "elementwise",
    "find_rule",
    "indexing",
    "joins",
    "known_operators",
    "norms",
    "ordering",
    "positions",
    "recurrent",
    "reductions",
    "repeats",
    "rewrites",
    "rule",
    "shapes",
    "space",
    "summations",
]
