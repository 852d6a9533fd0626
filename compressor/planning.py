"""Which units stay: from an analysis, scores and a budget to a plan.

In: ``Analysis``, ``Scores`` (one number per unit, higher is dearer), ``Budget``.  Out: ``Plan``.
Knows nothing of torch, weights or files; the same inputs always give the same plan.

Every unit gets a *key*, and the units with the lowest keys go.  Inside a group keys follow the
scores, so a choice is fully described by the number of units each group keeps, its *width*; which
widths meet the budget is ``compressor.widths``'s business.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from compressor.costs import CostTable, Integers, KeepMask, cost, cost_table
from compressor.errors import BudgetError, PlanError
from compressor.expectations import MOST_LOST, Expectation, ways, worth
from compressor.ranking import (
    Floats,
    Gains,
    Keys,
    error_keys,
    global_keys,
    price_units,
    uniform_keys,
)
from compressor.types import (
    Analysis,
    Budget,
    Costs,
    KeptUnits,
    Plan,
    Scores,
    Spans,
)
from compressor.widths import Met, Order, Steps, largest_share, meet, share

__all__ = [
    "check_spans",
    "cost",
    "empty_plan",
    "keep_mask",
    "plan",
    "plan_by_error",
    "plan_by_keys",
    "plan_keeping",
    "plan_uniform",
    "rows_of",
    "spans",
    "steps_of",
]

FORMAT = 1
PRICINGS = 5  # of units, in ever better known company


def plan(
    analysis: Analysis, scores: Scores, budget: Budget, expectation: Expectation | None = None
) -> Plan:
    """Rank all units of all groups together, cost considered, and keep the dearest.

    ``expectation``: of a target's time, by which the widths are chosen that are worth most on it
    (``expectations``); the widths that ``budget`` prefers do not count then.

    Raises ``BudgetError`` for a malformed or unreachable budget (the message names the largest
    reachable value) and ``PlanError`` for scores that do not belong to ``analysis``.
    """
    return plan_by_keys(analysis, scores, budget, global_keys, expectation)


def plan_uniform(
    analysis: Analysis, scores: Scores, budget: Budget, expectation: Expectation | None = None
) -> Plan:
    """Cut every group by the same share, as widths allow; raises as ``plan`` does."""
    return plan_by_keys(analysis, scores, budget, uniform_keys, expectation)


def plan_by_keys(
    analysis: Analysis,
    scores: Scores,
    budget: Budget,
    keys: Keys,
    expectation: Expectation | None = None,
) -> Plan:
    """Let the units with the lowest ``keys`` go; raises as ``plan`` does."""
    gains = _whole_gains(analysis, budget)
    return _plan(analysis, scores, budget, keys, gains, expectation)


def plan_by_error(
    analysis: Analysis, scores: Scores, budget: Budget, expectation: Expectation | None = None
) -> Plan:
    """Keep what the error would miss most for its cost; raises as ``plan`` does.

    For scores that are one measure in all groups (``sensitivity``): their sum over what goes is
    the least that the budget allows.  What a unit frees depends on the widths of the other groups,
    so it is priced again in the network that the plan keeps, until both agree well enough.
    """
    gains = _whole_gains(analysis, budget)
    for _ in range(PRICINGS - 1):
        keep = keep_mask(analysis, _plan(analysis, scores, budget, error_keys, gains, None))
        there = price_units(cost_table(analysis), keep, budget.of, analysis.groups)
        gains = replace(gains, freed=np.sqrt(gains.freed * there.freed))
    return _plan(analysis, scores, budget, error_keys, gains, expectation)


def empty_plan(analysis: Analysis) -> Plan:
    """The plan that keeps every unit."""
    units = sum(group.units for group in analysis.groups)
    return plan_keeping(analysis, np.ones(units + 1, dtype=np.bool_))


def plan_keeping(analysis: Analysis, keep: KeepMask) -> Plan:
    """The plan that keeps exactly ``keep``, a choice made elsewhere.

    Raises ``PlanError`` when the mask does not fit or leaves a group without units.
    """
    table = cost_table(analysis)
    before, after = _whole(table), table.price(keep)
    achieved = share(before, after, "params")
    return Plan(
        format=FORMAT,
        fingerprint=analysis.fingerprint,
        budget=Budget(sparsity=achieved, multiple_of=1, keep_at_least=0.0, smallest_group=1),
        achieved=achieved,
        multiple_of=1,
        criterion="given",
        groups=_kept_units(analysis, table, keep),
        before=before,
        after=after,
        inputs=analysis.inputs,
    )


def keep_mask(analysis: Analysis, plan: Plan) -> KeepMask:
    """Bool array of length ``1 + total units``: which global units ``plan`` keeps.

    Raises ``PlanError`` when the plan was made for another structure or its spans do not fit.
    """
    if plan.fingerprint != analysis.fingerprint:
        raise PlanError(
            f"the plan is for structure {plan.fingerprint[:12]}, the network is "
            f"{analysis.fingerprint[:12]}; make a plan for this network"
        )
    if len(plan.groups) != len(analysis.groups):
        raise PlanError(
            f"the plan has {len(plan.groups)} groups, the network {len(analysis.groups)}; "
            "make a plan for this network"
        )
    parts = [np.ones(1, dtype=np.bool_)]
    for kept, group in zip(plan.groups, analysis.groups, strict=True):
        if kept.group != group.id or kept.units != group.units:
            raise PlanError(
                f"the plan's group {kept.group} with {kept.units} units stands where the network "
                f"has group {group.id} ({group.name}) with {group.units}; make a plan anew"
            )
        check_spans(kept)
        part = np.zeros(group.units, dtype=np.bool_)
        part[rows_of(kept.kept)] = True
        parts.append(part)
    return np.concatenate(parts)


def spans(rows: Iterable[int]) -> Spans:
    """Ascending rows without repetition as spans: ``(0, 1, 2, 5) -> ((0, 3), (5, 6))``."""
    numbers = np.fromiter(rows, dtype=np.int64)
    if numbers.size == 0:
        return ()
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    starts = numbers[np.concatenate([[0], breaks])]
    stops = numbers[np.concatenate([breaks - 1, [numbers.size - 1]])] + 1
    return tuple(zip(starts.tolist(), stops.tolist(), strict=True))


def rows_of(spans: Spans) -> Integers:
    """The rows that spans stand for, ascending, int64."""
    parts = [np.arange(start, stop, dtype=np.int64) for start, stop in spans]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def require_reachable(analysis: Analysis, budget: Budget) -> None:
    """Refuse a budget that no scores would meet: units of a group are alike.

    Raises ``BudgetError`` as ``plan`` does.
    """
    gains = _whole_gains(analysis, budget)
    even = tuple(np.zeros(group.units) for group in analysis.groups)
    _steps_within_reach(analysis, _order(analysis, budget, even, even), budget, gains.freed)


def steps_of(analysis: Analysis, budget: Budget) -> Steps:
    """Units of every group and the fewest that ``budget`` lets it keep, all where it stays whole.

    Raises ``BudgetError`` for a malformed budget.
    """
    return _steps(analysis, budget, _whole_gains(analysis, budget).freed)


def _whole_gains(analysis: Analysis, budget: Budget) -> Gains:
    table = cost_table(analysis)
    _check_budget(budget)
    keep = np.ones(table.units + 1, dtype=np.bool_)
    return price_units(table, keep, budget.of, analysis.groups)


def _plan(
    analysis: Analysis,
    scores: Scores,
    budget: Budget,
    keys: Keys,
    gains: Gains,
    expectation: Expectation | None,
) -> Plan:
    values = _values(analysis, scores)
    order = _order(analysis, budget, values, keys(values, gains))
    steps = _steps_within_reach(analysis, order, budget, gains.freed)
    if expectation is None:
        met = meet(order, steps, budget)
        warnings = (*met.unliked, *met.warnings)
    else:
        budget, met = _worth_most(analysis, order, budget, gains, expectation)
        warnings = met.warnings
    keep = order.mask(met.widths)
    after = order.table.price(keep)
    return Plan(
        format=FORMAT,
        fingerprint=analysis.fingerprint,
        budget=budget,
        achieved=share(order.before, after, budget.of),
        multiple_of=met.multiple_of,
        criterion=scores.criterion,
        groups=_kept_units(analysis, order.table, keep),
        before=order.before,
        after=after,
        warnings=warnings,
        inputs=analysis.inputs,
    )


def _order(
    analysis: Analysis, budget: Budget, values: Sequence[Floats], keys: Sequence[Floats]
) -> Order:
    table = cost_table(analysis)
    return Order(
        table=table,
        before=_whole(table),
        of=budget.of,
        keys=tuple(np.sort(group) for group in keys),
        # Stable: of equal scores the later unit goes first.
        ranking=tuple(np.argsort(-group, kind="stable") for group in values),
    )


def _steps_within_reach(analysis: Analysis, order: Order, budget: Budget, gains: Floats) -> Steps:
    """Raises ``BudgetError`` where the floors of all groups leave more than the budget does."""
    steps = _steps(analysis, budget, gains)
    reachable = largest_share(order, steps)
    if budget.sparsity > reachable:
        raise BudgetError(_out_of_reach(analysis, budget, gains, reachable))
    return steps


def _worth_most(
    analysis: Analysis, order: Order, budget: Budget, gains: Gains, expectation: Expectation
) -> tuple[Budget, Met]:
    """Of all ways to meet the budget, what is worth most on a target; the first is the plain one,
    and none may lose more than ``MOST_LOST`` times as much."""
    units = [group.units for group in analysis.groups]
    found: list[tuple[float, Budget, Met]] = []
    limit = math.inf
    for way in ways(budget, expectation, units, gains.freed):
        met = meet(order, _steps(analysis, way, gains.freed), way)
        lost = order.lost(met.widths, gains.freed)
        limit = limit if found else MOST_LOST * lost
        if lost <= limit:
            shares = [width / count for width, count in zip(met.widths, units, strict=True)]
            found.append((worth(expectation.seconds(shares), lost), way, met))
    _, way, met = max(found, key=lambda one: one[0])
    return way, met


def _steps(analysis: Analysis, budget: Budget, gains: Floats) -> Steps:
    units = np.array([group.units for group in analysis.groups], dtype=np.int64)
    floors = np.array([_floor(group.units, budget) for group in analysis.groups], dtype=np.int64)
    asked = np.isin([group.id for group in analysis.groups], _kept_whole(analysis, budget))
    whole = (units < budget.smallest_group) | (gains <= 0) | asked
    return Steps(
        units=units,
        floors=np.where(whole, units, floors),
        preferred=_checked_widths(analysis, budget.preferred),
        tolerated=_checked_widths(analysis, budget.tolerated),
    )


def _checked_widths(
    analysis: Analysis, given: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...], ...]:
    """Raises ``BudgetError`` for widths that are not those of this analysis's groups."""
    if given and len(given) != len(analysis.groups):
        raise BudgetError(
            f"widths of {len(given)} groups do not fit a network of {len(analysis.groups)}; probe "
            "this network"
        )
    for widths, group in zip(given, analysis.groups, strict=False):
        if any(not 1 <= width <= group.units for width in widths):
            raise BudgetError(
                f"widths {widths} of group {group.id} ({group.name}) are not all within its "
                f"{group.units} units; probe this network"
            )
    return given


