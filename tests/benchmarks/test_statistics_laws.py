"""Laws of the statistics: what order, scale and the roles of the two networks may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.lineup import add, wilson_interval
from benchmarks.load import Times, arrivals, serve
from benchmarks.sampling import SUBJECTS, Sample, Sampling, sample
from benchmarks.speedups import (
    Speedup,
    is_narrow,
    noise_floor,
    rounds_are_narrow,
    speedup,
    t_interval,
)
from benchmarks.statistics import FEWEST_VALUES, fewest_for, latency, median_interval, percentile
from benchmarks.summaries import decide, summarize
from tests.benchmarks.made_up import measurement
from tests.examples import times

SHARES = st.sampled_from((0.5, 0.9, 0.95, 0.99))
TIMES = st.floats(0.01, 1e4, allow_nan=False)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Milliseconds of teacher, student and twin, for 15 to 60 rounds."""
    count = draw(st.integers(15, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**20)))
    spread = draw(st.sampled_from((0.0, 0.005, 0.05, 0.5)))
    ratio = draw(st.floats(0.2, 5.0))
    weather = np.exp(spread * generator.standard_normal((3, count)))
    teacher, student, twin = 10 * weather
    return teacher, student * ratio, twin


# -- percentiles -------------------------------------------------------------------------------


@given(st.lists(TIMES, min_size=1, max_size=400), SHARES)
def test_a_percentile_is_a_sample_with_that_share_at_or_below_it_where_samples_support_it(
    values: list[float], share: float
) -> None:
    found = percentile(np.array(values), share)
    assert (found is None) == (len(values) < fewest_for(share))
    if found is not None:
        at_or_below = sum(value <= found for value in values)
        below = sum(value < found for value in values)
        assert found in values
        assert at_or_below >= share * len(values) - 1e-9
        assert below < share * len(values) + 1e-9


@given(SHARES)
def test_a_percentile_is_given_where_samples_most_likely_lie_beyond_it(share: float) -> None:
    fewest = fewest_for(share)
    assert share**fewest <= 0.05 < share ** (fewest - 1)


@times(0.5)
@given(st.integers(0, 2**20), st.integers(1, 400), st.integers(-8, 8), SHARES)
def test_order_and_scale_of_samples_change_nothing_but_the_scale(
    seed: int, count: int, power: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.gamma(2.0, size=count)
    turned = generator.permutation(values) * 2.0**power
    for one in (lambda some: percentile(some, share), lambda some: float(np.median(some))):
        plain, scaled = one(values), one(turned)
        assert scaled == (None if plain is None else plain * 2.0**power)
    plain_ends, scaled_ends = median_interval(values), median_interval(turned)
    assert scaled_ends == (plain_ends and tuple(end * 2.0**power for end in plain_ends))


@given(st.integers(FEWEST_VALUES, 3000))
def test_the_interval_of_the_median_covers_it_as_often_as_it_says_and_is_no_wider(n: int) -> None:
    """Exactly: the number of samples below the median is binomial."""
    ends = median_interval(np.arange(1.0, n + 1))
    assert ends is not None
    low, high = int(ends[0]), int(ends[1])
    assert low + high == n + 1

    def coverage(rank: int) -> float:
        return float(stats.binom.cdf(n - rank, n, 0.5) - stats.binom.cdf(rank - 1, n, 0.5))

    assert coverage(low) >= 0.95 - 1e-12
    assert coverage(low + 1) < 0.95


@times(0.2)
@given(st.integers(3, 12), st.integers(0, 2**20), st.sampled_from((0.01, 1.0, 100.0)))
def test_intervals_of_the_mean_cover_it_as_often_as_they_say(
    count: int, seed: int, scale: float
) -> None:
    """600 intervals each: between 92 and 98 % by more than three standard deviations."""
    drawn = scale * np.random.default_rng(seed).standard_normal((600, count)) + 7
    ends = [t_interval(values) for values in drawn]
    hits = np.mean([one is not None and one[0] <= 7 <= one[1] for one in ends])
    assert 0.915 <= hits <= 0.985


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=12), st.floats(-3, 3), st.integers(-4, 4))
def test_the_interval_of_a_mean_moves_and_grows_with_the_values(
    values: list[float], shift: float, power: int
) -> None:
    ends = t_interval(np.array(values))
    moved = t_interval(np.array(values) * 2.0**power + shift)
    assert ends is not None
    assert moved is not None
    assert moved == pytest.approx([2.0**power * end + shift for end in ends], abs=1e-9)
    assert ends[0] <= np.mean(values) <= ends[1] or np.ptp(values) < 1e-12


