"""Open-loop load by a clock that is none: against the queue M/D/1, and without omission."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.load import (
    REQUESTS,
    Goodput,
    Times,
    Trial,
    arrivals,
    find_goodputs,
    goodput_row,
    serve,
    service_s,
    sweep,
    trial_row,
)


class World:
    """A clock that moves when somebody sleeps, looks or works."""

    def __init__(self) -> None:
        self.now = 0
        self.times = Times(clock=self.clock, sleep=self.sleep)

    def clock(self) -> int:
        self.now += 10_000  # looking takes 10 microseconds
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    def server(self, seconds: float) -> object:
        def call() -> None:
            self.now += int(seconds * 1e9)

        return call


def trial(service: float, rate: float, requests: int, seed: int) -> Trial:
    world = World()
    call = world.server(service)
    scheduled = arrivals(rate, requests, seed)
    return serve("it", call, scheduled, rate, times=world.times)  # type: ignore[arg-type]


def waiting_at_most(t: float, service: float, rate: float) -> float:
    """P(W <= t) in M/D/1 (Erlang 1909; e.g. Tijms, A First Course in Stochastic Models, 9.2)."""
    total = 0.0
    for k in range(int(t / service) + 1):
        x = rate * (k * service - t)
        total += x**k / math.factorial(k) * math.exp(-x)
    return (1 - rate * service) * total


@pytest.mark.parametrize("use", [0.3, 0.5, 0.7])
def test_latencies_are_those_of_a_queue_with_fixed_service_time(use: float) -> None:
    service, rate = 0.002, use / 0.002
    found = [trial(service, rate, 4000, seed) for seed in range(20)]
    median = np.mean([one.median_s for one in found if one.median_s is not None])
    p90 = np.mean([one.p90_s for one in found if one.p90_s is not None])
    p99 = np.mean([one.p99_s for one in found if one.p99_s is not None])
    for share, value, within in ((0.5, median, 0.03), (0.9, p90, 0.02), (0.99, p99, 0.01)):
        if value > 1.01 * service:  # else nobody waited, and the distribution has a jump there
            assert waiting_at_most(value - service, service, rate) == pytest.approx(
                share, abs=within
            )
        else:
            assert 1 - use >= share - 0.02
    assert np.mean([one.busy_share for one in found]) == pytest.approx(use, abs=0.03)


def test_a_pause_delays_all_who_were_scheduled_meanwhile() -> None:
    world = World()
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        world.now += int(1e9) if calls == 50 else int(1e6)

    scheduled = np.arange(1, 501) * 0.01
    found = serve("it", call, scheduled, 100.0, times=world.times)
    # A pause of 1 s at 100 requests a second is seen by about a hundred of the 500, not by one.
    assert found.p90_s is not None
    assert found.p90_s > 0.3
    assert found.slowest_s == pytest.approx(1.0, abs=0.01)


def test_same_seed_same_arrivals_stretched_to_the_rate() -> None:
    slow, fast = arrivals(10, 500, 7), arrivals(40, 500, 7)
    np.testing.assert_allclose(slow, 4 * fast)
    assert np.mean(np.diff(slow)) == pytest.approx(0.1, rel=0.1)
    assert not np.array_equal(slow, arrivals(10, 500, 8))


def test_percentiles_that_the_requests_do_not_support_are_none() -> None:
    found = trial(0.001, 100, 100, 0)
    assert (found.p90_s is None, found.p99_s is None) == (False, True)
    assert not found.keeps(10.0)  # nobody can tell


def test_queue_without_end_is_given_up() -> None:
    world = World()
    scheduled = arrivals(1000, 5000, 0)
    call = world.server(0.002)
    found = serve("it", call, scheduled, 1000, give_up_s=0.5, times=world.times)  # type: ignore[arg-type]
    assert found.given_up
    assert found.requests < 5000
    assert not found.keeps(100.0)


def test_sweep_serves_all_at_the_same_arrivals_lowest_rate_first() -> None:
    world = World()
    calls = {"teacher": world.server(0.002), "student": world.server(0.001)}
    found = sweep(calls, rates=(400, 100), seconds_each=2.0, seed=1, times=world.times)  # type: ignore[arg-type]
    assert [one.rate_per_s for one in found] == [100, 100, 400, 400]
    assert {one.subject for one in found[:2]} == {"teacher", "student"}
    by = {(one.subject, one.rate_per_s): one for one in found}
    assert by["teacher", 100].requests == REQUESTS  # 200 would not support a p99
    teacher, student = by["teacher", 400].p99_s, by["student", 400].p99_s
    assert teacher is not None
    assert student is not None
    assert teacher > 2 * student


def test_goodput_is_near_the_rate_that_theory_gives() -> None:
    service, limit = 0.002, 0.01
    low, high = 1.0, 1 / service
    for _ in range(40):  # theory: the rate at which P(W <= limit - service) falls to 99 %
        rate = (low + high) / 2
        low, high = (
            (rate, high)
            if waiting_at_most(limit - service, service, rate) > 0.99
            else (
                low,
                rate,
            )
        )
    world = World()
    calls = {"slow": world.server(service), "fast": world.server(service / 2)}
    (found, fast), trials = find_goodputs(
        calls,  # type: ignore[arg-type]
        limit_s=limit,
        seconds=600.0,
        seed=3,
        steps=8,
        times=world.times,
    )
    assert fast.rate_per_s is not None
    assert fast.rate_per_s > 2 * low  # half the service, and more room for waiting
    assert found.rate_per_s == pytest.approx(low, rel=0.08)
    assert found.fails_at_per_s is not None
    assert found.fails_at_per_s > found.rate_per_s
    assert all(one.p99_s is not None for one in trials)


def test_goodput_says_why_there_is_none() -> None:
    def search(service: float, limit: float, seconds: float) -> Goodput:
        world = World()
        call = world.server(service)
        (found,), _ = find_goodputs(
            {"it": call},  # type: ignore[dict-item]
            limit_s=limit,
            seconds=seconds,
            seed=0,
            times=world.times,
        )
        return found

    slow = search(0.02, 0.01, 60)
    assert slow.rate_per_s is None
    assert slow.reason == "a single call takes 20 ms, more than the limit"
    assert "do not fit into 1 s" in str(search(0.02, 0.1, 1).reason)
    assert search(0.002, 0.01, 60).reason is None


def test_one_burst_of_others_does_not_decide_about_a_rate() -> None:
    world = World()
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        world.now += int(1e9) if calls == 100 else int(2e6)

    (found,), trials = find_goodputs(
        {"it": call}, limit_s=0.01, seconds=60.0, seed=0, steps=1, times=world.times
    )
    assert [one.keeps(0.01) for one in trials] == [False, True]
    assert found.rate_per_s == pytest.approx(250, rel=0.02)


def test_service_time_is_that_of_a_call_alone() -> None:
    world = World()
    assert service_s(world.server(0.003), world.times) == pytest.approx(0.003, rel=0.01)  # type: ignore[arg-type]


def test_rows_are_plain_and_in_milliseconds() -> None:
    row = json.loads(json.dumps(trial_row(trial(0.001, 100, 400, 0))))
    assert row["p99_ms"] >= row["p90_ms"] >= row["median_ms"] >= 1.0
    found = Goodput(subject="it", limit_s=0.01, rate_per_s=5.0, fails_at_per_s=6.0, reason=None)
    assert goodput_row(found) == {
        "subject": "it",
        "limit_ms": 10.0,
        "rate_per_s": 5.0,
        "fails_at_per_s": 6.0,
        "reason": None,
    }