def _kept_whole(analysis: Analysis, budget: Budget) -> list[int]:
    """Groups that the budget names.  Raises ``BudgetError`` for a name that fits none."""
    found: list[int] = []
    for name in budget.keep_whole:
        fitting = [
            group.id
            for group in analysis.groups
            if name == str(group.id) or fnmatch.fnmatchcase(group.name, name)
        ]
        if not fitting:
            raise BudgetError(
                f"--keep-whole {name}: fits no group; take a group's number or name as analyze "
                "lists them"
            )
        found += fitting
    return found


def _floor(units: int, budget: Budget) -> int:
    # 0.1 * 30 is a hair over 3 in floating point; that hair must not cost a unit.
    return min(units, max(1, math.ceil(budget.keep_at_least * units - 1e-9)))


def _whole(table: CostTable) -> Costs:
    return table.price(np.ones(table.units + 1, dtype=np.bool_))


def _kept_units(analysis: Analysis, table: CostTable, keep: KeepMask) -> tuple[KeptUnits, ...]:
    kept = []
    for group, first in zip(analysis.groups, table.offsets, strict=False):
        rows = np.flatnonzero(keep[first : first + group.units])
        if rows.size == 0:
            raise PlanError(
                f"group {group.id} ({group.name}) would lose all its {group.units} units; keep one"
            )
        kept.append(KeptUnits(group=group.id, name=group.name, units=group.units, kept=spans(rows)))
    return tuple(kept)


