"""Pooled calls of one subject: percentiles with the support they need, throughput, contention.

In come samples, out come Latencies.  numpy and scipy only; knows nothing of speed-ups, clocks,
runtimes or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.sampling import Sample, Subject
from benchmarks.speedups import CONFIDENCE, Interval

FEWEST_VALUES = 6  # 2 * 0.5**6 < 0.05: below six, not even the extremes hold the median at 95 %
RESAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One subject's calls, pooled.  Percentiles are None where so few calls do not support them."""

    n: int
    median_ms: float
    median_interval_ms: Interval | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float
    cpu_median_ms: float  # processor time of all threads
    throughput_per_s: float  # inputs (not batches) per second
    contention: float  # wall over process CPU time


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
    if n < FEWEST_VALUES:
        return None
    low = max(int(stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)), 1)
    if stats.binom.cdf(low - 1, n, 0.5) > (1 - CONFIDENCE) / 2:
        low -= 1
    ordered = np.sort(values)
    return float(ordered[low - 1]), float(ordered[n - low])


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
        cpu_median_ms=float(np.median(cpu) / 1e6),
        throughput_per_s=float(batch * len(wall) / (wall.sum() / 1e9)),
        contention=float(wall.sum() / max(cpu.sum(), 1.0)),
    )


def drift(samples: Sequence[Sample]) -> float:
    """Relative change of the teacher's median from the first third of its calls to the last."""
    own = [one.wall_ns for one in samples if one.subject == "teacher"]
    third = max(len(own) // 3, 1)
    return float(np.median(own[-third:]) / np.median(own[:third]) - 1)
