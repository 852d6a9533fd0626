"""Ways to prefer widths, what a plan is worth on a target, and plans made by both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from compressor.costs import cost_table
from compressor.expectations import EXCHANGE, MOST_LOST, Expectation, ways, worth
from compressor.planning import keep_mask, plan, plan_by_error, plan_uniform
from compressor.ranking import price_units, uniform_keys
from compressor.types import Analysis, Budget, Plan
from tests.test_planning import analysis_of, axis, chain, scored

PLANNERS = (plan, plan_uniform, plan_by_error)
UNITS = (64,) * 6


def network() -> Analysis:
    """Six groups of 64 that cost alike."""
    axes = tuple(axis(((1 + 64 * place, 1, 64),)) for place in range(6))
    return analysis_of(UNITS, axes, tuple((1, (place,), 1) for place in range(6)))


def expecting(
    seconds: Callable[[Sequence[float]], float], liked: tuple[tuple[int, ...], ...] = ((),) * 6
) -> Expectation:
    return Expectation(seconds=seconds, liked=liked, tolerated=((),) * len(liked))


def staircase(block: int) -> Callable[[Sequence[float]], float]:
    """Every group is computed in whole blocks."""
    return lambda kept: sum(-(-round(64 * share) // block) * block for share in kept)


def only(groups: Sequence[int]) -> Callable[[Sequence[float]], float]:
    """Time hangs on some groups alone, and on something beside them."""
    return lambda kept: 1.0 + sum(kept[group] for group in groups)


def shares(made: Plan) -> list[float]:
    return [group.width / group.units for group in made.groups]


def lost(made: Plan, analysis: Analysis) -> float:
    """What a uniform plan loses, by its definition: keys of all that goes times what it frees."""
    whole = np.ones(cost_table(analysis).units + 1, dtype=np.bool_)
    gains = price_units(cost_table(analysis), whole, "params", analysis.groups)
    values = tuple(np.array(one) for one in scored(analysis).values)
    keys = uniform_keys(values, gains)
    keep = np.split(keep_mask(analysis, made)[1:], np.cumsum([len(one) for one in keys])[:-1])
    return sum(
        float(gain * key[~kept].sum())
        for key, kept, gain in zip(keys, keep, gains.freed, strict=True)
    )


over_times = pytest.mark.parametrize(
    "seconds", [staircase(24), staircase(32), only((0, 1)), only((5,))]
)
over_budgets = pytest.mark.parametrize("sparsity", [0.3, 0.5])


@pytest.mark.parametrize("planner", PLANNERS)
@over_times
@over_budgets
def test_a_plan_for_a_target_meets_the_budget(
    planner: Callable[..., Plan], seconds: Callable[[Sequence[float]], float], sparsity: float
) -> None:
    analysis = network()
    made = planner(analysis, scored(analysis), Budget(sparsity=sparsity), expecting(seconds))
    assert abs(made.achieved - sparsity) <= 0.005


@over_times
@over_budgets
def test_a_plan_for_a_target_is_worth_no_less_than_one_without(
    seconds: Callable[[Sequence[float]], float], sparsity: float
) -> None:
    analysis, budget = network(), Budget(sparsity=sparsity)
    plain = plan_uniform(analysis, scored(analysis), budget)
    made = plan_uniform(analysis, scored(analysis), budget, expecting(seconds))
    here, there = (worth(seconds(shares(one)), lost(one, analysis)) for one in (made, plain))
    assert here >= there


def test_groups_that_save_no_time_stay_whole_where_the_others_can_pay() -> None:
    analysis = network()
    budget = Budget(sparsity=0.3)
    made = plan_uniform(analysis, scored(analysis), budget, expecting(only((0, 1, 2))))
    assert [share for share in shares(made)[3:] if share < 1] == []
    plain = plan_uniform(analysis, scored(analysis), budget)
    assert max(shares(plain)) < 1


def test_no_speed_pays_for_twice_the_loss() -> None:
    analysis = network()
    budget = Budget(sparsity=0.5)
    # All of the time is in one group: leaving the others whole would be quickest.
    made = plan_uniform(analysis, scored(analysis), budget, expecting(lambda kept: kept[0] ** 9))
    plain = plan_uniform(analysis, scored(analysis), budget)
    assert lost(made, analysis) <= MOST_LOST * lost(plain, analysis)
    assert shares(made)[0] < shares(plain)[0]


def test_whole_blocks_are_taken_where_they_pay() -> None:
    analysis = network()
    made = plan_uniform(analysis, scored(analysis), Budget(sparsity=0.5), expecting(staircase(32)))
    assert all(group.width % 32 == 0 for group in made.groups)


def test_widths_that_a_target_likes_are_taken_where_they_pay() -> None:
    analysis, likes = network(), 44
    made = plan_uniform(
        analysis,
        scored(analysis),
        Budget(sparsity=1 - likes / 64),
        expecting(
            lambda kept: sum(1.0 if round(64 * share) == likes else 2.0 for share in kept),
            liked=((likes,),) * 6,
        ),
    )
    assert [group.width for group in made.groups] == [likes] * 6
    assert made.budget.preferred == ((likes,),) * 6


def test_without_a_target_nothing_changes() -> None:
    analysis = network()
    flat = expecting(lambda kept: 1.0)  # time does not hang on widths: the least loss wins
    budget = Budget(sparsity=0.5)
    made = plan_uniform(analysis, scored(analysis), budget, flat)
    plain = plan_uniform(analysis, scored(analysis), budget)
    assert lost(made, analysis) <= lost(plain, analysis)


def test_ways_ask_for_the_same_and_the_plain_one_is_first() -> None:
    budget = Budget(sparsity=0.4, keep_whole=("0",), preferred=((8,),) * 6)
    found = list(ways(budget, expecting(only((0,)), ((48,),) * 6), UNITS, np.ones(6)))
    assert found[0] == Budget(sparsity=0.4, keep_whole=("0",))
    assert {(one.sparsity, one.of, one.keep_whole) for one in found} == {(0.4, "params", ("0",))}
    assert len(found) == len(set(found)) > 20
    # The group that time hangs on is the last to stay whole, and never does.
    assert all(one.preferred[0] != (64,) for one in found if one.preferred)


def test_groups_that_free_nothing_are_not_among_those_left_whole() -> None:
    freed = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    found = ways(Budget(sparsity=0.4), expecting(lambda kept: 1.0), UNITS, freed)
    assert all(one.preferred[1] != (64,) for one in found if one.preferred)


def test_worth_exchanges_time_for_loss() -> None:
    assert worth(1.0, 1.0) > worth(1.1, 1.0)
    assert worth(1.0, 1.0) > worth(1.0, 1.1)
    assert worth(0.9, 1.0) - worth(1.0, 1.0) == pytest.approx(worth(9, 5) - worth(10, 5))
    assert worth(1.0, 1.0) == pytest.approx(worth(np.exp(-EXCHANGE), np.e))


def test_speedup_is_the_whole_network_over_the_plan() -> None:
    analysis = chain()
    made = plan(analysis, scored(analysis), Budget(sparsity=0.5))
    sizes = [group.units for group in analysis.groups]
    expectation = Expectation(
        seconds=lambda kept: float(np.dot(sizes, kept)),
        liked=((),) * len(sizes),
        tolerated=((),) * len(sizes),
    )
    kept = sum(group.width for group in made.groups)
    assert expectation.speedup(made) == pytest.approx(sum(sizes) / kept)
