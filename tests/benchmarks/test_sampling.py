"""Paired sampling under a clock that only moves when a call is made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.sampling import SUBJECTS, Measurement, Sampling, sample, warm_up
from benchmarks.statistics import Summary, is_narrow, summarize


class Workshop:
    """A clock and the calls that move it."""

    def __init__(self, noise: float = 0.02, seed: int = 0) -> None:
        self.now = 0
        self.generator = np.random.default_rng(seed)
        self.noise = noise

    def clock(self) -> int:
        return self.now

    def call(self, milliseconds: float) -> Callable[[], None]:
        def run() -> None:
            wobble = 1 + self.noise * abs(self.generator.standard_normal())
            self.now += int(milliseconds * 1e6 * wobble)

        return run


def measure(student_ms: float, plan: Sampling | None = None, noise: float = 0.02) -> Measurement:
    shop = Workshop(noise)
    calls = {"teacher": shop.call(1.0), "student": shop.call(student_ms), "twin": shop.call(1.0)}
    return sample(
        calls,
        seed=3,
        plan=plan,
        narrow_enough=is_narrow,
        clock=shop.clock,
        cpu_clock=shop.clock,
    )


def summary(student_ms: float) -> Summary:
    return summarize(measure(student_ms), batch=1, device="cpu", seed=1)


def test_student_ten_percent_slower_is_called_slower() -> None:
    found = summary(1.1)
    assert (found.verdict, found.status) == ("slower", "VALID")
    assert found.speedup == pytest.approx(1 / 1.1, rel=0.01)
    assert found.interval is not None
    assert found.interval[1] < 1


def test_student_of_half_the_time_is_called_faster() -> None:
    found = summary(0.5)
    assert found.verdict == "faster"
    assert found.speedup == pytest.approx(2, rel=0.02)


def test_equal_subjects_give_no_measurable_difference() -> None:
    assert summary(1.0).verdict == "no measurable difference"


def test_every_round_runs_every_subject_once_in_changing_order() -> None:
    found = measure(1.0)
    blocks = {(one.round, one.order, one.subject) for one in found.samples}
    assert len(blocks) == 3 * found.rounds
    orders = {
        tuple(subject for turn, _, subject in sorted(blocks) if turn == chosen)
        for chosen in range(found.rounds)
    }
    assert len(orders) == 6
    assert len(found.samples) == 3 * found.rounds * found.calls_per_block


def test_same_seed_gives_the_same_samples() -> None:
    assert measure(1.0) == measure(1.0)


def test_sampling_stops_early_when_the_interval_is_narrow() -> None:
    found = measure(0.5, noise=0.001)
    assert found.stopped == "narrow enough"
    assert found.seconds < Sampling().seconds


def test_sampling_stops_when_the_time_is_spent() -> None:
    found = measure(0.5, Sampling(seconds=0.2), noise=0.3)
    assert found.stopped == "time spent"
    assert 0.2 <= found.seconds < 0.3


def test_slow_calls_get_time_for_the_fewest_rounds() -> None:
    shop = Workshop()
    calls = {subject: shop.call(1500.0) for subject in SUBJECTS}
    found = sample(calls, seed=0, clock=shop.clock, cpu_clock=shop.clock)
    assert found.rounds == Sampling().fewest_rounds
    assert found.calls_per_block == 1


def test_calls_too_slow_for_the_longest_time_end_invalid() -> None:
    shop = Workshop()
    calls = {subject: shop.call(20_000.0) for subject in SUBJECTS}
    found = sample(calls, seed=0, clock=shop.clock, cpu_clock=shop.clock)
    judged = summarize(found, batch=32, device="cpu", seed=0)
    assert found.rounds == 1
    assert (judged.verdict, judged.status) == ("invalid", "INVALID")
    assert "give more time" in judged.reasons[0]


def test_warm_up_waits_for_a_steady_state() -> None:
    shop = Workshop(noise=0)
    times = iter([50.0, 40, 30, 20, 10, 5, 4, 3, 2, 1.5] + [1.0] * 50)
    seen, steady = warm_up(lambda: shop.call(next(times))(), shop.clock, Sampling(), seconds=10)
    assert steady
    assert seen[-5:] == [1_000_000] * 5


def test_warm_up_ends_at_its_cap_after_one_slow_call() -> None:
    shop = Workshop(noise=0)
    seen, steady = warm_up(shop.call(5000), shop.clock, Sampling(), seconds=0.5)
    assert (len(seen), steady) == (1, False)
