"""From nothing to a steady state: what a fresh process waits for.

In come Starts; out comes a ColdStart for each subject: importing the runtime, loading the file, the
first call, and how many calls until they are no longer slower than the last ones.  Medians over the
processes, with the least and the most.  Knows nothing of how processes are started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.starts import Start

STEADY_WITHIN = 1.25  # times the median of the second half; calls are single and noisy
FEWEST_CALLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, least and most of a few processes."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Seconds.  ``calls_until_steady`` None: so few calls fit into the time that none can tell."""

    processes: int
    import_s: Spread
    load_s: Spread
    first_call_s: Spread
    steady_call_s: Spread
    calls_until_steady: int | None


def summarize(starts: Sequence[Start]) -> ColdStart:
    """Raises ValueError without starts."""
    if not starts:
        raise ValueError("no fresh process to summarize")
    counts = [until_steady(one.calls_s) for one in starts]
    known = [count for count in counts if count is not None]
    return ColdStart(
        processes=len(starts),
        import_s=spread([one.import_s for one in starts]),
        load_s=spread([one.load_s for one in starts]),
        first_call_s=spread([one.calls_s[0] for one in starts]),
        steady_call_s=spread([steady_s(one.calls_s) for one in starts]),
        calls_until_steady=int(np.median(known)) if len(known) == len(counts) else None,
    )


def spread(values: Sequence[float]) -> Spread:
    return Spread(median=float(np.median(values)), least=min(values), most=max(values))


def steady_s(calls: Sequence[float]) -> float:
    """Median of the second half."""
    return float(np.median(calls[len(calls) // 2 :]))


def until_steady(calls: Sequence[float]) -> int | None:
    """Calls before the first window of three whose median is a steady call's, or nearly."""
    if len(calls) < FEWEST_CALLS:
        return None
    limit = STEADY_WITHIN * steady_s(calls)
    medians = [float(np.median(calls[place : place + 3])) for place in range(len(calls) - 2)]
    # The call that begins a window may itself be slow while the two behind it are not.
    place = next(at for at, median in enumerate(medians) if median <= limit)
    return place + (calls[place] > limit)


def row(found: ColdStart) -> dict[str, Any]:
    """Milliseconds, as ``report.json`` has them."""
    spreads = ("import_s", "load_s", "first_call_s", "steady_call_s")
    return {
        "processes": found.processes,
        "calls_until_steady": found.calls_until_steady,
        **{
            f"{name.removesuffix('_s')}_ms": {
                key: 1e3 * value for key, value in asdict(getattr(found, name)).items()
            }
            for name in spreads
        },
    }
