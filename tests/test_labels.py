"""The label algebra against brute force: what must stay together does, whatever is done to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.labels import FIXED, RESERVED, Labels, Matrix, Units
from tests.examples import times

REASON = 7
Kept = NDArray[np.bool_]


def kept_rows(units: Units, labels: Labels, size: int, stays: Kept) -> Kept:
    """Which rows stay when exactly the units in ``stays`` do."""
    if labels is None:
        return np.ones(size, dtype=bool)
    leaves = units.resolve(labels)
    return (stays[leaves] | (leaves == 0)).all(axis=1)


def kept_grid(units: Units, parts: list[Labels], sizes: tuple[int, ...], stays: Kept) -> Kept:
    """Which elements of a tensor stay: those whose rows stay along every dimension."""
    grid = np.ones(sizes, dtype=bool)
    for axis, (labels, size) in enumerate(zip(parts, sizes, strict=True)):
        shape = [1] * len(sizes)
        shape[axis] = size
        grid &= kept_rows(units, labels, size, stays).reshape(shape)
    return grid


def sets(units: Units, labels: Labels) -> list[frozenset[int]]:
    assert labels is not None
    return [frozenset(row[row > 0].tolist()) for row in units.resolve(labels)]


@dataclass
class Scene:
    """Random statements about dimensions, remembered so that all can be checked at the end."""

    units: Units = field(default_factory=Units)
    pool: list[Labels] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    equal: list[tuple[Labels, Labels, int]] = field(default_factory=list)
    reshaped: list[tuple[list[Labels], tuple[int, ...], tuple[Labels, ...], tuple[int, ...]]] = (
        field(default_factory=list)
    )

    def add(self, labels: Labels, size: int) -> None:
        self.pool.append(labels)
        self.sizes.append(size)

    def check(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        for share in (0.5, 0.8, 0.95):
            stays = generator.random(len(self.units)) < share
            for u, v, size in self.equal:
                left = kept_rows(self.units, u, size, stays)
                right = kept_rows(self.units, v, size, stays)
                assert np.array_equal(left, right)
            for dims, old, parts, new in self.reshaped:
                before = kept_grid(self.units, dims, old, stays).ravel()
                after = kept_grid(self.units, list(parts), new, stays).ravel()
                assert np.array_equal(before, after)


SHAPES = {
    4: [(4,), (2, 2), (4, 1)],
    6: [(6,), (2, 3), (3, 2)],
    8: [(8,), (2, 4), (4, 2), (2, 2, 2)],
    12: [(12,), (3, 4), (2, 6), (2, 3, 2), (4, 3)],
}


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    scene = Scene()
    total = draw(st.sampled_from(sorted(SHAPES)))
    for _ in range(draw(st.integers(2, 4))):
        scene.add(scene.units.fresh(total), total)
    for _ in range(draw(st.integers(1, 7))):
        _state(draw, scene)
    return scene


def _state(draw: st.DrawFn, scene: Scene) -> None:
    action = draw(
        st.sampled_from(["unify", "unify", "split", "join", "order", "reshape", "freeze"])
    )
    place = draw(st.integers(0, len(scene.pool) - 1))
    labels, size = scene.pool[place], scene.sizes[place]
    same = [i for i, other in enumerate(scene.sizes) if other == size]
    if action == "unify":
        mate = scene.pool[draw(st.sampled_from(same))]
        scene.units.unify(labels, mate, REASON)
        scene.equal.append((labels, mate, size))
    elif action == "split" and size in SHAPES:
        shape = draw(st.sampled_from(SHAPES[size]))
        parts = scene.units.split(labels, shape, REASON)
        scene.reshaped.append(([labels], (size,), parts, shape))
        for part, length in zip(parts, shape, strict=True):
            scene.add(part, length)
    elif action == "join" and size <= 4:
        other = draw(st.integers(0, len(scene.pool) - 1))
        if scene.sizes[other] <= 4:
            dims, old = [labels, scene.pool[other]], (size, scene.sizes[other])
            merged = scene.units.merge(dims, old)
            scene.reshaped.append((dims, old, (merged,), (prod(old),)))
            scene.add(merged, prod(old))
    elif action == "order" and labels is not None:
        order = draw(st.permutations(range(size)))
        scene.add(labels[list(order)], size)
    elif action == "reshape" and size in SHAPES:
        other = draw(st.sampled_from(same))
        old = (size, size)
        shapes = [
            *((*s, size) for s in SHAPES[size]),
            *((size * s[0], *s[1:]) for s in SHAPES[size]),
        ]
        new = draw(st.sampled_from([(size * size,), *shapes]))
        dims = [labels, scene.pool[other]]
        parts = scene.units.reshape(dims, old, new, REASON)
        scene.reshaped.append((dims, old, parts, new))
        for part, length in zip(parts, new, strict=True):
            if length <= 12:
                scene.add(part, length)
    elif action == "freeze" and labels is not None:
        rows = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=2))
        scene.units.freeze(labels[rows], REASON)


@times(1.5)
@given(scene=scenes(), seed=st.integers(0, 1000))
def test_whatever_was_united_stays_equal_and_reshapes_keep_every_element(
    scene: Scene, seed: int
) -> None:
    scene.check(seed)


# -- what the algebra must find, not only what it must not get wrong ----------------------------


def test_united_units_are_one_and_others_are_not() -> None:
    units = Units()
    a, b, c = (units.fresh(4) for _ in range(3))
    units.unify(a, b[::-1], REASON)
    assert sets(units, a) == sets(units, b)[::-1]
    assert frozenset().union(*sets(units, a)).isdisjoint(frozenset().union(*sets(units, c)))


def test_freezing_spreads_and_tells_its_reason() -> None:
    units = Units()
    a, b, c = (units.fresh(4) for _ in range(3))
    units.unify(a, b, REASON)
    units.freeze(a[1:2], 11)
    units.unify(b, c, REASON)
    assert [len(row) for row in sets(units, c)] == [1, 0, 1, 1]
    assert units.reason(c[1:2]) == 11
    assert units.reason(c[:1]) == 0
    units.unify(c, None, 12)
    assert units.resolve(a).size == 0
    assert units.reason(a[:1]) == 11  # the frozen row's reason is the likelier cause
    assert units.reason(a[1:2]) == 11


def test_a_dimension_that_always_stays_freezes_what_it_meets() -> None:
    units = Units()
    a = units.fresh(4)
    units.unify(None, a, REASON)
    assert units.reason(a) == REASON
    assert units.reason(None) == 0


def test_a_telling_reason_goes_before_fixed() -> None:
    units = Units()
    a, b = units.fresh(2), units.fresh(2)
    units.freeze(a, FIXED)
    units.freeze(b, REASON)
    assert units.reason(np.concatenate([a, b])) == REASON
    assert units.reason(a) == FIXED


def test_a_row_is_split_into_the_units_of_its_factors() -> None:
    units = Units()
    projection = units.fresh(12)
    heads, places = units.split(projection, (3, 4), REASON)
    expected = [h | d for h in sets(units, heads) for d in sets(units, places)]
    assert sets(units, projection) == expected
    assert len(set(sets(units, heads)) | set(sets(units, places))) == 7


def test_merging_is_the_way_back() -> None:
    units = Units()
    projection = units.fresh(12)
    parts = units.split(projection, (3, 4), REASON)
    assert sets(units, units.merge(parts, (3, 4))) == sets(units, projection)
    assert units.merge((None, None), (3, 4)) is None


def test_a_flattened_picture_repeats_each_channel() -> None:
    units = Units()
    channels = units.fresh(3)
    (flat,) = units.reshape((channels, None, None), (3, 2, 2), (12,), REASON)
    assert sets(units, flat) == [row for row in sets(units, channels) for _ in range(4)]
    back = units.reshape((flat,), (12,), (3, 2, 2), REASON)
    assert sets(units, back[0]) == sets(units, channels)
    assert back[1] is None
    assert back[2] is None


def test_channels_shuffled_and_shuffled_back_are_the_same() -> None:
    units = Units()
    channels = units.fresh(8)
    before = units.split(channels, (2, 4), REASON)
    shuffled = units.merge(before[::-1], (4, 2))
    after = units.split(shuffled, (4, 2), REASON)
    assert sets(units, units.merge(after[::-1], (2, 4))) == sets(units, channels)
    assert all(len(row) == 2 for row in sets(units, channels))


def test_a_layer_that_meets_a_product_becomes_one() -> None:
    units = Units()
    product = units.merge((units.fresh(3), units.fresh(4)), (3, 4))
    layer = units.fresh(12)
    units.unify(layer, product, REASON)
    assert sets(units, layer) == sets(units, product)
    assert all(len(row) == 2 for row in sets(units, layer))


def test_two_products_meet_factor_by_factor() -> None:
    units = Units()
    a, b, c, d = units.fresh(3), units.fresh(4), units.fresh(3), units.fresh(4)
    left, right = units.merge((a, b), (3, 4)), units.merge((c, d), (3, 4))
    units.unify(left, right, REASON)
    assert sets(units, a) == sets(units, c)
    assert sets(units, b) == sets(units, d)
    assert all(sets(units, a))


def test_shapes_with_a_common_refinement_keep_every_factor() -> None:
    """(batch, heads x width) to (batch x heads, width), as torch's own attention has it."""
    units = Units()
    features = units.fresh(12)
    rows, width = units.reshape((None, features), (5, 12), (15, 4), REASON)
    assert [len(row) for row in sets(units, features)] == [2] * 12
    assert sets(units, rows) == sets(units, rows)[:3] * 5
    assert len(set(sets(units, rows))) == 3
    assert len(set(sets(units, width))) == 4
    back = units.reshape((rows, width), (15, 4), (5, 12), REASON)
    assert back[0] is None or not units.resolve(back[0]).size
    assert sets(units, back[1]) == sets(units, features)


