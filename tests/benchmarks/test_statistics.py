"""Figures of pooled calls against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics import drift, fewest_for, latency, median_interval, percentile
from tests.benchmarks.made_up import measurement


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


def test_latency_counts_inputs_not_batches() -> None:
    found = measurement([10.0] * 30, [5.0] * 30, [10.0] * 30, cpu_share=0.5)
    teacher = latency(found.samples, "teacher", batch=32)
    assert teacher.median_ms == teacher.p90_ms == 10
    assert teacher.cpu_median_ms == 5
    assert teacher.p99_ms is None
    assert teacher.throughput_per_s == pytest.approx(3200)
    assert teacher.contention == pytest.approx(2)


def test_drift_compares_the_last_third_with_the_first() -> None:
    found = measurement([1.0] * 10 + [7.0] * 10 + [2.0] * 10, [1.0] * 30, [1.0] * 30)
    assert drift(found.samples) == pytest.approx(1.0)
