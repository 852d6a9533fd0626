"""What a target is expected to take, and which of several ways to meet a budget is worth most.

In: seconds of a network by the shares that its groups keep, widths that the target likes.  Out:
ways to prefer widths, as budgets that ask for the same; what a plan is worth.  Knows nothing of
runtimes, of scores, or of how a budget is met.

MACs are the same on every way; time is not.  A group whose width hardly moves the time had better
stay whole, and widths that fill a runtime's blocks are worth more than others.  Both cost something
of what the keys say is lost, and the exchange rate says how much that may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compressor.types import Budget, Plan

Floats = NDArray[np.float64]
Preferences = tuple[tuple[int, ...], ...]  # widths, group by group; none: multiples

BLOCKS = (8, 16, 32)  # channels that runtimes compute together
TRIED = 0.3  # of a group's units, to see what it saves
MOST_WHOLE = 16  # numbers of groups left whole that are tried, for each way to prefer widths

# One percent more of what the keys say is lost must buy a fifth of a percent of the time.  On
# CIFAR ResNet-56 with half of the MACs gone (scores measured, int8 in ONNX Runtime), along the ways
# that lose least for their time: 1.00, 1.05, 1.07, 1.09 and 1.11 times faster than the whole keep
# 98.6, 98.4, 98.1, 97.2 and 96.0 % of 5,000 training images right without training, at 1.0, 1.08,
# 1.21, 1.38 and 1.67 times the loss.  The rate takes the second.
EXCHANGE = 0.2
MOST_LOST = 2.0  # times what the plain way loses, whatever it saves


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """``seconds``: of a network whose groups keep these shares of their units.

    ``liked``: widths worth having; ``tolerated``: narrower ones, where those do not reach.
    """

    seconds: Callable[[Sequence[float]], float]
    liked: Preferences
    tolerated: Preferences

    def speedup(self, plan: Plan) -> float:
        """How many times faster than the whole network the plan's is expected to be."""
        kept = [group.width / group.units for group in plan.groups]
        return self.seconds([1.0] * len(kept)) / self.seconds(kept)


def ways(
    budget: Budget, expectation: Expectation, units: Sequence[int], freed: Floats
) -> Iterator[Budget]:
    """Budgets that ask for the same and differ in the widths they prefer; the plain one first.

    Widths: multiples, those liked, whole blocks.  Each with ever more groups left whole, where
    giving units up saves least time for what it frees; ``freed``: by one unit of every group.
    """
    plain = replace(budget, preferred=(), tolerated=())
    order = _least_saving_first(expectation, units, freed)
    liked = (
        plain,
        replace(plain, preferred=expectation.liked, tolerated=expectation.tolerated),
        *(replace(plain, preferred=_blocks(units, block)) for block in BLOCKS),
    )
    for one in liked:
        yield one
        for count in _counts(len(order)):
            yield _leaving_whole(one, order[:count], units)


def worth(seconds: float, lost: float) -> float:
    """Higher is better; of two plans, by how much one is better is the difference."""
    return -math.log(seconds) - EXCHANGE * math.log(max(lost, 1e-300))


def _blocks(units: Sequence[int], block: int) -> Preferences:
    return tuple(tuple(range(block, count, block)) for count in units)


def _counts(groups: int) -> list[int]:
    """From one group to all but one, all numbers where they are few."""
    most = max(groups - 1, 0)
    return sorted(set(np.linspace(1, most, min(most, MOST_WHOLE)).round().astype(int).tolist()))


def _least_saving_first(
    expectation: Expectation, units: Sequence[int], freed: Floats
) -> tuple[int, ...]:
    """Groups that free anything, by the seconds that they save for it alone."""
    whole = expectation.seconds([1.0] * len(units))
    saved = {}
    for group, count in enumerate(units):
        if freed[group] > 0:
            shares = [1.0] * len(units)
            shares[group] -= TRIED
            cut = expectation.seconds(shares)
            saved[group] = (whole - cut) / (float(freed[group]) * TRIED * count)
    return tuple(sorted(saved, key=lambda group: saved[group]))


def _leaving_whole(budget: Budget, groups: Sequence[int], units: Sequence[int]) -> Budget:
    """Wished, not demanded: where the budget cannot be met so, they give way as widths do."""
    preferred = budget.preferred or ((),) * len(units)
    return replace(
        budget,
        preferred=tuple(
            (units[group],) if group in groups else widths for group, widths in enumerate(preferred)
        ),
        tolerated=tuple(
            () if group in groups else widths for group, widths in enumerate(budget.tolerated)
        ),
    )
