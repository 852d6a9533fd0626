"""Shares, seconds and rates of a run, by a clock that is set by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compressor.pacing import Deadline, Epochs, Pace, forward

ROOT = Path(__file__).resolve().parent.parent


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


class Jumping(Hand):
    """A clock that is set back by an hour, again and again, as time goes on."""

    def __init__(self, every: int = 7) -> None:
        super().__init__()
        self.calls, self.every = 0, every

    def __call__(self) -> float:
        self.calls += 1
        self.now += 1.0
        if self.calls % self.every == 0:
            self.now -= 3600.0
        return self.now


def test_a_clock_that_is_set_back_goes_on_from_where_it_stood() -> None:
    clock = Hand()
    read = forward(clock)
    seen = [read()]
    for step in (5.0, -3600.0, 2.0, 0.0, -1.0, 4.0):
        clock.now += step
        seen.append(read())
    assert seen == [100.0, 105.0, 105.0, 107.0, 107.0, 107.0, 111.0]


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_deadline_is_met_by_a_clock_that_is_set_back(every: int) -> None:
    clock = Jumping(every)
    pace = Pace(Deadline(200.0), begin=clock.now, clock=clock, steps_per_epoch=10)
    pace.start()
    steps = 0
    while pace.spent(steps) < 1.0 and steps < 1000:
        steps += 1
        pace.count(8)
        assert pace.images_per_s >= 0.0
        assert pace.seconds_left(steps) >= 0.0
    # time passes but in the moments when the clock is set back; one that always is, stands still
    assert steps < 1000 or every == 1


def test_nothing_asks_what_time_it_is_but_to_write_it_down() -> None:
    """Seconds are of monotonic clocks, which nobody can set."""
    asked = []
    for package in ("compressor", "export", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if re.search(r"\btime\.time(_ns)?\b|\bdatetime\b|import time\b.*\btime\b,", text):
                asked.append(path.relative_to(ROOT).as_posix())
    assert asked == ["compressor/locks.py"]
