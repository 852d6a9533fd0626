"""Planning over analyses written by hand, one structure each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from compressor.costs import KeepMask
from compressor.errors import BudgetError, PlanError
from compressor.planning import (
    cost,
    empty_plan,
    keep_mask,
    plan,
    plan_keeping,
    plan_uniform,
    require_reachable,
    rows_of,
    spans,
)
from compressor.types import (
    Analysis,
    Axis,
    Budget,
    BudgetOf,
    Costs,
    CostTerm,
    Group,
    Member,
    ModelFacts,
    Plan,
    Scores,
)
from compressor.widths import divisor

Runs = tuple[tuple[int, int, int], ...]


def frozen_axis(size: int) -> Axis:
    return Axis(size=size, columns=(((0, 0, size),),))


def axis(*columns: Runs) -> Axis:
    return Axis(size=sum(run[2] for run in columns[0]), columns=columns)


def analysis_of(
    units: tuple[int, ...],
    axes: tuple[Axis, ...],
    weights: tuple[tuple[int, tuple[int, ...], int], ...],
) -> Analysis:
    """``weights``: (elements per entry, axes, positions); MACs are parameters times positions."""
    costs = tuple(
        term
        for number, (factor, used, positions) in enumerate(weights)
        for term in (
            CostTerm(of="params", where=f"layer{number}", factor=factor, axes=used),
            CostTerm(of="macs", where=f"layer{number}", factor=factor * positions, axes=used),
        )
    )
    groups = tuple(
        Group(id=number, name=f"group{number}", units=width, exact=True, members=())
        for number, width in enumerate(units)
    )
    bare = Analysis(
        format=1,
        fingerprint="0123456789abcdef",
        model=ModelFacts(architecture="by-hand", parameters=0, macs=0),
        groups=groups,
        frozen=(),
        prunable_parameters=1.0,
        axes=axes,
        costs=costs,
    )
    whole = brute_force(bare, np.ones(1 + sum(units), dtype=np.bool_))
    facts = ModelFacts(architecture="by-hand", parameters=whole.params, macs=whole.macs)
    return replace(bare, model=facts)


def chain() -> Analysis:
    """Three convolutions and a classifier."""
    axes = (frozen_axis(3), axis(((1, 1, 32),)), axis(((33, 1, 64),)), axis(((97, 1, 128),)))
    axes += (frozen_axis(10),)
    weights = ((9, (1, 0), 256), (9, (2, 1), 64), (9, (3, 2), 16), (1, (4, 3), 1), (1, (4,), 0))
    return analysis_of((32, 64, 128), axes, weights)


def residual() -> Analysis:
    """One stream of 64 channels that four blocks read and write."""
    axes = (frozen_axis(3), axis(((1, 1, 64),)))
    weights = [(9, (1, 0), 64), (1, (1,), 0)]
    for block in range(4):
        axes += (axis(((65 + 32 * block, 1, 32),)),)
        weights += [(9, (2 + block, 1), 64), (9, (1, 2 + block), 64)]
    return analysis_of((64, 32, 32, 32, 32), axes, tuple(weights))


def attention() -> Analysis:
    """Heads times head width inside a stream: row ``16 h + d`` needs head h and place d."""
    stream = axis(((1, 1, 64),))
    heads = tuple((65 + head, 0, 16) for head in range(12))
    places = ((77, 1, 16),) * 12
    inner = axis(heads, places)
    hidden = axis(((93, 1, 256),))
    axes = (stream, inner, hidden, frozen_axis(10))
    weights = ((3, (1, 0), 49), (1, (0, 1), 49), (1, (2, 0), 49), (1, (0, 2), 49), (1, (3, 0), 1))
    return analysis_of((64, 12, 16, 256), axes, weights)


def concatenated() -> Analysis:
    """Two branches side by side, the first read twice, the second in reverse order."""
    both = axis(((1, 1, 24), (1, 1, 24), (72, -1, 48)))
    axes = (frozen_axis(3), axis(((1, 1, 24),)), axis(((25, 1, 48),)), both, axis(((73, 1, 40),)))
    weights = ((9, (1, 0), 64), (9, (2, 0), 64), (9, (4, 3), 64), (5, (4,), 1))
    return analysis_of((24, 48, 40), axes, weights)


def depthwise() -> Analysis:
    """Pointwise, depthwise, pointwise: the depthwise weight has a single prunable dimension."""
    axes = (frozen_axis(16), axis(((1, 1, 96),)), axis(((97, 1, 40),)))
    return analysis_of((96, 40), axes, ((1, (1, 0), 49), (9, (1,), 49), (1, (2, 1), 49)))


STRUCTURES = (chain, residual, attention, concatenated, depthwise)


def brute_force(analysis: Analysis, keep: KeepMask) -> Costs:
    """Element by element, with plain loops."""
    sizes = []
    for one in analysis.axes:
        columns = [[f + s * i for f, s, n in runs for i in range(n)] for runs in one.columns]
        sizes.append(sum(all(keep[unit] for unit in row) for row in zip(*columns, strict=True)))
    totals = {"params": 0, "macs": 0}
    for term in analysis.costs:
        product = term.factor
        for number in term.axes:
            product *= sizes[number]
        totals[term.of] += product
    return Costs(channels=int(keep[1:].sum()), **totals)


def scored(analysis: Analysis, seed: int = 0) -> Scores:
    generator = np.random.default_rng(seed)
    values = tuple(
        tuple((10**number * generator.gamma(4.0, size=group.units)).tolist())
        for number, group in enumerate(analysis.groups)
    )
    return Scores(criterion="random", fingerprint=analysis.fingerprint, values=values)


def widths(plan: Plan) -> tuple[int, ...]:
    return tuple(group.width for group in plan.groups)


over_structures = pytest.mark.parametrize("structure", STRUCTURES)
over_planners = pytest.mark.parametrize("planner", [plan, plan_uniform])


@over_structures
def test_cost_equals_brute_force(structure: Callable[[], Analysis]) -> None:
    analysis = structure()
    generator = np.random.default_rng(1)
    for share in (0.0, 0.3, 0.9):
        keep = generator.random(1 + sum(group.units for group in analysis.groups)) >= share
        keep[0] = True
        assert cost(analysis, keep) == brute_force(analysis, keep)


def test_axis_without_columns_is_always_kept() -> None:
    analysis = chain()
    open_axes = (Axis(size=3, columns=()), *analysis.axes[1:])
    empty = empty_plan(replace(analysis, axes=open_axes))
    assert empty.after == empty_plan(analysis).after


@over_planners
@over_structures
@pytest.mark.parametrize("of", ["params", "macs", "channels"])
@pytest.mark.parametrize("sparsity", [0.05, 0.3, 0.5, 0.7, 0.8])
def test_budget_is_met_to_half_a_point_and_priced_exactly(
    structure: Callable[[], Analysis],
    planner: Callable[[Analysis, Scores, Budget], Plan],
    of: BudgetOf,
    sparsity: float,
) -> None:
    analysis = structure()
    budget = Budget(sparsity=sparsity, of=of)
    made = planner(analysis, scored(analysis), budget)
    keep = keep_mask(analysis, made)
    assert abs(made.achieved - sparsity) <= 0.005
    assert made.after == brute_force(analysis, keep)
    assert made.before == brute_force(analysis, np.ones_like(keep))
    assert made.achieved == 1 - getattr(made.after, of) / getattr(made.before, of)
    assert made.fingerprint == analysis.fingerprint
    assert (made.multiple_of < 8) == bool(made.warnings)
    for width, group in zip(widths(made), analysis.groups, strict=True):
        assert width >= max(1, 0.1 * group.units)
        step = divisor(group.units, made.multiple_of)
        assert width % step == 0 or width == group.units


@over_planners
def test_same_inputs_give_the_same_plan(
    planner: Callable[[Analysis, Scores, Budget], Plan],
) -> None:
    analysis = attention()
    budget = Budget(sparsity=0.6)
    assert planner(analysis, scored(analysis), budget) == planner(
        analysis, scored(analysis), budget
    )


def test_kept_units_are_the_best_scored_of_their_group() -> None:
    analysis = residual()
    scores = scored(analysis)
    made = plan(analysis, scores, Budget(sparsity=0.5))
    for values, group in zip(scores.values, made.groups, strict=True):
        kept = rows_of(group.kept)
        best = np.sort(np.argsort(-np.array(values), kind="stable")[: group.width])
        assert kept.tolist() == best.tolist()


def test_of_equal_scores_the_earlier_unit_stays() -> None:
    analysis = chain()
    ones = tuple((1.0,) * group.units for group in analysis.groups)
    equal = Scores(criterion="ones", fingerprint=analysis.fingerprint, values=ones)
    made = plan(analysis, equal, Budget(sparsity=0.5))
    assert made.achieved == pytest.approx(0.5, abs=0.005)
    assert all(group.kept == ((0, group.width),) for group in made.groups)


def test_scale_of_the_scores_of_a_group_does_not_matter() -> None:
    analysis = chain()
    scores = scored(analysis)
    doubled = tuple(
        tuple(4.0 ** (1 + number) * value for value in values)
        for number, values in enumerate(scores.values)
    )
    budget = Budget(sparsity=0.5)
    assert plan(analysis, scores, budget) == plan(analysis, replace(scores, values=doubled), budget)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_scores_without_spread_cut_all_groups_and_empty_none(value: float) -> None:
    analysis = chain()
    flat = tuple((value,) * group.units for group in analysis.groups)
    scores = Scores(criterion="flat", fingerprint=analysis.fingerprint, values=flat)
    made = plan(analysis, scores, Budget(sparsity=0.6, multiple_of=1))
    shares = [width / group.units for width, group in zip(widths(made), made.groups, strict=True)]
    assert min(shares) > 0.3
    assert max(shares) < 1


def test_units_that_free_more_go_first_where_scores_say_nothing() -> None:
    analysis = chain()
    flat = tuple((1.0,) * group.units for group in analysis.groups)
    scores = Scores(criterion="flat", fingerprint=analysis.fingerprint, values=flat)
    by_params = widths(plan(analysis, scores, Budget(sparsity=0.5, multiple_of=1)))
    by_macs = widths(plan(analysis, scores, Budget(sparsity=0.5, of="macs", multiple_of=1)))
    assert by_params[0] / 32 > by_params[2] / 128  # a unit of the last frees most parameters
    assert by_macs[0] / 32 < by_macs[2] / 128  # and one of the first most MACs


def test_unit_that_frees_much_by_serving_many_layers_is_not_cut_before_the_others() -> None:
    analysis = residual()
    flat = tuple((1.0,) * group.units for group in analysis.groups)
    scores = Scores(criterion="flat", fingerprint=analysis.fingerprint, values=flat)
    members = tuple(
        Member(parameter=f"weight{number}", dim=0, rows=((0, 64),), role="writes")
        for number in range(20)
    )
    stream = replace(analysis.groups[0], members=members)
    known = replace(analysis, groups=(stream, *analysis.groups[1:]))
    budget = Budget(sparsity=0.5, multiple_of=1)
    assert widths(plan(known, scores, budget))[0] > widths(plan(analysis, scores, budget))[0]


def test_uniform_plan_cuts_every_group_by_the_same_share() -> None:
    analysis = residual()
    made = plan_uniform(analysis, scored(analysis), Budget(sparsity=0.6, multiple_of=1))
    shares = [width / group.units for width, group in zip(widths(made), made.groups, strict=True)]
    assert max(shares) - min(shares) <= 1 / 32


def test_floor_of_every_group_is_kept() -> None:
    analysis = chain()
    budget = Budget(sparsity=0.7, keep_at_least=0.45, multiple_of=1)
    made = plan(analysis, scored(analysis), budget)
    assert all(group.width >= 0.45 * group.units for group in made.groups)


def test_multiple_is_relaxed_only_where_needed_and_that_is_said() -> None:
    analysis = depthwise()
    scores = scored(analysis)
    met = plan(analysis, scores, Budget(sparsity=0.5))
    relaxed = plan(analysis, scores, Budget(sparsity=0.51))
    assert relaxed.multiple_of < 8
    assert f"multiples of {relaxed.multiple_of}, not of 8" in relaxed.warnings[0]
    assert (met.multiple_of, met.warnings) != (relaxed.multiple_of, relaxed.warnings)


def preferred(analysis: Analysis, step: int, shift: int = 0) -> tuple[tuple[int, ...], ...]:
    """Multiples of ``step`` in every group, shifted, as a runtime of strange taste would have."""
    return tuple(
        tuple(width + shift for width in range(step, group.units - shift, step))
        for group in analysis.groups
    )


@over_planners
@over_structures
@pytest.mark.parametrize(("step", "shift"), [(16, 0), (8, 1), (4, 3)])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
def test_preferred_widths_are_taken_and_the_budget_is_met(
    structure: Callable[[], Analysis],
    planner: Callable[[Analysis, Scores, Budget], Plan],
    step: int,
    shift: int,
    sparsity: float,
) -> None:
    analysis = structure()
    liked = preferred(analysis, step, shift)
    made = planner(analysis, scored(analysis), Budget(sparsity=sparsity, preferred=liked))
    assert abs(made.achieved - sparsity) <= 0.005
    off = sum(
        bool(widths) and group.width < group.units and group.width not in widths
        for group, widths in zip(made.groups, liked, strict=True)
    )
    assert bool(off) == any("preferred" in warning for warning in made.warnings)
    assert not off or f"{off} of {len(liked)} groups" in made.warnings[0]
    for group, widths in zip(made.groups, liked, strict=True):
        if not widths and group.width < group.units:  # multiples, as without preferences
            assert group.width % divisor(group.units, made.multiple_of) == 0


def test_preferences_give_way_in_as_few_groups_as_will_do() -> None:
    axes = tuple(axis(((1 + 64 * place, 1, 64),)) for place in range(8))
    analysis = analysis_of((64,) * 8, axes, tuple((1, (place,), 1) for place in range(8)))
    liked = ((16, 32, 48),) * 8
    met = plan(analysis, scored(analysis), Budget(sparsity=0.5, preferred=liked))
    assert met.warnings == ()
    assert all(width % 16 == 0 for width in widths(met))
    between = plan(analysis, scored(analysis), Budget(sparsity=0.515, preferred=liked))
    assert sum(width % 16 != 0 for width in widths(between)) == 1
    assert "1 of 8 groups have another width than those preferred" in between.warnings[0]


def test_narrower_widths_are_tolerated_only_where_the_preferred_ones_do_not_reach() -> None:
    axes = tuple(axis(((1 + 64 * place, 1, 64),)) for place in range(4))
    analysis = analysis_of((64,) * 4, axes, tuple((1, (place,), 1) for place in range(4)))
    liked, tolerated = ((48,), (32, 48), (), (16, 32, 48)), ((16,), (), (), ())
    asked = Budget(sparsity=0.25, preferred=liked, tolerated=tolerated)
    near = plan_uniform(analysis, scored(analysis), asked)
    assert widths(near)[0] in (48, 64)
    far = plan_uniform(analysis, scored(analysis), replace(asked, sparsity=0.625))
    assert widths(far)[0] == 16
    assert all(
        width in (*some, *more, 64)
        for width, some, more in zip(widths(far), liked, tolerated, strict=True)
        if some
    )


def test_floors_and_kept_groups_hold_with_preferences_too() -> None:
    analysis = chain()
    liked = preferred(analysis, 16)
    whole = analysis.groups[0].name
    budget = Budget(sparsity=0.3, keep_at_least=0.4, keep_whole=(whole,), preferred=liked)
    made = plan(analysis, scored(analysis), budget)
    assert made.groups[0].width == made.groups[0].units
    assert all(group.width >= 0.4 * group.units for group in made.groups)


@pytest.mark.parametrize(
    ("liked", "said"),
    [
        (((8,),), "widths of 1 groups do not fit"),
        (((8,), (8,), (4096,)), "not all within its 128 units"),
    ],
)
def test_preferences_of_another_network_are_refused(
    liked: tuple[tuple[int, ...], ...], said: str
) -> None:
    analysis = chain()
    with pytest.raises(BudgetError, match=said):
        plan(analysis, scored(analysis), Budget(sparsity=0.5, preferred=liked))


def test_group_that_is_no_multiple_may_stay_whole() -> None:
    axes = (axis(((1, 1, 12),)), axis(((13, 1, 2048),)))
    analysis = analysis_of((12, 2048), axes, ((1, (0,), 1), (1, (1,), 1)))
    made = plan(analysis, scored(analysis), Budget(sparsity=0.2, keep_at_least=0.7))
    assert made.multiple_of == 8
    assert widths(made)[0] == 12  # 8 is below the floor of 9


def test_small_groups_are_left_alone() -> None:
    analysis = attention()
    made = plan(analysis, scored(analysis), Budget(sparsity=0.5, smallest_group=17))
    assert widths(made)[1:3] == (12, 16)


def test_budget_beyond_reach_names_largest_reachable() -> None:
    analysis = chain()
    scores = scored(analysis)
    with pytest.raises(BudgetError, match=r"at most (\d+\.\d) % can go") as caught:
        plan(analysis, scores, Budget(sparsity=0.999))
    named = float(str(caught.value).split("at most ")[1].split(" %")[0]) / 100
    made = plan(analysis, scores, Budget(sparsity=named))
    assert made.achieved == pytest.approx(named, abs=0.005)
    with pytest.raises(BudgetError, match="out of reach"):
        plan(analysis, scores, Budget(sparsity=named + 0.002))


def test_a_budget_beyond_reach_is_known_before_anything_is_scored() -> None:
    analysis = attention()
    require_reachable(analysis, Budget(sparsity=0.5))
    for budget in (Budget(sparsity=0.999), Budget(sparsity=0.5, keep_whole=("nowhere",))):
        with pytest.raises(BudgetError) as later:
            plan(analysis, scored(analysis), budget)
        with pytest.raises(BudgetError) as early:
            require_reachable(analysis, budget)
        assert str(early.value) == str(later.value)


def test_budget_beyond_reach_mentions_groups_too_small_to_cut() -> None:
    analysis = attention()
    with pytest.raises(BudgetError, match="2 groups of fewer than 20 units stay whole"):
        plan(analysis, scored(analysis), Budget(sparsity=0.99, smallest_group=20))


def test_network_without_groups_reaches_nothing() -> None:
    analysis = analysis_of((), (frozen_axis(3),), ((1, (0,), 1),))
    with pytest.raises(BudgetError, match=r"at most 0\.0 % can go"):
        plan(analysis, scored(analysis), Budget(sparsity=0.1))
    assert empty_plan(analysis).groups == ()


def test_units_that_free_nothing_stay() -> None:
    analysis = analysis_of(
        (16, 16), (axis(((1, 1, 16),)), axis(((17, 1, 16),))), ((3, (0,), 1), (1, (), 1))
    )
    made = plan(analysis, scored(analysis), Budget(sparsity=0.5))
    assert widths(made)[1] == 16
    with pytest.raises(BudgetError, match="units of 1 groups free no params"):
        plan(analysis, scored(analysis), Budget(sparsity=0.95))


@pytest.mark.parametrize("sparsity", [0.13, 0.2, 0.34, 0.47, 0.6])
@over_planners
def test_nearest_value_not_below_is_taken_where_units_are_too_large(
    planner: Callable[[Analysis, Scores, Budget], Plan], sparsity: float
) -> None:
    axes = (frozen_axis(3), axis(((1, 1, 4),)), axis(((5, 1, 5),)))
    analysis = analysis_of((4, 5), axes, ((9, (1, 0), 4), (9, (2, 1), 4)))
    budget = Budget(sparsity=sparsity, smallest_group=1)
    made = planner(analysis, scored(analysis), budget)
    shares = []
    for first, second in itertools.product(range(1, 5), range(1, 6)):
        keep = np.array([True, *(i < first for i in range(4)), *(i < second for i in range(5))])
        shares.append(1 - brute_force(analysis, keep).params / made.before.params)
    if min(abs(share - sparsity) for share in shares) <= 0.005:
        assert abs(made.achieved - sparsity) <= 0.005
        assert made.warnings == ()  # groups this small have no multiple that could give way
    else:
        assert made.achieved == min(share for share in shares if share >= sparsity)
        assert f"{100 * made.achieved:.1f} %" in made.warnings[-1]


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(sparsity=0.0), "not between 0 and 1"),
        (Budget(sparsity=1.0), "not between 0 and 1"),
        (Budget(sparsity=-0.2), "not between 0 and 1"),
        (Budget(sparsity=float("nan")), "not between 0 and 1"),
        (Budget(sparsity=float("inf")), "not between 0 and 1"),
        (Budget(sparsity=0.5, of="bytes"), "'bytes' is unknown"),  # type: ignore[arg-type]
        (Budget(sparsity=0.5, multiple_of=0), "multiple 0 is below 1"),
        (Budget(sparsity=0.5, keep_at_least=1.5), "not a share"),
        (Budget(sparsity=0.5, keep_at_least=float("nan")), "not a share"),
        (Budget(sparsity=0.5, smallest_group=0), "smallest_group 0"),
    ],
)
def test_malformed_budget_is_refused(budget: Budget, said: str) -> None:
    analysis = chain()
    with pytest.raises(BudgetError, match=said):
        plan(analysis, scored(analysis), budget)


def test_scores_of_another_structure_are_refused() -> None:
    analysis = chain()
    scores = scored(analysis)
    with pytest.raises(PlanError, match="score this network"):
        plan(analysis, replace(scores, fingerprint="other"), Budget(sparsity=0.5))
    with pytest.raises(PlanError, match="one number per unit"):
        plan(analysis, replace(scores, values=scores.values[1:]), Budget(sparsity=0.5))
    broken = (*scores.values[:2], (float("nan"),) * 128)
    with pytest.raises(PlanError, match=r"group 2 \(group2\) are not all finite"):
        plan(analysis, replace(scores, values=broken), Budget(sparsity=0.5))


@over_structures
def test_plan_survives_json(structure: Callable[[], Analysis]) -> None:
    analysis = structure()
    made = plan(analysis, scored(analysis), Budget(sparsity=0.5))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made


@over_structures
def test_empty_plan_keeps_everything(structure: Callable[[], Analysis]) -> None:
    analysis = structure()
    empty = empty_plan(analysis)
    assert keep_mask(analysis, empty).all()
    assert empty.achieved == 0
    assert empty.before == empty.after


def test_plan_of_a_given_mask_keeps_that_mask() -> None:
    analysis = residual()
    keep = np.random.default_rng(0).random(1 + 64 + 4 * 32) < 0.6
    keep[0] = True
    given = plan_keeping(analysis, keep)
    assert (keep_mask(analysis, given) == keep).all()
    assert given.after == brute_force(analysis, keep)
    keep[1:65] = False
    with pytest.raises(PlanError, match=r"group 0 \(group0\) would lose all its 64 units"):
        plan_keeping(analysis, keep)


def test_keep_mask_of_wrong_length_is_refused() -> None:
    with pytest.raises(PlanError, match="does not fit 224 units"):
        cost(chain(), np.ones(7, dtype=np.bool_))


def test_plan_for_another_structure_is_refused() -> None:
    analysis = chain()
    made = empty_plan(analysis)
    with pytest.raises(PlanError, match="structure other"):
        keep_mask(analysis, replace(made, fingerprint="other"))
    with pytest.raises(PlanError, match="2 groups, the network 3"):
        keep_mask(analysis, replace(made, groups=made.groups[:2]))
    swapped = (made.groups[1], made.groups[0], made.groups[2])
    with pytest.raises(PlanError, match="group 1 with 64 units"):
        keep_mask(analysis, replace(made, groups=swapped))


@pytest.mark.parametrize(
    "kept", [(), ((0, 33),), ((-1, 4),), ((4, 4),), ((8, 4),), ((0, 8), (4, 12)), ((9, 12), (0, 3))]
)
def test_spans_that_do_not_fit_are_refused(kept: tuple[tuple[int, int], ...]) -> None:
    analysis = chain()
    made = empty_plan(analysis)
    edited = (replace(made.groups[0], kept=kept), *made.groups[1:])
    with pytest.raises(PlanError, match="are not ascending spans within 32 units"):
        keep_mask(analysis, replace(made, groups=edited))


@pytest.mark.parametrize("rows", [[], [0], [0, 1, 2], [3, 5, 6, 9], list(range(100))])
def test_spans_and_rows_are_inverse(rows: list[int]) -> None:
    assert rows_of(spans(rows)).tolist() == rows


def test_spans_join_neighbours() -> None:
    assert spans((0, 1, 2, 5)) == ((0, 3), (5, 6))


@pytest.mark.parametrize("name", ["group1", "1", "gr*1"])
def test_groups_asked_to_stay_whole_stay_whole(name: str) -> None:
    analysis = chain()
    made = plan(analysis, scored(analysis), Budget(sparsity=0.3, keep_whole=(name,)))
    widths = [group.width == group.units for group in made.groups]
    assert widths[1]
    assert not all(widths)
    with pytest.raises(BudgetError, match=f"{re.escape(name)} kept whole as asked"):
        plan(analysis, scored(analysis), Budget(sparsity=0.99, keep_whole=(name,)))


def test_a_name_that_fits_no_group_is_refused() -> None:
    analysis = chain()
    with pytest.raises(BudgetError, match="--keep-whole grop1: fits no group"):
        plan(analysis, scored(analysis), Budget(sparsity=0.3, keep_whole=("grop1",)))
