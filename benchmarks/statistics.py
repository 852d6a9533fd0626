"""From samples to a speed-up, its interval, the machine's noise floor and a word for it.

In come the samples of one workload, out comes a Summary.  The speed-up is the median over rounds of
(teacher's block median / student's block median): rounds are paired, so what slows a whole round
cancels out, and a burst in one block cannot move a median.  The same quantity for the teacher and
its twin is 1 but for noise; its interval's farther end is the noise floor, and nothing below it is
claimed.  numpy and scipy only; knows nothing of clocks, runtimes or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from benchmarks.sampling import Measurement, Sample, Subject

Verdict = Literal["faster", "slower", "no measurable difference", "invalid"]
Status = Literal["VALID", "NOISY", "INVALID"]
Interval = tuple[float, float]

CONFIDENCE = 0.95
FEWEST_ROUNDS = 6  # 2 * 0.5**6 < 0.05: below six, not even the extremes hold the median at 95 %
BOOTSTRAP_ROUNDS = 20  # below, resampling few rounds gives intervals that are too narrow
RESAMPLES = 4000
CONTENTION_LIMIT = 1.1  # wall over process CPU time; even one busy thread gives 1.0
TWIN_SHIFT_LIMIT = 0.02
NOISE_LIMIT = 0.1
DRIFT_LIMIT = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One subject's calls, pooled.  Percentiles are None where so few calls do not support them."""

    n: int
    median_ms: float
    median_interval_ms: Interval | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    throughput_per_s: float  # inputs (not batches) per second
    contention: float  # wall over process CPU time


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one workload's samples say."""

    teacher: Latency
    student: Latency
    rounds: int
    speedup: float
    interval: Interval | None
    interval_method: str
    twin_speedup: float
    twin_interval: Interval | None
    noise_floor: float | None  # 0.03: differences under 3 % mean nothing here
    verdict: Verdict
    status: Status
    reasons: tuple[str, ...]


def fewest_for(share: float) -> int:
    """Fewest samples for which a percentile is more than the largest value seen.

    With n samples, all lie below the true percentile with probability ``share ** n``; the figure is
    given only where that is at most 5 %: 29 samples for p90, 299 for p99.
    """
    return int(np.ceil(np.log(1 - CONFIDENCE) / np.log(share)))


def percentile(values: np.ndarray, share: float) -> float | None:
    """Smallest sample with at least ``share`` of all at or below it; None where n is too small."""
    if len(values) < fewest_for(share):
        return None
    return float(np.quantile(values, share, method="inverted_cdf"))


def median_interval(values: np.ndarray) -> Interval | None:
    """Exact 95 % interval of the median from order statistics (binomial); None below six values."""
    n = len(values)
    if n < FEWEST_ROUNDS:
        return None
    low = max(int(stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)), 1)
    if stats.binom.cdf(low - 1, n, 0.5) > (1 - CONFIDENCE) / 2:
        low -= 1
    ordered = np.sort(values)
    return float(ordered[low - 1]), float(ordered[n - low])


