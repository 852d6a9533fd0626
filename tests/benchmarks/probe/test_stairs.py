"""Climbing staircases under a clock that only moves when a call is made or something is opened."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.probe.stairs import Clocks, Look, climb, look
from compressor.staircases import Operator, Shape, Widths, sampled_widths, worthwhile

LAYER = Operator(kind="convolution", inputs=64, outputs=64, space=(8, 8), kernel=(3, 3))
OTHER = Operator(kind="convolution", inputs=128, outputs=64, space=(8, 8), kernel=(1, 1))
BESIDE_S = 5e-5


class Workshop:
    """A runtime whose operators take whole blocks of 16 outputs, and its clock."""

    def __init__(self, noise: float = 0.0, opening_s: float = 0.01) -> None:
        self.now = 0.0
        self.opened: list[tuple[Operator, int]] = []
        self._noise, self._opening = noise, opening_s
        self._generator = np.random.default_rng(0)

    def clock(self) -> float:
        return self.now

    @property
    def clocks(self) -> Clocks:
        return Clocks(busy=self.clock, wall=self.clock)

    def seconds(self, operator: Operator) -> float:
        return 1e-6 * -(-operator.outputs // 16) * 16 * operator.inputs / 64

    def open(self, operator: Operator, copies: int) -> Callable[[], None]:
        self.opened.append((operator, copies))
        self.now += self._opening

        def call() -> None:
            wobble = 1 + self._noise * abs(self._generator.standard_normal())
            beside = BESIDE_S * (1 + operator.inputs / 64)
            self.now += (beside + copies * self.seconds(operator)) * wobble

        return call


def wanted(*operators: Operator) -> dict[Shape, Widths]:
    return {(one, "outputs"): sampled_widths(one.outputs) for one in operators}


def test_a_look_tells_operators_apart_from_what_is_beside_them() -> None:
    shop = Workshop()
    (found,) = look([LAYER], shop.open, shop.clocks)
    assert found.seconds == pytest.approx(shop.seconds(LAYER))
    assert found.beside_s == pytest.approx(2 * BESIDE_S)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_staircase_is_that_of_the_runtime_and_noise_is_told(noise: float) -> None:
    shop = Workshop(noise)
    looks = look([LAYER, OTHER], shop.open, shop.clocks)
    found = climb(wanted(LAYER, OTHER), looks, shop.open, seconds=20.0, clocks=shop.clocks)
    assert [(one.operator, one.side) for one in found] == [(LAYER, "outputs"), (OTHER, "outputs")]
    for staircase in found:
        for width, seconds in zip(staircase.widths, staircase.seconds, strict=True):
            true = shop.seconds(staircase.operator.at("outputs", width))
            assert seconds == pytest.approx(true, rel=0.001 + 2 * noise)
        assert staircase.noise < 0.001 + noise
        assert worthwhile(staircase.widths, staircase.seconds, staircase.noise) == (16, 32, 48, 64)


def test_noise_is_larger_where_the_machine_is_noisier() -> None:
    found = []
    for noise in (0.01, 0.5):
        shop = Workshop(noise)
        looks = look([LAYER], shop.open, shop.clocks)
        (one,) = climb(wanted(LAYER), looks, shop.open, seconds=1.0, clocks=shop.clocks)
        found.append(one.noise)
    assert found[1] > 3 * found[0]


def test_time_is_kept_and_what_had_no_turn_is_left_out() -> None:
    shop = Workshop(opening_s=0.5)
    looks = look([LAYER, OTHER], shop.open, shop.clocks)
    begin = shop.now
    found = climb(wanted(LAYER, OTHER), looks, shop.open, seconds=3.0, clocks=shop.clocks)
    assert [one.operator for one in found] == [LAYER]
    opening = 0.5 * (len(sampled_widths(64)) + 3)
    assert shop.now - begin < 3.0 + 2 * opening


def test_turns_go_on_until_the_time_is_spent() -> None:
    shop = Workshop()
    looks = look([LAYER], shop.open, shop.clocks)
    told: list[float] = []
    begin = shop.now
    climb(wanted(LAYER), looks, shop.open, seconds=5.0, clocks=shop.clocks, progress=told.append)
    assert shop.now - begin >= 5.0
    assert len(told) > 3
    assert told == sorted(told)


def test_same_seed_asks_for_the_same() -> None:
    def run() -> object:
        shop = Workshop(0.05)
        looks = look([LAYER], shop.open, shop.clocks)
        return climb(wanted(LAYER), looks, shop.open, seconds=1.0, seed=3, clocks=shop.clocks)

    assert run() == run()


@pytest.mark.parametrize(("seconds", "copies"), [(1e-6, 9), (1e-4, 4), (1.0, 3), (0.0, 9)])
def test_short_operators_stand_in_a_graph_more_often(seconds: float, copies: int) -> None:
    assert Look(operator=LAYER, seconds=seconds, beside_s=0.0).copies == copies