def test_a_labelled_dimension_of_size_one_does_not_vanish_in_a_reshape() -> None:
    units = Units()
    single, many = units.fresh(1), units.fresh(6)
    units.reshape((single, many), (1, 6), (2, 3), REASON)
    assert not units.resolve(single).size


def test_splits_that_do_not_nest_tie_or_freeze_but_keep_every_element() -> None:
    units = Units()
    layer = units.fresh(12)
    three = units.split(layer, (3, 4), REASON)
    four = units.split(layer, (4, 3), REASON)
    stays = np.random.default_rng(0).random(len(units)) < 0.5
    flat = kept_rows(units, layer, 12, stays)
    assert np.array_equal(kept_grid(units, list(three), (3, 4), stays).ravel(), flat)
    assert np.array_equal(kept_grid(units, list(four), (4, 3), stays).ravel(), flat)


def test_a_cycle_freezes() -> None:
    """A row equal to itself and something else can only stay."""
    units = Units()
    a, b = units.fresh(4), units.fresh(4)
    both = np.concatenate([a, b], axis=1)
    units.unify(a, both, REASON)
    assert sets(units, a) == sets(units, both)
    assert units.reason(b) in (0, REASON)


def test_splitting_one_unit_for_all_freezes_it() -> None:
    units = Units()
    one = np.repeat(units.fresh(1), 6, axis=0)
    parts = units.split(one, (2, 3), REASON)
    assert units.resolve(one).size == 0
    assert units.reason(one) == REASON
    assert parts == (None, None)


