"""How many units each group keeps so that a budget is met.

In: an ``Order`` (keys of the units, cost of every choice), the ``Steps`` a width may take, a
``Budget``.  Out: ``Met``, widths and what had to give way.  Knows nothing of scores or networks.

Threshold: all units with a lower key go, widths are rounded to those allowed, and the threshold is
bisected.  Then single steps mend what the rounding left.  Where that does not meet the budget,
finer steps mend what is left over, so that most groups keep the width they had.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compressor.costs import CostTable, Integers, KeepMask
from compressor.types import Budget, BudgetOf, Costs

TOLERANCE = 0.005  # "half a percentage point"
CLOSE = 0.001  # an excess that is not worth more mending
CHOICES = 4096  # combinations of widths tried where single steps do not meet the budget

Floats = NDArray[np.float64]
Widths = tuple[int, ...]  # kept units of every group
Allowed = tuple[Integers, ...]  # widths that every group may take, ascending


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """In which order units go, and what remains when they have gone."""

    table: CostTable
    before: Costs
    of: BudgetOf
    keys: tuple[Floats, ...]  # per group, ascending
    ranking: tuple[Integers, ...]  # per group, places of its units, dearest first

    def mask(self, widths: Widths) -> KeepMask:
        """Keep mask with the dearest units of every group."""
        keep = np.zeros(self.table.units + 1, dtype=np.bool_)
        keep[0] = True
        for first, ranking, width in zip(self.table.offsets, self.ranking, widths, strict=False):
            keep[first + ranking[:width]] = True
        return keep

    def share(self, widths: Widths) -> float:
        """Share of the budget's measure that goes when groups keep ``widths``."""
        return share(self.before, self.table.price(self.mask(widths)), self.of)

    def lost(self, widths: Widths, freed: Floats) -> float:
        """What a threshold on the keys keeps least: the keys of all that goes, each as often as it
        frees.  ``freed``: by one unit of every group; one that frees nothing loses nothing."""
        return sum(
            float(gain * keys[: keys.size - width].sum())
            for keys, width, gain in zip(self.keys, widths, freed, strict=True)
            if gain > 0
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Units of every group and the fewest it may keep (all of them where it stays whole).

    ``preferred``: the widths that a group should take; multiples where there are none.
    ``tolerated``: more of them, where these do not reach far enough.
    """

    units: Integers
    floors: Integers
    preferred: tuple[Widths, ...] = ()
    tolerated: tuple[Widths, ...] = ()

    def wanted(self, multiple_of: int) -> Allowed:
        """Widths each group should take, ascending, from its floor up, and the whole: those
        preferred, or multiples."""
        multiples = self._multiples(multiple_of)
        return self._allowed(
            [known or found for known, found in zip(self._known, multiples, strict=True)]
        )

    def allowed(self, multiple_of: int) -> Allowed:
        """As ``wanted``; groups with preferred widths may take multiples as well."""
        multiples = self._multiples(multiple_of)
        return self._allowed(
            [(*known, *found) for known, found in zip(self._known, multiples, strict=True)]
        )

    def deeper(self) -> Steps:
        """With the tolerated widths among those preferred."""
        both = zip(self.preferred, self.tolerated, strict=True)
        return replace(self, preferred=tuple((*wanted, *more) for wanted, more in both))

    @property
    def _known(self) -> tuple[Widths, ...]:
        return self.preferred or ((),) * self.units.size

    def _multiples(self, multiple_of: int) -> list[Widths]:
        steps = [divisor(units, multiple_of) for units in self.units.tolist()]
        return [
            tuple(range(step, units, step))
            for step, units in zip(steps, self.units.tolist(), strict=True)
        ]

    def _allowed(self, widths: list[Widths]) -> Allowed:
        return tuple(
            np.array(
                sorted({units, *(width for width in some if floor <= width < units)}),
                dtype=np.int64,
            )
            for some, floor, units in zip(
                widths, self.floors.tolist(), self.units.tolist(), strict=True
            )
        )

    def off(self, widths: Widths) -> int:
        """Groups whose width is not one of those preferred."""
        return sum(
            bool(preferred) and width < units and width not in preferred
            for width, units, preferred in zip(
                widths, self.units.tolist(), self.preferred, strict=False
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Widths that meet a budget, the multiple they are rounded to, and what gave way: preferred
    widths (``unliked``), multiples and the budget itself."""

    widths: Widths
    multiple_of: int
    unliked: tuple[str, ...]
    warnings: tuple[str, ...]


def divisor(units: int, multiple_of: int) -> int:
    """What a group's width is a multiple of: ``multiple_of``, halved until it is at most a quarter
    of the group, whose choice would otherwise be all or half."""
    while multiple_of > 1 and 4 * multiple_of > units:
        multiple_of //= 2
    return multiple_of


def share(before: Costs, after: Costs, of: BudgetOf) -> float:
    """Share of ``before`` that is gone in ``after``; 0 where there was nothing."""
    whole: int = getattr(before, of)
    left: int = getattr(after, of)
    return 1 - left / whole if whole else 0.0


def largest_share(order: Order, steps: Steps) -> float:
    """Share that goes when every group is cut to its floor."""
    return order.share(tuple(steps.floors.tolist()))


def meet(order: Order, steps: Steps, budget: Budget) -> Met:
    """Widths within half a point of ``budget.sparsity``, else the nearest not below.

    ``largest_share`` must not be below the sparsity.
    """
    target = _Target(order=order, sparsity=budget.sparsity)
    widths: Widths = ()
    for multiple_of, allowed in _rungs(steps, budget.multiple_of):
        if target.misses(tuple(int(choice[0]) for choice in allowed)):
            continue
        if widths:  # of a coarser rung, which only just do not do
            widths = _mend(target, allowed, widths, enough=TOLERANCE)
        else:
            widths = _mend(target, allowed, _threshold(target, allowed), enough=CLOSE)
        if target.met(widths):
            return Met(
                widths=widths,
                multiple_of=multiple_of,
                unliked=_unliked(budget, steps, widths),
                warnings=_other_multiples(budget, steps, multiple_of),
            )
    widths = _search_around(target, steps.allowed(1), widths)
    warnings = _other_multiples(budget, steps, 1)
    if not target.met(widths):
        warnings += (
            f"{_percent(budget)} cannot be met within half a point, single units are too large; "
            f"taken is the nearest value not below, {100 * order.share(widths):.1f} %",
        )
    unliked = _unliked(budget, steps, widths)
    return Met(widths=widths, multiple_of=1, unliked=unliked, warnings=warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    order: Order
    sparsity: float

    def over(self, widths: Widths) -> float:
        """By how much the share that goes exceeds the sparsity asked for."""
        return self.order.share(widths) - self.sparsity

    def misses(self, widths: Widths) -> bool:
        return self.over(widths) < 0

    def met(self, widths: Widths) -> bool:
        return abs(self.over(widths)) <= TOLERANCE


def _rungs(steps: Steps, multiple_of: int) -> Iterator[tuple[int, Allowed]]:
    """What is asked for first, then ever less of it: a multiple, and the widths to choose from."""
    if any(steps.preferred):
        yield multiple_of, steps.wanted(multiple_of)
    if any(steps.tolerated):
        steps = steps.deeper()
        yield multiple_of, steps.wanted(multiple_of)
    while multiple_of > 1:
        yield multiple_of, steps.allowed(multiple_of)
        multiple_of //= 2
    yield 1, steps.allowed(1)


def _percent(budget: Budget) -> str:
    return f"{100 * budget.sparsity:g} % of {budget.of}"


def _unliked(budget: Budget, steps: Steps, widths: Widths) -> tuple[str, ...]:
    off = steps.off(widths)
    if not off:
        return ()
    return (
        f"{off} of {len(widths)} groups have another width than those preferred: with these "
        f"alone {_percent(budget)} cannot be met within half a point",
    )


def _other_multiples(budget: Budget, steps: Steps, multiple_of: int) -> tuple[str, ...]:
    """Where all groups have preferred widths there is no multiple to speak of."""
    if multiple_of == budget.multiple_of or (steps.preferred and all(steps.preferred)):
        return ()
    return (
        f"widths are multiples of {multiple_of}, not of {budget.multiple_of}: with the latter "
        f"{_percent(budget)} cannot be met within half a point",
    )


def _threshold(target: _Target, allowed: Allowed) -> Widths:
    """Widths at the lowest threshold on the keys that does not miss the target."""
    keys = target.order.keys
    # Groups that stay whole have one allowed width; their keys would only lengthen the search.
    free = [group for group, widths in zip(keys, allowed, strict=True) if len(widths) > 1]
    candidates = np.unique(np.concatenate(free))

    def at(position: int) -> Widths:
        cuts = [int(np.searchsorted(group, candidates[position], "right")) for group in keys]
        return tuple(
            _nearest(widths, int(widths[-1]) - cut)
            for widths, cut in zip(allowed, cuts, strict=True)
        )

    return at(bisect_left(range(candidates.size - 1), 0.0, key=lambda i: target.over(at(i))))


def _nearest(allowed: Integers, width: int) -> int:
    """The allowed width nearest to ``width``, of two equally near the larger."""
    above = min(int(np.searchsorted(allowed, width)), allowed.size - 1)
    below = max(above - 1, 0)
    closer_below = width - allowed[below] < allowed[above] - width
    return int(allowed[below if closer_below else above])


def _mend(target: _Target, allowed: Allowed, widths: Widths, *, enough: float) -> Widths:
    """Give back what the threshold took beyond the target, dearest units first.

    ``enough``: an excess that is left as it is.
    A last step may end below the target, where only that comes within the tolerance.
    """
    over = target.over(widths)
    below: Widths = ()
    moved = True
    while moved and over > enough:
        moved = False
        for group in _dearest_first(target.order, allowed, widths):
            wider = _step_up(allowed, widths, group)
            over_wider = target.over(wider)
            if over_wider >= 0:
                widths, over, moved = wider, over_wider, True
                if over <= enough:
                    break
            elif not below and -over_wider <= TOLERANCE:
                below = wider
    return below if below and over > TOLERANCE else widths


def _dearest_first(order: Order, allowed: Allowed, widths: Widths) -> list[int]:
    """Groups that can grow, by the key of the unit that would come back; ties in group order."""
    growing = [group for group, width in enumerate(widths) if width < allowed[group][-1]]
    return sorted(growing, key=lambda group: -order.keys[group][-widths[group] - 1])


def _step_up(allowed: Allowed, widths: Widths, group: int) -> Widths:
    wider = int(allowed[group][np.searchsorted(allowed[group], widths[group], "right")])
    return (*widths[:group], wider, *widths[group + 1 :])


def _search_around(target: _Target, allowed: Allowed, start: Widths) -> Widths:
    """Try the widths around ``start`` that ``CHOICES`` allows for, all of them in a small network.

    Taken is what changes fewest units among choices that meet the target, else what exceeds it
    least (``start`` does exceed it).
    """
    best, best_rank = start, (True, target.over(start))
    for widths in itertools.product(*_neighbourhood(allowed, start)):
        over = target.over(widths)
        if abs(over) <= TOLERANCE:
            change = sum(abs(new - old) for new, old in zip(widths, start, strict=True))
            rank = (False, float(change))
        elif over > 0:
            rank = (True, over)
        else:
            continue
        if rank < best_rank:
            best, best_rank = widths, rank
    return best


def _neighbourhood(allowed: Allowed, start: Widths) -> list[tuple[int, ...]]:
    """Per group the widths to try: ever more around ``start``, narrow groups first."""
    options: list[tuple[int, ...]] = [(width,) for width in start]
    by_units = sorted(range(len(start)), key=lambda group: int(allowed[group][-1]))
    for reach in range(1, max(len(widths) for widths in allowed) + 1):
        for group in by_units:
            place = int(np.searchsorted(allowed[group], start[group]))
            near = allowed[group][max(place - reach, 0) : place + reach + 1]
            longer = [*options[:group], tuple(near.tolist()), *options[group + 1 :]]
            if math.prod(len(choice) for choice in longer) > CHOICES:
                return options
            options = longer
    return options
