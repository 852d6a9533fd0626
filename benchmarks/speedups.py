"""From paired samples to a speed-up with its interval, and to the machine's noise floor.

A round gives one number: the logarithm of the teacher's block median over the student's, where the
teacher's is the mean of its two copies (of logarithms).  A process gives the median of its rounds:
rounds are paired, so what slows a whole round cancels out, and a burst in one block cannot move a
median.  The processes' numbers are then few, independent and near normal, and Student's t gives the
interval: how models lie in memory differs from process to process, and no number of rounds in one
of them shows it.  Resampling (the nested bootstrap) gives too narrow intervals for so few
processes; `benchmarks.studies.contention` shows by how much.

The same for the teacher against its twin is 1 but for noise; its interval's farther end is the
noise floor.  numpy and scipy.special only; knows nothing of verdicts, clocks or files.

Sources: Davison & Hinkley, Bootstrap Methods and their Application (1997), section 3.8 (resample
the highest level); Kalibera & Jones, Rigorous Benchmarking in Reasonable Time (ISMM 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.sampling import Sample, Subject

Interval = tuple[float, float]
Time = Literal["wall", "cpu"]

CONFIDENCE = 0.95
FEWEST_PROCESSES = 3  # below, Student's t says next to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """How many times faster than the teacher; 0.5 is twice as slow."""

    value: float
    interval: Interval | None  # None where too few processes measured
    processes: int


def block_medians(samples: Sequence[Sample], time: Time) -> dict[tuple[int, int], dict[str, float]]:
    """(process, round) -> subject -> the median of its block, in nanoseconds."""
    blocks: dict[tuple[int, int], dict[str, list[int]]] = {}
    for one in samples:
        taken = one.wall_ns if time == "wall" else one.cpu_ns
        block = blocks.setdefault((one.process, one.round), {})
        block.setdefault(one.subject, []).append(max(taken, 1))
    return {
        key: {subject: float(np.median(times)) for subject, times in block.items()}
        for key, block in blocks.items()
    }


def round_speedups(
    samples: Sequence[Sample], over: Subject, time: Time = "wall"
) -> dict[int, np.ndarray]:
    """Process -> one logarithm per round; ``over`` "twin" compares the teacher's two copies."""
    found: dict[int, list[float]] = {}
    for (process, _), block in sorted(block_medians(samples, time).items()):
        teacher, student, twin = (
            float(np.log(block[name])) for name in ("teacher", "student", "twin")
        )
        gain = teacher - twin if over == "twin" else (teacher + twin) / 2 - student
        found.setdefault(process, []).append(gain)
    return {process: np.array(gains) for process, gains in found.items()}


def t_interval(values: np.ndarray) -> Interval | None:
    """95 % interval of the mean of a few values; None below `FEWEST_PROCESSES`."""
    n = len(values)
    if n < FEWEST_PROCESSES:
        return None
    from scipy import special  # late: a fresh process that only samples starts without it

    quantile = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    half = quantile * float(np.std(values, ddof=1)) / np.sqrt(n)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def speedup_of(gains: Sequence[np.ndarray]) -> Speedup:
    """From each process's logarithms, one per round, to one speed-up."""
    medians = np.array([np.median(rounds) for rounds in gains])
    ends = t_interval(medians)
    return Speedup(
        value=float(np.exp(medians.mean())),
        interval=ends and (float(np.exp(ends[0])), float(np.exp(ends[1]))),
        processes=len(medians),
    )


def speedup(samples: Sequence[Sample], over: Subject, time: Time = "wall") -> Speedup:
    """Teacher's time over that of ``over``, from all processes."""
    return speedup_of(tuple(round_speedups(samples, over, time).values()))


def noise_floor(twin: Speedup) -> float | None:
    """0.03: the teacher's own copy may seem 3 % different, so less than that means nothing."""
    if twin.interval is None:
        return None
    return float(np.expm1(np.abs(np.log(twin.interval)).max()))


def is_narrow(found: Speedup, within: float) -> bool:
    """Whether the interval reaches no farther than ``within`` (0.01: 1 %) to either side."""
    if found.interval is None:
        return False
    low, high = np.log(found.interval)
    return bool(high - low <= 2 * within)


def rounds_are_narrow(samples: Sequence[Sample], within: float) -> bool:
    """Whether more rounds in this process would hardly help, as far as rounds alone can tell.

    The interval of the median from order statistics, in the normal approximation of the binomial.
    """
    both: tuple[Subject, Subject] = ("student", "twin")
    for over in both:
        for gains in round_speedups(samples, over).values():
            ordered, n = np.sort(gains), len(gains)
            low = int(np.floor(n / 2 - 0.98 * np.sqrt(n)))
            if low < 1 or ordered[n - low] - ordered[low - 1] > 2 * within:
                return False
    return True
