"""Measurements with times that a test chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.measurements import Measurement
from benchmarks.sampling import SUBJECTS, Sample, Sitting
from benchmarks.surroundings import Surroundings

CALM = Surroundings(
    cores=2,
    load_start=0.1,
    load_end=0.1,
    runnable_start=1,
    runnable_end=1,
    others_cores=0.0,
    steal_share=0.0,
    voluntary_switches=0,
    involuntary_switches=0,
)


def measurement(
    teacher_ms: Sequence[float],
    student_ms: Sequence[float],
    twin_ms: Sequence[float],
    *,
    processes: int = 5,
    cpu_share: float = 1.0,
    surroundings: Surroundings = CALM,
) -> Measurement:
    """One call per block; the rounds are dealt out to the processes, neighbours together."""
    turns = np.array_split(np.arange(len(teacher_ms)), processes)
    times = dict(zip(SUBJECTS, (teacher_ms, student_ms, twin_ms), strict=True))
    sittings = tuple(
        Sitting(
            samples=tuple(
                Sample(
                    process=process,
                    subject=subject,
                    round=place,
                    order=order,
                    wall_ns=int(times[subject][turn] * 1e6),
                    cpu_ns=int(times[subject][turn] * 1e6 * cpu_share),
                )
                for place, turn in enumerate(part)
                for order, subject in enumerate(SUBJECTS)
            ),
            rounds=len(part),
            calls_per_block=1,
            warmup_calls=(10, 10, 10),
            steady=True,
            stopped="time spent",
            seconds=1.0,
        )
        for process, part in enumerate(turns)
    )
    return Measurement(
        sittings=sittings,
        surroundings=(surroundings,) * processes,
        ran_by={},
        stopped="time spent",
        seconds=1.0,
    )


def wobble(seed: int, n: int = 60, scale: float = 0.01) -> np.ndarray:
    """Factors near 1."""
    return 1 + scale * np.random.default_rng(seed).standard_normal(n)
