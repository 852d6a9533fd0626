"""Figures against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sampling import SUBJECTS, Measurement, Sample
from benchmarks.statistics import (
    bootstrap_interval,
    decide,
    fewest_for,
    latency,
    median_interval,
    percentile,
    round_speedups,
    summarize,
)


def rounds_of(
    teacher_ms: list[float], student_ms: list[float], twin_ms: list[float], cpu_share: float = 1.0
) -> Measurement:
    samples = tuple(
        Sample(
            subject=subject,
            round=turn,
            order=order,
            wall_ns=int(value * 1e6),
            cpu_ns=int(value * 1e6 * cpu_share),
        )
        for turn, values in enumerate(zip(teacher_ms, student_ms, twin_ms, strict=True))
        for order, (subject, value) in enumerate(zip(SUBJECTS, values, strict=True))
    )
    return Measurement(
        samples=samples,
        rounds=len(teacher_ms),
        calls_per_block=1,
        warmup_calls=(10, 10, 10),
        steady=True,
        stopped="time spent",
        seconds=1.0,
    )


def wobble(seed: int, n: int = 60, scale: float = 0.01) -> np.ndarray:
    return 1 + scale * np.random.default_rng(seed).standard_normal(n)


def test_fewest_samples_for_a_percentile_follow_from_its_order_statistic() -> None:
    assert (fewest_for(0.90), fewest_for(0.99)) == (29, 299)
    assert 0.99**299 <= 0.05 < 0.99**298


def test_percentile_is_withheld_when_samples_are_too_few() -> None:
    values = np.arange(1, 299, dtype=float)
    assert percentile(values, 0.99) is None
    assert percentile(np.arange(1, 301, dtype=float), 0.99) == 297
    assert percentile(values[:28], 0.9) is None


@pytest.mark.parametrize(("n", "low"), [(6, 1), (8, 1), (9, 2), (20, 6), (100, 40)])
def test_median_interval_takes_the_tabled_order_statistics(n: int, low: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1, n + 1)).astype(float)
    assert median_interval(values) == (low, n + 1 - low)


def test_median_interval_needs_six_values() -> None:
    assert median_interval(np.arange(5.0)) is None


def test_bootstrap_agrees_with_the_exact_interval_of_a_large_sample() -> None:
    values = np.random.default_rng(1).standard_normal(400)
    exact = median_interval(values)
    assert exact is not None
    assert bootstrap_interval(values, seed=0) == pytest.approx(exact, abs=0.03)
    assert bootstrap_interval(values, seed=0) == bootstrap_interval(values, seed=0)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for trial in range(100):
        low, high = bootstrap_interval(generator.standard_normal(30), seed=trial)
        hits += low <= 0 <= high
    assert hits >= 88


def test_speedup_is_paired_so_that_a_slow_round_cancels_out() -> None:
    weather = np.linspace(1, 5, 40)
    found = rounds_of(list(2 * weather), list(weather), list(2 * weather))
    assert round_speedups(found.samples, "student") == pytest.approx(2.0)


def test_latency_counts_inputs_not_batches() -> None:
    found = rounds_of([10.0] * 30, [5.0] * 30, [10.0] * 30, cpu_share=0.5)
    teacher = latency(found.samples, "teacher", batch=32)
    assert teacher.median_ms == teacher.p90_ms == 10
    assert teacher.p99_ms is None
    assert teacher.throughput_per_s == pytest.approx(3200)
    assert teacher.contention == pytest.approx(2)


@pytest.mark.parametrize(
    ("speedup", "interval", "floor", "word"),
    [
        (2.0, (1.9, 2.1), 0.05, "faster"),
        (0.8, (0.7, 0.9), 0.05, "slower"),
        (1.5, (0.9, 2.1), 0.05, "no measurable difference"),
        (1.03, (1.01, 1.05), 0.05, "no measurable difference"),
        (0.97, (0.96, 0.98), 0.05, "no measurable difference"),
        (2.0, None, None, "invalid"),
    ],
)
def test_word_needs_interval_and_floor(
    speedup: float, interval: tuple[float, float] | None, floor: float | None, word: str
) -> None:
    assert decide(speedup, interval, floor) == word


def test_contention_makes_a_measurement_noisy() -> None:
    found = rounds_of(list(2 * wobble(0)), list(wobble(1)), list(2 * wobble(2)), cpu_share=0.5)
    summary = summarize(found, batch=1, device="cpu", seed=0)
    assert (summary.verdict, summary.status) == ("faster", "NOISY")
    assert "contention" in summary.reasons[0]
    assert summarize(found, batch=1, device="cuda", seed=0).status == "VALID"


def test_twin_that_differs_makes_a_measurement_noisy_and_raises_the_floor() -> None:
    found = rounds_of(list(2 * wobble(0)), list(1.9 * wobble(1)), list(2.4 * wobble(2)))
    summary = summarize(found, batch=1, device="cpu", seed=0)
    assert summary.verdict == "no measurable difference"
    assert summary.status == "NOISY"
    assert "two copies of the teacher differ" in summary.reasons[0]


def test_drift_is_told() -> None:
    weather = np.linspace(1, 2, 60)
    found = rounds_of(list(2 * weather), list(weather), list(2 * weather * wobble(2)))
    assert any("drifted" in one for one in summarize(found, batch=1, device="cpu", seed=0).reasons)


def test_few_rounds_use_order_statistics_and_say_so() -> None:
    found = rounds_of([2.0 + 0.01 * n for n in range(8)], [1.0] * 8, [2.0] * 8)
    summary = summarize(found, batch=1, device="cpu", seed=0)
    assert summary.interval == (pytest.approx(2.0), pytest.approx(2.07))
    assert "order statistics of 8 rounds" in summary.interval_method


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarize(rounds_of([], [], []), batch=1, device="cpu", seed=0)