# -- speed-ups and verdicts -----------------------------------------------------------------------


@times(0.5)
@given(rounds(), st.integers(0, 2**20))
def test_order_of_samples_does_not_change_a_speedup(
    given_: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    samples = measurement(*given_).samples
    order = np.random.default_rng(seed).permutation(len(samples))
    turned = [samples[place] for place in order]
    for over in ("student", "twin"):
        assert speedup(turned, over) == speedup(samples, over)  # type: ignore[arg-type]
    assert rounds_are_narrow(turned, 0.02) == rounds_are_narrow(samples, 0.02)
    one, other = latency(samples, "student", 4), latency(turned, "student", 4)
    assert one.median_ms == other.median_ms
    assert (one.p90_ms, one.p99_ms) == (other.p90_ms, other.p99_ms)
    assert one.mean_ms == pytest.approx(other.mean_ms)


@times(0.5)
@given(rounds(), st.integers(1, 6))
def test_a_slower_clock_changes_latencies_and_no_speedup(
    given_: tuple[np.ndarray, np.ndarray, np.ndarray], power: int
) -> None:
    samples = measurement(*given_).samples
    slow = [
        replace(one, wall_ns=one.wall_ns << power, cpu_ns=one.cpu_ns << power) for one in samples
    ]
    before, after = speedup(samples, "student"), speedup(slow, "student")
    assert after.value == pytest.approx(before.value)
    assert after.interval == pytest.approx(before.interval)
    ours, theirs = latency(samples, "teacher", 8), latency(slow, "teacher", 8)
    assert theirs.median_ms == ours.median_ms * 2**power
    assert theirs.throughput_per_s == pytest.approx(ours.throughput_per_s / 2**power)
    assert theirs.contention == pytest.approx(ours.contention)


@times(0.5)
@given(rounds())
def test_teacher_and_student_in_each_others_place_give_the_inverse(
    given_: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    teacher, student, _ = given_
    one = speedup(measurement(teacher, student, teacher).samples, "student")
    other = speedup(measurement(student, teacher, student).samples, "student")
    assert other.value == pytest.approx(1 / one.value)
    assert one.interval is not None
    assert other.interval == pytest.approx((1 / one.interval[1], 1 / one.interval[0]))
    assert is_narrow(one, 0.02) == is_narrow(other, 0.02) or one.interval[1] / one.interval[
        0
    ] == pytest.approx(np.exp(0.04))


@given(st.floats(0.05, 20), st.floats(1, 3), st.floats(1, 3), st.floats(0, 0.5))
def test_verdicts_turn_round_with_the_roles(
    value: float, below: float, above: float, floor: float
) -> None:
    ends = (value / below, value * above)
    turned = (1 / ends[1], 1 / ends[0])
    assume(abs(abs(np.log(value)) - np.log1p(floor)) > 1e-9)
    assume(all(abs(end - 1) > 1e-9 for end in ends))
    word = decide(value, ends, floor)
    opposite = {"faster": "slower", "slower": "faster"}
    assert decide(1 / value, turned, floor) == opposite.get(word, word)
    assert (word == "faster") == (ends[0] > 1 and value > 1 + floor)
    assert decide(value, None, floor) == decide(value, ends, None) == "invalid"


@given(st.floats(0.2, 5), st.floats(1, 2), st.floats(1, 2))
def test_the_noise_floor_is_the_same_whichever_copy_comes_first(
    value: float, below: float, above: float
) -> None:
    ends = (value / below, value * above)
    turned = (1 / ends[1], 1 / ends[0])
    floors = [
        noise_floor(Speedup(value=v, interval=i, processes=5))
        for v, i in ((value, ends), (1 / value, turned))
    ]
    assert floors[0] == pytest.approx(floors[1])
    assert floors[0] is not None
    assert floors[0] >= 0


@times(0.05)
@given(st.integers(0, 2**20))
def test_two_equal_networks_are_called_different_no_more_often_than_said(seed: int) -> None:
    """100 comparisons of a network with itself; the floor makes it rarer than 5 in 100."""
    generator = np.random.default_rng(seed)
    wrong = 0
    for _ in range(100):
        luck = np.repeat(np.exp(0.01 * generator.standard_normal((3, 5))), 4, axis=1)
        found = summarize(measurement(*(10 * luck)), batch=1, device="cpu")
        wrong += found.verdict != "no measurable difference"
    assert wrong <= 12


# -- shares and sums ------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.data())
def test_an_interval_of_a_share_holds_it_and_turns_round(count: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, count)) / count
    low, high = wilson_interval(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert wilson_interval(1 - share, count) == pytest.approx((1 - high, 1 - low))
    assert np.subtract(*wilson_interval(share, 4 * count)[::-1]) < high - low


@given(*[st.tuples(st.floats(-2, 2), st.floats(0, 1), st.floats(0, 1))] * 2, st.floats(-2, 2))  # type: ignore[arg-type]
def test_adding_two_intervals_commutes_and_nothing_adds_nothing(
    one: tuple[float, float, float], other: tuple[float, float, float], certain: float
) -> None:
    first, second = ((value, (value - low, value + high)) for value, low, high in (one, other))
    assert add(*first, *second) == pytest.approx(add(*second, *first))
    moved = add(*first, certain, (certain, certain))
    assert moved == pytest.approx(tuple(end + certain for end in first[1]), abs=1e-9)
    ends = add(*first, *second)
    assert ends[0] <= first[0] + second[0] + 1e-9
    assert ends[1] >= first[0] + second[0] - 1e-9


# -- sampling and load, by clocks that are none -------------------------------------------------


class Clock:
    """Moves when somebody looks, works or sleeps."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 100
        return self.now

    def work(self, nanoseconds: int) -> None:
        self.now += nanoseconds

    def sleep(self, seconds: float) -> None:
        self.now += max(int(seconds * 1e9), 0)


@times(0.1)
@given(st.tuples(*[st.integers(1_000, 3_000_000)] * 3), st.integers(0, 2**20), st.floats(0.01, 0.3))
def test_every_round_times_all_three_as_often_in_an_order_of_its_own(
    takes: tuple[int, int, int], seed: int, seconds: float
) -> None:
    def sat() -> tuple[tuple[Sample, ...], int, int, float]:
        clock = Clock()
        calls = {
            name: lambda taken=taken: clock.work(taken)  # type: ignore[misc]
            for name, taken in zip(SUBJECTS, takes, strict=True)
        }
        found = sample(
            calls,
            seed=seed,
            plan=Sampling(seconds=seconds),
            clock=clock,
            cpu_clock=clock,
        )
        return found.samples, found.rounds, found.calls_per_block, found.seconds

    samples, count, block, took = sat()
    assert sat() == (samples, count, block, took)
    for turn in range(count):
        own = [one for one in samples if one.round == turn]
        assert sorted(one.subject for one in own) == sorted(SUBJECTS * block)
        assert {one.order for one in own} == {0, 1, 2}
        assert len({(one.subject, one.order) for one in own}) == 3
    longest = 3 * (block + 1) * max(takes) * 1.2 / 1e9
    assert took <= seconds * 1.4 + longest + 3 * 12 * max(takes) / 1e9
    by = {name: {one.wall_ns for one in samples if one.subject == name} for name in SUBJECTS}
    assert all(
        taken <= min(by[name]) <= max(by[name]) <= taken + 500
        for name, taken in zip(SUBJECTS, takes, strict=True)
    )


@times(0.1)
@given(st.floats(5, 400), st.integers(1, 400), st.integers(0, 2**20), st.floats(0.0005, 0.02))
def test_a_trial_gives_percentiles_where_requests_support_them_and_no_latency_under_the_service(
    rate: float, requests: int, seed: int, service: float
) -> None:
    clock = Clock()
    scheduled = arrivals(rate, requests, seed)
    assert (np.diff(scheduled) > 0).all()
    found = serve(
        "it",
        lambda: clock.work(int(service * 1e9)),
        scheduled,
        rate,
        times=Times(clock=clock, sleep=clock.sleep),
    )
    assert found.requests == requests
    for name, share in (("median_s", 0.5), ("p90_s", 0.9), ("p99_s", 0.99)):
        assert (getattr(found, name) is None) == (requests < fewest_for(share))
    given_ = [one for one in (found.median_s, found.p90_s, found.p99_s) if one is not None]
    assert given_ == sorted(given_)
    assert all(service * 0.999 <= one <= found.slowest_s for one in given_)
    assert 0 < found.busy_share <= 1
    assert np.allclose(arrivals(2 * rate, requests, seed) * 2, scheduled)
