"""Axes: round numbers, in order, inside."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.plots.scales import Height, LogScale, even_ticks, ticks


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.05), (1614.0, 2910.0), (0.02, 40.0), (3.0, 3.001)]
)
def test_axis_numbers_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low <= value <= high for value in found)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (103.7, 198.7, (120.0, 140.0, 160.0, 180.0)),
        (0.76, 1.48, (0.8, 1.0, 1.2, 1.4)),
        (0.93, 1.25, (0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25)),
        (0.7, 2.1, (0.7, 1.0, 1.5, 2.0)),
        (1614, 2910, (1800.0, 2000.0, 2200.0, 2400.0, 2600.0, 2800.0)),
        (0.5, 20, (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)),
    ],
)
def test_short_axes_have_round_numbers_too(
    low: float, high: float, wanted: tuple[float, ...]
) -> None:
    assert ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize(("low", "high"), [(0.884, 0.931), (0.0, 1.0), (0.9, 0.9004)])
def test_even_numbers_are_inside_and_evenly_spaced(low: float, high: float) -> None:
    found = even_ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low <= one <= high for one in found)
    gaps = np.diff(found)
    assert np.allclose(gaps, gaps[0])


def test_scales_keep_order_and_clip_at_their_ends() -> None:
    across = LogScale(low=1, high=100, left=10, right=20)
    assert [across.place(one) for one in (0.1, 1, 10, 100, 1e6)] == [10, 10, 45, 80, 80]
    up = Height(low=0, high=2, top=20, bottom=120)
    assert [up.place(one) for one in (0, 1, 2, 3)] == [120, 70, 20, 20]
