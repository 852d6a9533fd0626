"""Laws of planning, over networks that chance makes up: any groups, axes and costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from compressor.costs import KeepMask, cost, cost_table, decode
from compressor.errors import BudgetError
from compressor.narrowing import _contests, _parts, part_depth
from compressor.planning import (
    keep_mask,
    plan,
    plan_by_error,
    plan_keeping,
    plan_uniform,
    rows_of,
    spans,
)
from compressor.ranking import _ranks, price_units
from compressor.types import Analysis, Axis, Budget, BudgetOf, Plan, Scores
from compressor.widths import TOLERANCE, _nearest, divisor
from tests.examples import times
from tests.test_planning import analysis_of, brute_force, frozen_axis

Planner = Callable[[Analysis, Scores, Budget], Plan]
PLANNERS: tuple[Planner, ...] = (plan, plan_uniform, plan_by_error)
MEASURES: tuple[BudgetOf, ...] = ("params", "macs", "channels")


@st.composite
def analyses(draw: st.DrawFn, widest: int = 24) -> Analysis:
    """One to four groups; axes of one group, of two side by side, of two as factors, of none."""
    units = tuple(draw(st.lists(st.integers(1, widest), min_size=1, max_size=4)))
    firsts = [1 + sum(units[:place]) for place in range(len(units))]
    runs = [(first, 1, count) for first, count in zip(firsts, units, strict=True)]
    axes = [frozen_axis(draw(st.integers(1, 5)))]
    axes += [Axis(size=count, columns=((run,),)) for run, count in zip(runs, units, strict=True)]
    places = st.integers(0, len(units) - 1)
    for _ in range(draw(st.integers(0, 2))):
        one, other = draw(places), draw(places)
        if draw(st.booleans()):
            axes.append(Axis(size=units[one] + units[other], columns=((runs[one], runs[other]),)))
        elif one != other:
            axes.append(_product(runs[one], runs[other]))
    chosen = st.lists(st.integers(0, len(axes) - 1), min_size=1, max_size=2)
    weights = [
        (draw(st.integers(1, 9)), tuple(draw(chosen)), draw(st.integers(1, 64)))
        for _ in range(draw(st.integers(1, 5)))
    ]
    weights += [(1, (1 + place,), 1) for place in range(len(units))]  # every unit costs something
    return analysis_of(units, tuple(axes), tuple(weights))


def _product(one: tuple[int, int, int], other: tuple[int, int, int]) -> Axis:
    outer = tuple((one[0] + place, 0, other[2]) for place in range(one[2]))
    return Axis(size=one[2] * other[2], columns=(outer, (other,) * one[2]))


@st.composite
def scored(draw: st.DrawFn, widest: int = 24) -> tuple[Analysis, Scores]:
    """With scores of which no two are equal."""
    analysis = draw(analyses(widest))
    generator = np.random.default_rng(draw(st.integers(0, 2**20)))
    values = tuple(
        tuple(generator.gamma(2.0, size=group.units).tolist()) for group in analysis.groups
    )
    return analysis, Scores(criterion="r", fingerprint=analysis.fingerprint, values=values)


@st.composite
def masks(draw: st.DrawFn) -> tuple[Analysis, KeepMask]:
    """A network and a choice that leaves every group a unit."""
    analysis = draw(analyses())
    generator = np.random.default_rng(draw(st.integers(0, 2**20)))
    keep = generator.random(1 + sum(group.units for group in analysis.groups)) < 0.6
    keep[0] = True
    for first, group in zip(cost_table(analysis).offsets, analysis.groups, strict=False):
        keep[first + generator.integers(group.units)] = True
    return analysis, keep


sparsities = st.floats(0.01, 0.99)
over_planners = pytest.mark.parametrize("planner", PLANNERS)


def reachable_in(error: BudgetError) -> float:
    found = re.search(r"at most (\d+\.\d) % can go", str(error))
    assert found is not None
    return float(found[1]) / 100


@given(masks())
def test_cost_is_what_plain_loops_count(given_: tuple[Analysis, KeepMask]) -> None:
    analysis, keep = given_
    assert cost(analysis, keep) == brute_force(analysis, keep)


@over_planners
@times(0.15)
@given(scored(), sparsities, st.sampled_from(MEASURES), st.sampled_from((1, 4, 8)), st.booleans())
def test_a_budget_is_met_or_the_error_names_what_is_met_then(
    planner: Planner,
    given_: tuple[Analysis, Scores],
    sparsity: float,
    of: BudgetOf,
    multiple_of: int,
    small_too: bool,
) -> None:
    analysis, scores = given_
    budget = Budget(
        sparsity=sparsity, of=of, multiple_of=multiple_of, smallest_group=1 if small_too else 8
    )
    try:
        made = planner(analysis, scores, budget)
    except BudgetError as error:
        named = reachable_in(error)
        assume(named > 0)
        assert named < sparsity
        budget = replace(budget, sparsity=named)
        made = planner(analysis, scores, budget)
    keep = keep_mask(analysis, made)
    assert made.after == brute_force(analysis, keep)
    assert made.achieved == 1 - getattr(made.after, of) / getattr(made.before, of)
    if abs(made.achieved - budget.sparsity) > TOLERANCE:
        assert made.achieved > budget.sparsity
        assert "nearest value not below" in made.warnings[-1]
    for kept, group, values in zip(made.groups, analysis.groups, scores.values, strict=True):
        assert kept.width >= max(1, budget.keep_at_least * group.units)
        assert group.units >= budget.smallest_group or kept.width == group.units
        best = np.argsort(-np.array(values), kind="stable")[: kept.width]
        assert rows_of(kept.kept).tolist() == sorted(best.tolist())


@over_planners
@times(0.15)
@given(scored(), sparsities, sparsities, st.sampled_from(MEASURES))
def test_who_asks_for_more_to_go_gets_no_less(
    planner: Planner,
    given_: tuple[Analysis, Scores],
    one: float,
    other: float,
    of: BudgetOf,
) -> None:
    analysis, scores = given_
    less, more = sorted((one, other))
    budget = Budget(sparsity=more, of=of, multiple_of=1, smallest_group=1)
    try:
        large = planner(analysis, scores, budget)
    except BudgetError:
        assume(False)
    small = planner(analysis, scores, replace(budget, sparsity=less))
    assert large.achieved >= small.achieved - 2 * TOLERANCE


@over_planners
@times(0.15)
@given(scored(), sparsities, st.randoms(use_true_random=False))
def test_units_in_another_order_are_kept_in_that_order(
    planner: Planner, given_: tuple[Analysis, Scores], sparsity: float, random: object
) -> None:
    analysis, scores = given_
    # Where an axis holds one group as a whole, its units are alike but for their scores.
    assume(all(len(one.columns) == 1 for one in analysis.axes))
    orders = [list(range(group.units)) for group in analysis.groups]
    for order in orders:
        random.shuffle(order)  # type: ignore[attr-defined]
    turned = tuple(
        tuple(values[place] for place in order)
        for values, order in zip(scores.values, orders, strict=True)
    )
    budget = Budget(sparsity=sparsity, multiple_of=1, smallest_group=1)
    try:
        before = planner(analysis, scores, budget)
    except BudgetError:
        with pytest.raises(BudgetError):
            planner(analysis, replace(scores, values=turned), budget)
        return
    after = planner(analysis, replace(scores, values=turned), budget)
    for kept, moved, order in zip(before.groups, after.groups, orders, strict=True):
        there = sorted(order.index(row) for row in rows_of(kept.kept).tolist())
        assert rows_of(moved.kept).tolist() == there


@over_planners
@times(0.15)
@given(scored(), sparsities, st.integers(-20, 20))
def test_scale_of_all_scores_does_not_matter(
    planner: Planner, given_: tuple[Analysis, Scores], sparsity: float, power: int
) -> None:
    analysis, scores = given_
    scaled = tuple(tuple(2.0**power * value for value in values) for values in scores.values)
    budget = Budget(sparsity=sparsity, smallest_group=1)

    def outcome(values: tuple[tuple[float, ...], ...]) -> Plan | str:
        try:
            return planner(analysis, replace(scores, values=values), budget)
        except BudgetError as error:
            return str(error)

    assert outcome(scores.values) == outcome(scaled)


@given(masks())
def test_a_choice_survives_as_plan_as_json_and_as_mask(
    given_: tuple[Analysis, KeepMask],
) -> None:
    analysis, keep = given_
    made = plan_keeping(analysis, keep)
    assert (keep_mask(analysis, made) == keep).all()
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made
    read = msgspec.json.decode(msgspec.json.encode(analysis), type=Analysis)
    assert read == analysis
    assert (keep_mask(read, made) == keep).all()


@given(st.sets(st.integers(0, 200)))
def test_spans_say_the_rows_in_the_fewest_pieces(rows: set[int]) -> None:
    found = spans(sorted(rows))
    assert set(rows_of(found).tolist()) == rows
    assert len(found) == sum(row - 1 not in rows for row in rows)


@given(masks(), st.sampled_from(MEASURES))
def test_what_a_unit_is_priced_at_is_what_its_going_or_coming_changes(
    given_: tuple[Analysis, KeepMask], of: BudgetOf
) -> None:
    analysis, keep = given_
    assume(all(len(one.columns) == 1 for one in analysis.axes))  # else units are not alike
    table = cost_table(analysis)
    gains = price_units(table, keep, of, analysis.groups)
    for place, group in enumerate(analysis.groups):
        first = int(table.offsets[place])
        for unit in range(first, first + group.units):
            if keep[first : first + group.units].all() or not keep[unit]:
                other = keep.copy()
                other[unit] = not other[unit]
                change = getattr(brute_force(analysis, other), of)
                assert gains.freed[place] == abs(change - getattr(brute_force(analysis, keep), of))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_ranks_have_mean_one_and_the_order_of_the_scores(values: list[float]) -> None:
    ranks = _ranks(np.array(values))
    assert ranks.mean() == pytest.approx(1)
    order = np.argsort(values, kind="stable")
    assert (np.diff(ranks[order]) > 0).all()


@given(st.integers(1, 4096), st.sampled_from((1, 2, 4, 8, 16, 32)))
def test_a_groups_divisor_leaves_it_four_choices_and_divides_what_was_asked(
    units: int, multiple_of: int
) -> None:
    found = divisor(units, multiple_of)
    assert multiple_of % found == 0
    assert found == 1 or 4 * found <= units


@given(st.sets(st.integers(1, 60), min_size=1), st.integers(-5, 70))
def test_the_nearest_width_is_nearest_and_the_larger_of_two(allowed: set[int], width: int) -> None:
    found = _nearest(np.array(sorted(allowed)), width)
    distance = min(abs(one - width) for one in allowed)
    assert found == max(one for one in allowed if abs(one - width) == distance)


@given(masks())
def test_parts_of_a_network_cost_what_the_whole_does(given_: tuple[Analysis, KeepMask]) -> None:
    analysis, keep = given_
    parts = _parts(analysis, keep)
    whole, left = brute_force(analysis, np.ones_like(keep)), brute_force(analysis, keep)
    for of in ("params", "macs"):
        assert sum(getattr(part.before, of) for part in parts) == getattr(whole, of)
        assert sum(getattr(part.after, of) for part in parts) == getattr(left, of)


@given(analyses())
def test_contests_are_the_groups_that_meet_in_a_row(analysis: Analysis) -> None:
    group_of = [-1] + [
        place for place, group in enumerate(analysis.groups) for _ in range(group.units)
    ]
    met = set()
    for term in analysis.costs:
        if term.of == "params":
            for number in term.axes:
                for row in decode(analysis.axes[number]).T.tolist():
                    met.add(tuple(sorted({group_of[unit] for unit in row} - {-1})))
    widths = tuple(range(len(analysis.groups)))  # stand for the groups' widths
    found = _contests(analysis, widths)  # type: ignore[arg-type]
    assert {one.widths for one in found} == {row for row in met if len(row) > 1}


@given(st.dictionaries(st.from_regex(r"[ab](\.[ab]){0,4}", fullmatch=True), st.integers(1, 99)))
def test_parts_are_few_and_as_deep_as_it_takes(sizes: dict[str, int]) -> None:
    depth = part_depth(list(sizes.items()), most=6)
    assert 1 <= depth <= 4
    names = {".".join(path.split(".")[:depth]) for path in sizes}
    assert depth == 1 or len(names) <= 6