def bootstrap_interval(values: np.ndarray, *, seed: int) -> Interval:
    """95 % percentile bootstrap interval of the median of ``values`` (one value per round)."""
    generator = np.random.default_rng(seed)
    at_once = max(1, 1_000_000 // len(values))  # bounds the memory, changes nothing else
    medians = [
        np.median(generator.choice(values, (min(at_once, RESAMPLES - done), len(values))), axis=1)
        for done in range(0, RESAMPLES, at_once)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(medians), [tail, 1 - tail])
    return float(low), float(high)


def round_speedups(samples: Sequence[Sample], over: Subject) -> np.ndarray:
    """Teacher's block median over that of ``over``, one value per round."""
    blocks: dict[tuple[int, Subject], list[int]] = {}
    for sample in samples:
        blocks.setdefault((sample.round, sample.subject), []).append(sample.wall_ns)
    medians = {key: float(np.median(times)) for key, times in blocks.items()}
    rounds = sorted({turn for turn, _ in medians})
    return np.array([medians[turn, "teacher"] / medians[turn, over] for turn in rounds])


def is_narrow(samples: Sequence[Sample], within: float = 0.01) -> bool:
    """Whether the intervals of speed-up and twin lie within one per cent, and p99 is supported."""
    counts = [sum(one.subject == subject for one in samples) for subject in ("teacher", "student")]
    if min(counts) < fewest_for(0.99):
        return False
    intervals = [median_interval(np.log(round_speedups(samples, s))) for s in ("student", "twin")]
    return all(found is not None and found[1] - found[0] <= 2 * within for found in intervals)


def latency(samples: Sequence[Sample], subject: Subject, batch: int) -> Latency:
    """Pool one subject's calls."""
    wall = np.array([one.wall_ns for one in samples if one.subject == subject], dtype=float)
    cpu = np.array([one.cpu_ns for one in samples if one.subject == subject], dtype=float)
    wall_ms = wall / 1e6
    return Latency(
        n=len(wall),
        median_ms=float(np.median(wall_ms)),
        median_interval_ms=median_interval(wall_ms),
        p90_ms=percentile(wall_ms, 0.90),
        p99_ms=percentile(wall_ms, 0.99),
        mean_ms=float(wall_ms.mean()),
        throughput_per_s=float(batch * len(wall) / (wall.sum() / 1e9)),
        contention=float(wall.sum() / max(cpu.sum(), 1.0)),
    )


def decide(speedup: float, interval: Interval | None, floor: float | None) -> Verdict:
    """A word for a speed-up: it must leave 1 outside its interval and exceed the noise floor."""
    if interval is None or floor is None:
        return "invalid"
    if interval[0] <= 1 <= interval[1] or abs(np.log(speedup)) <= np.log1p(floor):
        return "no measurable difference"
    return "faster" if speedup > 1 else "slower"


def drift(samples: Sequence[Sample]) -> float:
    """Relative change of the teacher's median from the first third of the rounds to the last."""
    last = max(one.round for one in samples) + 1
    early = [s.wall_ns for s in samples if s.subject == "teacher" and s.round < last / 3]
    late = [s.wall_ns for s in samples if s.subject == "teacher" and s.round >= last * 2 / 3]
    return float(np.median(late) / np.median(early) - 1)


def doubts(
    twin: float, interval: Interval, floor: float, contention: float | None, change: float
) -> tuple[str, ...]:
    """What makes a measurement noisy, in words."""
    found = []
    if abs(twin - 1) > TWIN_SHIFT_LIMIT and not interval[0] <= 1 <= interval[1]:
        found.append(f"two copies of the teacher differ by {abs(twin - 1):.1%}")
    if floor > NOISE_LIMIT:
        found.append(f"differences under {floor:.0%} cannot be seen on this machine just now")
    if contention is not None and contention > CONTENTION_LIMIT:
        found.append(
            f"contention, since calls took {contention:.2f} times the process's own CPU time"
        )
    if abs(change) > DRIFT_LIMIT:
        found.append(f"the teacher's own times drifted by {change:+.0%} while measuring")
    return tuple(found)


def summarize(measurement: Measurement, *, batch: int, device: str, seed: int) -> Summary:
    """All figures of one workload.  Raises ValueError where there are no samples at all."""
    samples = measurement.samples
    if not samples:
        raise ValueError("no samples to summarize")
    teacher, student = (latency(samples, name, batch) for name in ("teacher", "student"))
    gains, twins = round_speedups(samples, "student"), round_speedups(samples, "twin")
    if len(gains) >= BOOTSTRAP_ROUNDS:
        method = f"percentile bootstrap over {len(gains)} rounds"
        interval: Interval | None = bootstrap_interval(gains, seed=seed)
        twin_interval: Interval | None = bootstrap_interval(twins, seed=seed)
    else:
        method = f"order statistics of {len(gains)} rounds, too few to resample"
        interval, twin_interval = median_interval(gains), median_interval(twins)
    speedup, twin = float(np.median(gains)), float(np.median(twins))
    floor = twin_interval and float(np.expm1(np.abs(np.log(twin_interval)).max()))
    verdict = decide(speedup, interval, floor)
    if twin_interval is None or floor is None:
        status: Status = "INVALID"
        reasons: tuple[str, ...] = (
            f"only {len(gains)} rounds in {measurement.seconds:.0f} s, "
            f"{FEWEST_ROUNDS} are needed: give more time",
        )
    else:
        busy = max(teacher.contention, student.contention) if device == "cpu" else None
        reasons = doubts(twin, twin_interval, floor, busy, drift(samples))
        status = "NOISY" if reasons else "VALID"
    return Summary(
        teacher=teacher,
        student=student,
        rounds=len(gains),
        speedup=speedup,
        interval=interval,
        interval_method=method,
        twin_speedup=twin,
        twin_interval=twin_interval,
        noise_floor=floor,
        verdict=verdict,
        status=status,
        reasons=reasons,
    )