def _values(analysis: Analysis, scores: Scores) -> tuple[Floats, ...]:
    if scores.fingerprint != analysis.fingerprint:
        raise PlanError(
            f"the scores are for structure {scores.fingerprint[:12]}, the analysis for "
            f"{analysis.fingerprint[:12]}; score this network"
        )
    widths = [len(values) for values in scores.values]
    if widths != [group.units for group in analysis.groups]:
        raise PlanError("the scores do not have one number per unit; score this network anew")
    values = tuple(np.array(group, dtype=np.float64) for group in scores.values)
    for group, numbers in zip(analysis.groups, values, strict=True):
        if not np.isfinite(numbers).all():
            raise PlanError(
                f"{scores.criterion} scores of group {group.id} ({group.name}) are not all finite; "
                "check the weights and the data they were scored on"
            )
    return values


def _check_budget(budget: Budget) -> None:
    if budget.of not in ("params", "macs", "channels"):
        raise BudgetError(f"budget of {budget.of!r} is unknown; take params, macs or channels")
    if not 0 < budget.sparsity < 1:
        raise BudgetError(
            f"sparsity {budget.sparsity} is not between 0 and 1; 0.7 removes 70 % of {budget.of}"
        )
    if budget.multiple_of < 1:
        raise BudgetError(
            f"width multiple {budget.multiple_of} is below 1; take 8, or 1 for any width"
        )
    if not 0 <= budget.keep_at_least <= 1:
        raise BudgetError(
            f"keep_at_least {budget.keep_at_least} is not a share; 0.1 keeps 10 % of every group"
        )
    if budget.tolerated and len(budget.tolerated) != len(budget.preferred):
        raise BudgetError("tolerated widths go with preferred ones, group by group; give both")
    if budget.smallest_group < 1:
        raise BudgetError(
            f"smallest_group {budget.smallest_group} is below 1; 1 lets every group be cut"
        )


