"""Paired sampling under a clock that only moves when a call is made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.sampling import SUBJECTS, Sampling, Sitting, sample, warm_up
from benchmarks.speedups import rounds_are_narrow


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


def measure(student_ms: float, plan: Sampling | None = None, noise: float = 0.02) -> Sitting:
    shop = Workshop(noise)
    calls = {"teacher": shop.call(1.0), "student": shop.call(student_ms), "twin": shop.call(1.0)}
    return sample(
        calls,
        seed=3,
        plan=plan,
        narrow_enough=lambda samples: rounds_are_narrow(samples, 0.01),
        clock=shop.clock,
        cpu_clock=shop.clock,
    )


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
    assert found.seconds < Sampling().seconds / 2


def test_sampling_stops_when_the_time_is_spent() -> None:
    found = measure(0.5, Sampling(seconds=0.2), noise=0.3)
    assert found.stopped == "time spent"
    assert 0.2 <= found.seconds < 0.3


def test_calls_slower_than_the_time_get_one_round() -> None:
    shop = Workshop()
    calls = {subject: shop.call(20_000.0) for subject in SUBJECTS}
    found = sample(calls, seed=0, clock=shop.clock, cpu_clock=shop.clock)
    assert (found.rounds, found.calls_per_block, found.warmup_calls) == (1, 1, (1, 1, 1))


def test_processes_of_one_seed_take_other_orders_and_samples_know_their_process() -> None:
    shop = Workshop()
    calls = {subject: shop.call(1.0) for subject in SUBJECTS}

    def orders(process: int) -> list[str]:
        plan = Sampling(seconds=0.5)
        found = sample(
            calls, seed=0, plan=plan, process=process, clock=shop.clock, cpu_clock=shop.clock
        )
        assert {one.process for one in found.samples} == {process}
        return [one.subject for one in found.samples[:: found.calls_per_block]][:12]

    assert orders(0) != orders(1)


def test_someone_is_told_once_when_warm_up_is_over() -> None:
    shop, told = Workshop(), []
    calls = {subject: shop.call(1.0) for subject in SUBJECTS}
    found = sample(
        calls,
        seed=0,
        when_warm=lambda: told.append(shop.now),
        clock=shop.clock,
        cpu_clock=shop.clock,
    )
    assert len(told) == 1
    assert 0 < told[0] < shop.now - found.rounds


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
