"""Operator rules: how labels pass through each operator, and which constants must be rewritten.

    calls         what a rule sees and may say
    registry      operator name -> rule
    elementwise   pointwise, dropout, copies, gated linear units
    contractions  linear, convolutions, matrix products, einsum, attention, embedding
    recurrent     LSTM, GRU
    norms         batch, instance, layer, RMS and group norm
    reductions    sums, means, softmax, pooling
    shapes        reshapes, permutations, pixel shuffle
    joins         concatenation, splits, slices, padding, expansion, repetition
    indexing      select, index, roll
    creation      zeros, ones, arange

An operator without a rule freezes everything it touches.
"""

from __future__ import annotations

from compressor.rules import (
    contractions,
    creation,
    elementwise,
    indexing,
    joins,
    norms,
    recurrent,
    reductions,
    shapes,
)
from compressor.rules.calls import Call, Record, UnsupportedCallError, Value
from compressor.rules.registry import find_rule, known_operators, rule

__all__ = [
    "Call",
    "Record",
    "UnsupportedCallError",
    "Value",
    "contractions",
    "creation",
    "elementwise",
    "find_rule",
    "indexing",
    "joins",
    "known_operators",
    "norms",
    "recurrent",
    "reductions",
    "rule",
    "shapes",
]
