"""The word for a measurement, and what makes it doubtful."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.summaries import decide, deciding_time, summarize
from tests.benchmarks.made_up import CALM, measurement, wobble


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


@pytest.mark.parametrize(
    ("factor", "word"), [(1.1, "slower"), (0.5, "faster"), (1.0, "no measurable difference")]
)
def test_summary_finds_what_is_there(factor: float, word: str) -> None:
    found = measurement(2 * wobble(0), 2 * factor * wobble(1), 2 * wobble(2))
    summary = summarize(found, batch=1, device="cpu")
    assert (summary.verdict, summary.status, summary.reasons) == (word, "VALID", ())
    assert summary.speedup.value == pytest.approx(1 / factor, rel=0.02)
    assert (summary.decided_by, summary.processes, summary.rounds) == ("wall", 5, 60)


def test_one_thread_that_shared_its_core_is_judged_by_processor_time_and_it_is_said() -> None:
    found = measurement(2 * wobble(0), wobble(1), 2 * wobble(2), cpu_share=0.5)
    summary = summarize(found, batch=1, device="cpu")
    assert (summary.verdict, summary.status, summary.decided_by) == ("faster", "NOISY", "cpu")
    assert "contention" in summary.reasons[0]
    assert "by processor time" in summary.reasons[-1]
    assert summarize(found, batch=1, device="cuda").status == "VALID"


def test_processor_time_does_not_decide_where_calls_wait_or_threads_are_several() -> None:
    assert deciding_time(1.5, 0.0, device="cpu", threads=1) == "cpu"
    assert deciding_time(1.5, 2.0, device="cpu", threads=1) == "wall"
    assert deciding_time(1.5, 0.0, device="cpu", threads=2) == "wall"
    assert deciding_time(1.5, 0.0, device="cuda", threads=1) == "wall"
    assert deciding_time(1.0, 0.0, device="cpu", threads=1) == "wall"


def test_twin_that_differs_makes_a_measurement_noisy_and_raises_the_floor() -> None:
    found = measurement(2 * wobble(0), 2.1 * wobble(1), 2.4 * wobble(2))
    summary = summarize(found, batch=1, device="cpu")
    assert (summary.verdict, summary.status) == ("no measurable difference", "NOISY")
    assert "two copies of the teacher differ" in summary.reasons[0]


def test_drift_crowds_and_steal_are_told() -> None:
    weather = np.linspace(1, 2, 60)
    drifting = measurement(2 * weather, weather, 2 * weather * wobble(2))
    assert any("drifted" in one for one in summarize(drifting, batch=1, device="cpu").reasons)
    around = replace(CALM, others_cores=1.2, steal_share=0.1)
    busy = measurement(2 * wobble(0), wobble(1), 2 * wobble(2), surroundings=around)
    said = " ".join(summarize(busy, batch=1, device="cpu", threads=2).reasons)
    assert "2 threads and 1.2 cores' worth of other work shared 2" in said
    assert "hypervisor took 10%" in said


def test_too_few_processes_are_invalid_and_none_are_refused() -> None:
    few = measurement([2.0] * 8, [1.0] * 8, [2.0] * 8, processes=2)
    summary = summarize(few, batch=1, device="cpu")
    assert (summary.verdict, summary.status) == ("invalid", "INVALID")
    assert "give more time" in summary.reasons[0]
    with pytest.raises(ValueError, match="no samples"):
        summarize(replace(few, sittings=()), batch=1, device="cpu")
