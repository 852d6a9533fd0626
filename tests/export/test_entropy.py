"""Thresholds of distributions."""

from __future__ import annotations

import numpy as np

from export.entropy import clip


def test_as_many_levels_as_bins_lose_nothing() -> None:
    assert clip(np.arange(1, 257), 256) == 256


def test_an_even_distribution_is_not_clipped() -> None:
    assert clip(np.full(2048, 7), 128) == 2048


def test_a_far_outlier_is_clipped_and_a_short_tail_is_not() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=100_000))
    with_outlier, _ = np.histogram(np.append(values, 100.0), 2048, range=(0, 100))
    kept = clip(with_outlier, 128)
    assert kept < 2048 / 4
    assert kept * 100 / 2048 > 3  # 99.7 % of the values


def test_fewer_levels_clip_no_less() -> None:
    counts, _ = np.histogram(np.random.default_rng(1).exponential(size=100_000), 2048)
    assert clip(counts, 64) <= clip(counts, 256)


def test_zeros_do_not_count() -> None:
    counts, _ = np.histogram(np.abs(np.random.default_rng(2).normal(size=50_000)), 2048)
    many = counts.copy()
    many[0] += 1_000_000
    assert clip(counts, 128) == clip(many, 128)


def test_nothing_but_zeros_is_left_whole() -> None:
    assert clip(np.eye(1, 500)[0], 128) == 500
