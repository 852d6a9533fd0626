"""The extreme cut: of every group all but 3 % of the units go, but never the last unit.

Comes in: an ``Analysis``.  Goes out: a ``Plan`` that nobody would choose, but the hardest test of
removal and proof: dimensions of size one appear everywhere.  Knows nothing of scores or budgets.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from compressor.planning import plan_keeping
from compressor.types import Analysis, Plan

Place = Literal["first", "last", "drawn"]
SHARE = 0.03


def extreme_plan(analysis: Analysis, place: Place = "first", *, seed: int = 0) -> Plan:
    """Keep ``max(1, 3 %)`` of every group: the first units, the last, or some drawn from the seed.

    Every group is cut, those of few units (shuffle halves, groups of a convolution) too.
    """
    generator = np.random.default_rng(seed)
    parts = [np.ones(1, dtype=np.bool_)]
    for group in analysis.groups:
        left = max(1, int(SHARE * group.units))
        part = np.zeros(group.units, dtype=np.bool_)
        if place == "drawn":
            part[generator.permutation(group.units)[:left]] = True
        elif place == "first":
            part[:left] = True
        else:
            part[group.units - left :] = True
        parts.append(part)
    return plan_keeping(analysis, np.concatenate(parts))