def check_spans(kept: KeptUnits) -> None:
    """Raises ``PlanError`` for spans that are no choice of the group's units, ascending."""
    edges = [edge for span in kept.kept for edge in span]
    ascending = all(low < high for low, high in zip(edges[::2], edges[1::2], strict=True))
    apart = all(low <= high for low, high in zip(edges[1::2], edges[2::2], strict=False))
    if not (edges and ascending and apart and edges[0] >= 0 and edges[-1] <= kept.units):
        raise PlanError(
            f"the plan's spans {kept.kept} of group {kept.group} ({kept.name}) are not ascending "
            f"spans within {kept.units} units; make a plan anew"
        )


def _out_of_reach(analysis: Analysis, budget: Budget, gains: Floats, reachable: float) -> str:
    small = sum(group.units < budget.smallest_group for group in analysis.groups)
    idle = sum(
        group.units >= budget.smallest_group and gain <= 0
        for group, gain in zip(analysis.groups, gains, strict=True)
    )
    reasons = [f"every group keeps {100 * budget.keep_at_least:g} % of its units, at least one"]
    if small:
        reasons.append(f"{small} groups of fewer than {budget.smallest_group} units stay whole")
    if budget.keep_whole:
        reasons.append(f"{', '.join(budget.keep_whole)} kept whole as asked")
    if idle:
        reasons.append(f"units of {idle} groups free no {budget.of}")
    # Rounded down, so that the value named is within reach.
    percent = math.floor(1000 * reachable) / 10
    return (
        f"--sparsity {budget.sparsity:g} of {budget.of} is out of reach: at most {percent:.1f} % "
        f"can go ({'; '.join(reasons)}); ask for less"
    )