def test_frozen_rows_split_into_frozen_rows_with_the_reason() -> None:
    units = Units()
    frozen = np.full((6, 1), REASON, dtype=np.int64)
    for part, size in zip(units.split(frozen, (2, 3), 9), (2, 3), strict=True):
        assert part is not None
        assert part.shape == (size, 1)
        assert units.reason(part) == REASON


def test_resolving_drops_repeats_and_aligns_left() -> None:
    units = Units()
    a, b = units.fresh(3), units.fresh(3)
    units.freeze(a[:1], REASON)
    rows: Matrix = units.resolve(np.concatenate([a, a, b], axis=1))
    assert rows.shape == (3, 2)
    assert [len(row) for row in sets(units, rows)] == [1, 2, 2]
    assert rows[0, 0] > 0
    assert rows[0, 1] == 0


def test_units_remember_which_call_made_them_and_grow_without_end() -> None:
    units = Units()
    first, many = units.fresh(2), units.fresh(3 * RESERVED)
    assert len(set(units.origin(units.find(many)).ravel().tolist())) == 1
    assert set(units.origin(first).ravel()) != set(units.origin(many).ravel())
    units.unify(many[:-1], many[1:], REASON)
    assert len(np.unique(units.resolve(many))) == 1
    assert len(units) == 4 * RESERVED + 2


@pytest.mark.parametrize(
    ("old", "new"),
    [((6, 1), (6,)), ((1, 6), (6, 1)), ((6,), (1, 1, 6)), ((2, 3), (2, 1, 3)), ((2, 3), (2, 3))],
)
def test_ones_come_and_go_in_a_reshape(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    units = Units()
    dims = tuple(units.fresh(size) if size > 1 else None for size in old)
    after = units.reshape(dims, old, new, REASON)
    kept = [labels for labels in dims if labels is not None]
    found = [labels for labels, size in zip(after, new, strict=True) if size > 1]
    assert [sets(units, labels) for labels in found] == [sets(units, labels) for labels in kept]


def test_rows_of_other_widths_that_share_units_end_without_a_cycle() -> None:
    """x is {p, q} by the first row, so the second, {x, r} = {p, s}, may not make p of x."""
    for order in itertools.permutations(range(5)):
        units = Units()
        fresh = units.fresh(5)[:, 0]
        x, p, q, r, s = (fresh[place] for place in order)
        u, v = np.array([[x, 0], [x, r]]), np.array([[p, q], [p, s]])
        units.unify(u, v, REASON)
        assert sets(units, u) == sets(units, v)
        assert sets(units, np.array([[x]])) == sets(units, np.array([[p, q]]))


def test_columns_that_share_units_are_split_alike() -> None:
    units = Units()
    a, b = units.fresh(6), units.fresh(6)
    mixed = np.concatenate([a, np.roll(b, 1, axis=0)], axis=1)
    units.unify(a[:3], b[3:], REASON)
    stays = np.ones(RESERVED + 100, dtype=bool)
    parts = units.split(mixed, (2, 3), REASON)
    stays[RESERVED:] = np.random.default_rng(1).random(100) < 0.7
    flat = kept_rows(units, mixed, 6, stays)
    assert np.array_equal(kept_grid(units, list(parts), (2, 3), stays).ravel(), flat)
