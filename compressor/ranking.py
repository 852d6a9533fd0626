"""The order in which units go: one key per unit, lowest first.

In: scores as arrays, one per group, and what a unit of each group frees.  Out: keys of the same
shapes, comparable over all groups.  Knows nothing of budgets or widths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.costs import CostTable, KeepMask
from compressor.types import BudgetOf, Group

# How strongly a unit that frees much goes before one that frees little.  With 1 the keys are score
# per parameter, and the widest layers, whose units free ten to a hundred times more than others,
# are cut to their floor before anything else is touched.  With 0 cost plays no part.  A quarter
# turns a tenfold difference in cost into a factor of 1.8, about the spread of the scores inside a
# trained layer, so that cost tilts the ranking without deciding it.
COST_POWER = 0.25

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """What one unit of each group frees in the whole network, and by how many members."""

    freed: Floats
    members: Floats


Keys = Callable[[tuple[Floats, ...], Gains], tuple[Floats, ...]]


def error_keys(values: tuple[Floats, ...], gains: Gains) -> tuple[Floats, ...]:
    """Score for what a unit frees: for scores that are one measure in all groups.

    Cut at one threshold, such keys give the least sum of scores for the cost that goes (Lagrange),
    as far as what a unit frees does not change with the other groups' widths.
    """
    return tuple(
        group / freed if freed > 0 else np.full(group.shape, np.inf)
        for group, freed in zip(values, gains.freed, strict=True)
    )


def global_keys(values: tuple[Floats, ...], gains: Gains) -> tuple[Floats, ...]:
    """Score and rank inside the group, each with mean one, divided by a power of the gain.

    The gain is per member of the group, because a unit of a residual
    stream frees much only by serving many layers, and all of them lose an input.  Tried once, on
    CIFAR ResNet-56, batch norm re-estimated, no training, top-1 of 500 test images, with 30 % and
    50 % of the parameters gone: 80 % and 41 %; 54 % and 33 % with the gain as it is; 65 % and 41 %
    where all groups are cut alike (which leaves fewer MACs: 69 against 81 %, and 54 against 55 %).

    The rank is there for groups whose scores hardly differ (random weights, for one): by score
    alone such a group would go as a whole, down to its floor, at a hair's change of the threshold.
    """
    return tuple(
        _spread(group) / gain**COST_POWER if gain > 0 else np.full(group.shape, np.inf)
        for group, gain in zip(values, gains.freed / gains.members, strict=True)
    )


def uniform_keys(values: tuple[Floats, ...], gains: Gains) -> tuple[Floats, ...]:
    """Rank inside the group alone, so that a threshold cuts all groups by the same share."""
    return tuple(
        _ranks(group) if gain > 0 else np.full(group.shape, np.inf)
        for group, gain in zip(values, gains.freed, strict=True)
    )


def _spread(group: Floats) -> Floats:
    mean = float(np.abs(group).mean())
    relative = group / mean if mean > 0 else np.ones(group.shape)
    return 0.5 * relative + 0.5 * _ranks(group)


def _ranks(group: Floats) -> Floats:
    """From ``1 / units`` for the lowest score to ``2 - 1 / units``; mean one."""
    ranks = np.empty(group.shape)
    ranks[np.argsort(group, kind="stable")] = np.arange(group.size)
    return (2 * ranks + 1) / group.size


def price_units(table: CostTable, keep: KeepMask, of: BudgetOf, groups: tuple[Group, ...]) -> Gains:
    """What one unit of each group costs in the network that keeps ``keep``."""
    freed = []
    now = getattr(table.price(keep), of)
    changed = keep.copy()
    for group, first in zip(groups, table.offsets, strict=False):
        here = slice(first, first + group.units)
        one = first + int(np.argmin(keep[here]))  # a unit that is gone, or else the first
        changed[one] = not keep[one]  # units of a group are alike
        freed.append(abs(now - getattr(table.price(changed), of)))
        changed[one] = keep[one]
    members = [max(1, len({member.parameter for member in group.members})) for group in groups]
    return Gains(
        freed=np.array(freed, dtype=np.float64), members=np.array(members, dtype=np.float64)
    )
