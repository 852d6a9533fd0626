"""Paired speed-ups over rounds and processes, and what their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.speedups import (
    Speedup,
    is_narrow,
    noise_floor,
    round_speedups,
    rounds_are_narrow,
    speedup,
    t_interval,
)
from tests.benchmarks.made_up import measurement, wobble


def test_speedup_is_paired_so_that_a_slow_round_cancels_out() -> None:
    weather = np.linspace(1, 5, 40)
    found = measurement(2 * weather, weather, 2 * weather)
    assert speedup(found.samples, "student").value == pytest.approx(2.0)
    assert speedup(found.samples, "twin").value == pytest.approx(1.0)


def test_both_copies_of_the_teacher_count_for_the_speedup() -> None:
    found = measurement([2.0] * 10, [1.0] * 10, [8.0] * 10)
    assert speedup(found.samples, "student").value == pytest.approx(4.0)  # of 2 and 8
    assert speedup(found.samples, "twin").value == pytest.approx(0.25)


def test_a_burst_in_some_rounds_of_a_process_changes_nothing() -> None:
    student = np.ones(50)
    student[[0, 3, 17, 40]] = 100.0
    found = measurement([2.0] * 50, student, [2.0] * 50)
    assert speedup(found.samples, "student").value == pytest.approx(2.0)


def test_time_of_the_processor_can_be_asked_for() -> None:
    found = measurement([2.0] * 10, [1.0] * 10, [2.0] * 10, cpu_share=0.25)
    gains = round_speedups(found.samples, "student", "cpu")
    assert list(gains) == [0, 1, 2, 3, 4]
    assert np.concatenate(list(gains.values())) == pytest.approx(np.log(2))


def test_interval_over_processes_is_that_of_students_t() -> None:
    values = np.random.default_rng(0).standard_normal(5)
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    assert t_interval(values[:2]) is None


def test_interval_covers_the_truth_as_often_as_it_says_also_of_five_processes() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        ends = t_interval(generator.standard_normal(5))
        assert ends is not None
        hits += ends[0] <= 0 <= ends[1]
    assert 930 <= hits <= 970


def test_what_differs_between_processes_widens_the_interval_and_more_rounds_do_not_help() -> None:
    luck = np.repeat([0.97, 1.02, 1.0, 0.99, 1.03], 200)
    found = speedup(measurement(2 * luck, np.ones(1000), 2 * luck).samples, "student")
    assert found.interval is not None
    assert found.interval[1] / found.interval[0] > 1.04
    assert not is_narrow(found, 0.01)


def test_noise_floor_is_the_farther_end() -> None:
    assert noise_floor(Speedup(value=1.0, interval=(0.9, 1.05), processes=5)) == (
        pytest.approx(1 / 0.9 - 1)
    )
    assert noise_floor(Speedup(value=1.0, interval=None, processes=2)) is None


@pytest.mark.parametrize(("scale", "narrow"), [(0.001, True), (0.2, False)])
def test_rounds_of_a_process_are_enough_when_their_median_is_well_known(
    scale: float, narrow: bool
) -> None:
    times = [2 * wobble(0, 60, scale), wobble(1, 60, scale), 2 * wobble(2, 60, scale)]
    found = measurement(*times, processes=1)
    assert rounds_are_narrow(found.samples, 0.01) is narrow


def test_few_rounds_are_never_enough() -> None:
    assert not rounds_are_narrow(measurement([2.0] * 3, [1.0] * 3, [2.0] * 3).samples, 0.01)
