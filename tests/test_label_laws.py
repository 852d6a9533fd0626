"""Laws of the label algebra, against sets that plain loops unite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compressor.labels import RESERVED, Labels, Matrix, Units
from tests.examples import times
from tests.test_labels import REASON, SHAPES, Scene, kept_rows, scenes, sets

SIZE = 6
# Of how many dimensions, which pairs of them are united in which order of rows, which rows freeze.
Statement = tuple[int, int, tuple[int, ...]]


@st.composite
def statements(draw: st.DrawFn) -> tuple[int, list[Statement], list[tuple[int, int]]]:
    count = draw(st.integers(2, 5))
    places = st.integers(0, count - 1)
    orders = st.permutations(range(SIZE)).map(tuple)
    united = draw(st.lists(st.tuples(places, places, orders), max_size=6))
    frozen = draw(st.lists(st.tuples(places, st.integers(0, SIZE - 1)), max_size=2))
    return count, united, frozen


def stated(
    count: int, united: Sequence[Statement], frozen: Sequence[tuple[int, int]]
) -> tuple[Units, list[Matrix]]:
    units = Units()
    dims = [units.fresh(SIZE) for _ in range(count)]
    for one, other, order in united:
        units.unify(dims[one], dims[other][list(order)], REASON)
    for one, row in frozen:
        units.freeze(dims[one][row : row + 1], REASON)
    return units, dims


def classes(units: Units, dims: Sequence[Labels]) -> list[list[frozenset[int]]]:
    return [sets(units, labels) for labels in dims]


def united_by_loops(
    count: int, united: Sequence[Statement], frozen: Sequence[tuple[int, int]]
) -> list[list[int | None]]:
    """Every element's class, named by its least element; None where it is frozen."""
    names = {(dim, row): (dim, row) for dim in range(count) for row in range(SIZE)}
    changed = True
    while changed:
        changed = False
        for one, other, order in united:
            for row in range(SIZE):
                a, b = (one, row), (other, order[row])
                low = min(names[a], names[b])
                changed |= names[a] != low or names[b] != low
                names[a] = names[b] = low
    gone = {names[one] for one in frozen}
    return [
        [
            None if names[dim, row] in gone else names[dim, row][0] * SIZE + names[dim, row][1]
            for row in range(SIZE)
        ]
        for dim in range(count)
    ]


@given(statements())
def test_uniting_is_the_finest_equivalence_that_the_statements_allow(
    given_: tuple[int, list[Statement], list[tuple[int, int]]],
) -> None:
    units, dims = stated(*given_)
    expected = united_by_loops(*given_)
    for found, wanted in zip(classes(units, dims), expected, strict=True):
        assert found == [
            frozenset() if name is None else frozenset({RESERVED + name}) for name in wanted
        ]


@given(statements(), st.randoms(use_true_random=False))
def test_order_of_statements_their_sides_and_repetition_do_not_matter(
    given_: tuple[int, list[Statement], list[tuple[int, int]]], random: object
) -> None:
    count, united, frozen = given_
    units, dims = stated(count, united, frozen)
    turned = []
    for one, other, order in [*united, *united[:2]]:
        inverse = tuple(int(place) for place in np.argsort(order))
        turned.append((other, one, inverse))
    random.shuffle(turned)  # type: ignore[attr-defined]
    again, others = Units(), []
    others = [again.fresh(SIZE) for _ in range(count)]
    for one, row in frozen:  # frozen first, this time
        again.freeze(others[one][row : row + 1], REASON)
    for one, other, order in turned:
        again.unify(others[one], others[other][list(order)], REASON)
    assert classes(units, dims) == classes(again, others)


@times(0.5)
@given(scene=scenes())
def test_what_has_been_united_is_not_changed_by_saying_it_again(scene: Scene) -> None:
    """After one more round of all that was said, saying it in either order changes nothing."""
    for left, right, _ in scene.equal:
        scene.units.unify(left, right, REASON)
    before = [scene.units.resolve(one) for one in scene.pool if one is not None]
    for left, right, _ in scene.equal:
        scene.units.unify(left, right, REASON)
        scene.units.unify(right, left, REASON)
    after = [scene.units.resolve(one) for one in scene.pool if one is not None]
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old, new)


@times(0.5)
@given(scene=scenes(), place=st.integers(0, 100), mate=st.integers(0, 100))
def test_what_meets_a_frozen_dimension_is_frozen_and_says_why(
    scene: Scene, place: int, mate: int
) -> None:
    labels, size = scene.pool[place % len(scene.pool)], scene.sizes[place % len(scene.pool)]
    alike = [one for one, other in zip(scene.pool, scene.sizes, strict=True) if other == size]
    other = alike[mate % len(alike)]
    scene.units.freeze(labels, REASON)
    scene.units.unify(labels, other, REASON + 1)
    for one in (labels, other):
        if one is not None:
            assert not scene.units.resolve(one).size
            assert all(scene.units.reason(one[row : row + 1]) for row in range(size))


@times(0.5)
@given(scene=scenes(), place=st.integers(0, 100), data=st.data())
def test_taking_rows_and_resolving_them_commute(
    scene: Scene, place: int, data: st.DataObject
) -> None:
    labels, size = scene.pool[place % len(scene.pool)], scene.sizes[place % len(scene.pool)]
    if labels is None:
        return
    rows = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8))
    whole = sets(scene.units, labels)
    assert sets(scene.units, labels[rows]) == [whole[row] for row in rows]


@times(0.5)
@given(scene=scenes(), place=st.integers(0, 100), data=st.data(), seed=st.integers(0, 99))
def test_splitting_and_merging_gives_every_element_back(
    scene: Scene, place: int, data: st.DataObject, seed: int
) -> None:
    fitting = [n for n, size in enumerate(scene.sizes) if size in SHAPES]
    labels = scene.pool[fitting[place % len(fitting)]]
    size = scene.sizes[fitting[place % len(fitting)]]
    shape = data.draw(st.sampled_from(SHAPES[size]))
    merged = scene.units.merge(scene.units.split(labels, shape, REASON), shape)
    generator = np.random.default_rng(seed)
    stays = generator.random(len(scene.units)) < 0.7
    assert np.array_equal(
        kept_rows(scene.units, labels, size, stays), kept_rows(scene.units, merged, size, stays)
    )
    if labels is not None and merged is not None:
        assert sets(scene.units, merged) == sets(scene.units, labels)


@times(0.5)
@given(scene=scenes(), data=st.data(), seed=st.integers(0, 99))
def test_reshaping_there_and_back_keeps_every_element(
    scene: Scene, data: st.DataObject, seed: int
) -> None:
    fitting = [n for n, size in enumerate(scene.sizes) if size in SHAPES]
    place = data.draw(st.sampled_from(fitting))
    labels, size = scene.pool[place], scene.sizes[place]
    first, second = (data.draw(st.sampled_from(SHAPES[size])) for _ in range(2))
    there = scene.units.reshape((labels,), (size,), first, REASON)
    further = scene.units.reshape(there, first, second, REASON)
    (back,) = scene.units.reshape(further, second, (size,), REASON)
    stays = np.random.default_rng(seed).random(len(scene.units)) < 0.7
    assert np.array_equal(
        kept_rows(scene.units, labels, size, stays), kept_rows(scene.units, back, size, stays)
    )
