"""Nested plans: a plan that gives back nothing of what is gone already.

Comes in: an analysis, new scores, a budget, what was kept.  Goes out: a ``Plan`` that keeps a part
of it.  Knows nothing of graphs nor of how units are scored.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compressor.choosing import Allocation
from compressor.costs import KeepMask, cost_table
from compressor.planning import keep_mask, plan_keeping
from compressor.types import Analysis, Budget, Plan, Scores
from compressor.widths import TOLERANCE, share

_TRIES = 12  # plans that are made where what is gone already would overshoot the budget


def plan_within(
    analysis: Analysis,
    scores: Scores,
    budget: Budget,
    allocation: Allocation,
    within: KeepMask | None,
) -> Plan:
    """A plan that keeps nothing outside of ``within``.

    Scores have changed since the last plan, and a new one may give back units in one group for more
    of another: they stay gone, so less is asked for until the sum is right.
    """
    if within is None:
        return allocation(analysis, scores, budget)
    ranked = _gone_last(analysis, scores, within)
    low, asked, high = 0.0, budget.sparsity, budget.sparsity
    best: Plan | None = None
    for _ in range(_TRIES):
        made = allocation(analysis, ranked, replace(budget, sparsity=asked))
        found = _without(analysis, made, within, budget)
        over = found.achieved - budget.sparsity
        if abs(over) <= TOLERANCE:
            return found
        if best is None or (over > 0 and found.achieved < best.achieved):
            best = found  # the nearest value not below
        low, high = (low, asked) if over > 0 else (asked, high)
        asked = 0.5 * (low + high)
    assert best is not None
    return best


def _without(analysis: Analysis, made: Plan, within: KeepMask, budget: Budget) -> Plan:
    keep = keep_mask(analysis, made)
    if not (keep & ~within).any():
        return replace(made, budget=budget)
    found = plan_keeping(analysis, keep & within)
    return replace(
        found,
        budget=budget,
        achieved=share(found.before, found.after, budget.of),
        criterion=made.criterion,
        warnings=made.warnings,
    )


def _gone_last(analysis: Analysis, scores: Scores, within: KeepMask) -> Scores:
    """What is gone ranks below all that lives in its group.

    At half the lowest score there, as if scores were spread evenly from 0 on: a mean over the
    group, to which allocations relate scores, then hardly moves when units go.
    """
    values: list[tuple[float, ...]] = []
    offsets = cost_table(analysis).offsets
    for group, first in zip(scores.values, offsets.tolist(), strict=False):
        lives = within[first : first + len(group)]
        numbers = np.array(group, dtype=np.float64)
        lowest = float(numbers[lives].min())
        numbers[~lives] = np.nextafter(lowest - 0.5 * abs(lowest), -np.inf)
        values.append(tuple(numbers.tolist()))
    return replace(scores, values=tuple(values))
