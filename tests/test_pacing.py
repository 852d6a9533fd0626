"""Shares, seconds and rates of a run, by a clock that is set by hand."""

from __future__ import annotations

import pytest

from compressor.pacing import Deadline, Epochs, Pace


class Hand:
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_preparation_and_keeps_back_a_validation() -> None:
    clock = Hand()
    pace = Pace(Deadline(100.0), begin=clock(), clock=clock, steps_per_epoch=10)
    clock.now += 10.0
    pace.validated(4.0)
    pace.start()
    assert pace.spent(0) == 0.0
    clock.now += 43.0
    assert pace.spent(0) == pytest.approx(0.5)
    clock.now += 43.0
    assert pace.spent(0) == pytest.approx(1.0)
    assert pace.seconds == pytest.approx(96.0)
    assert pace.seconds_left(0) == pytest.approx(4.0)


def test_a_step_that_would_end_late_is_not_begun() -> None:
    clock = Hand()
    pace = Pace(Deadline(10.0), begin=clock(), clock=clock, steps_per_epoch=10)
    pace.start()
    for _ in range(2):
        clock.now += 4.0
        pace.count(8)
    assert pace.spent(2) == pytest.approx(1.0)
    assert pace.images_per_s == pytest.approx(2.0)


def test_epochs_are_counted_in_steps_and_time_left_is_told_from_the_pace() -> None:
    clock = Hand()
    pace = Pace(Epochs(4), begin=clock(), clock=clock, steps_per_epoch=5)
    pace.start()
    assert pace.validation_seconds is None
    clock.now += 5.0
    assert pace.spent(5) == pytest.approx(0.25)
    assert pace.seconds_left(5) == pytest.approx(15.0)
    assert pace.spent(20) == pytest.approx(1.0)


def test_every_epoch_is_validated_once_and_the_last_is_left_to_the_end() -> None:
    clock = Hand()
    pace = Pace(Epochs(3), begin=clock(), clock=clock, steps_per_epoch=4)
    due = [step for step in range(1, 13) if pace.validation_due(pace.spent(step))]
    assert due == [4, 8]


def test_validation_that_was_missed_is_not_made_up_for() -> None:
    clock = Hand()
    pace = Pace(Deadline(100.0), begin=clock(), clock=clock, steps_per_epoch=4)
    assert pace.validation_due(0.35)
    assert not pace.validation_due(0.39)
    assert pace.validation_due(0.41)
