"""Open-loop load: requests arrive when they like, and wait if the network is busy.

In come two prepared calls and the rates; out come Trials and the highest rate that keeps a limit.
Arrivals are a Poisson process from a seed, drawn before the trial; one request is served at a
time, first come first served, and its latency counts from the moment it was *scheduled*, not from
when it could begin: a slow request delays all behind it, and that is seen (no coordinated omission;
G. Tene, "How NOT to Measure Latency", 2015).  With a fixed service time this is the queue M/D/1.
Clock and sleep are arguments.  Knows nothing of runtimes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.statistics import fewest_for, percentile

Call = Callable[[], object]
SPIN_S = 1e-3  # sleeping ends late by a fraction of this; the rest of the wait is spent looking
OVERLOAD = 20  # limits behind: the queue only grows, and the trial is given up
SERVICE_CALLS = 30
REQUESTS = fewest_for(0.99) + 1  # 300: the fewest that support a p99


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The clock in nanoseconds, and a sleep in seconds."""

    clock: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep


REAL = Times()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One subject at one rate.  Percentiles are None where there were too few requests for them.

    ``given_up``: the queue grew without end, and requests that had not been served are not among
    the latencies; what is given is too good.
    """

    subject: str
    rate_per_s: float
    requests: int
    median_s: float | None
    p90_s: float | None
    p99_s: float | None
    slowest_s: float
    busy_share: float  # of the time; near 1, latency is waiting
    given_up: bool

    def keeps(self, limit_s: float) -> bool:
        """Whether 99 of 100 requests were done within the limit; False where nobody can tell."""
        return not self.given_up and self.p99_s is not None and self.p99_s <= limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """The highest rate tried that keeps the limit and the lowest above it that does not."""

    subject: str
    limit_s: float
    rate_per_s: float | None  # None: not even the lowest rate, or nothing can be said
    fails_at_per_s: float | None
    reason: str | None


def arrivals(rate_per_s: float, requests: int, seed: int) -> np.ndarray:
    """Seconds from the start at which requests are scheduled.

    The same seed gives the same pattern at every rate, stretched: rates and subjects compare.
    """
    return np.cumsum(np.random.default_rng(seed).standard_exponential(requests)) / rate_per_s


def service_s(call: Call, times: Times = REAL) -> float:
    """Median seconds of a call when nobody waits; the first third warms up."""
    took = []
    for _ in range(SERVICE_CALLS):
        start = times.clock()
        call()
        took.append((times.clock() - start) / 1e9)
    return float(np.median(took[SERVICE_CALLS // 3 :]))


def serve(
    subject: str,
    call: Call,
    scheduled: np.ndarray,
    rate_per_s: float,
    *,
    give_up_s: float = np.inf,
    times: Times = REAL,
) -> Trial:
    """Serve all of ``scheduled``, one at a time; give up where one is ``give_up_s`` late."""
    latencies, busy, given_up = [], 0.0, False
    begin = times.clock()
    for due in scheduled:
        now = (times.clock() - begin) / 1e9
        if due - now > SPIN_S:
            times.sleep(due - now - SPIN_S)
        while (start := (times.clock() - begin) / 1e9) < due:
            pass
        call()
        end = (times.clock() - begin) / 1e9
        latencies.append(end - due)
        busy += end - start
        if latencies[-1] > give_up_s:
            given_up = len(latencies) < len(scheduled)
            break
    found = np.array(latencies)
    return Trial(
        subject=subject,
        rate_per_s=rate_per_s,
        requests=len(found),
        median_s=percentile(found, 0.5),
        p90_s=percentile(found, 0.9),
        p99_s=percentile(found, 0.99),
        slowest_s=float(found.max()),
        busy_share=busy / max((times.clock() - begin) / 1e9, 1e-12),
        given_up=given_up,
    )


def sweep(
    calls: Mapping[str, Call],
    *,
    rates: Sequence[float],
    seconds_each: float,
    seed: int,
    times: Times = REAL,
) -> tuple[Trial, ...]:
    """Every subject at every rate, lowest rates first, subjects of a rate in a random order.

    A trial has as many requests as arrive in ``seconds_each``, or the fewest that support a p99
    where these take no more than twice as long.
    """
    generator = np.random.default_rng(seed)
    names = list(calls)
    found = []
    for rate in sorted(rates):
        count = max(round(rate * seconds_each), 1)
        if rate * 2 * seconds_each >= REQUESTS:
            count = max(count, REQUESTS)
        scheduled = arrivals(rate, count, seed)
        for place in generator.permutation(len(names)):
            name = names[place]
            found.append(
                serve(name, calls[name], scheduled, rate, give_up_s=seconds_each, times=times)
            )
    return tuple(found)


def find_goodputs(
    calls: Mapping[str, Call],
    *,
    limit_s: float,
    seconds: float,
    seed: int,
    steps: int = 6,
    times: Times = REAL,
) -> tuple[tuple[Goodput, ...], tuple[Trial, ...]]:
    """Halve each subject's range of rates between idle and saturation, ``steps`` times at most.

    Subjects take turns in a random order within each step.  A rate fails when two trials fail: a
    single burst of other processes decides nothing.  Each trial has the fewest requests that
    support a p99, or more where there is time.  A queue near saturation needs long to fill: what a
    short trial finds there is rather too high.
    """
    generator = np.random.default_rng(seed)
    names = list(calls)
    alone = {name: service_s(calls[name], times) for name in names}
    ranges = {name: (0.0, 1 / alone[name]) for name in names}
    trials: list[Trial] = []
    begin = times.clock()
    for step in range(steps):
        share = (seconds - (times.clock() - begin) / 1e9) / (len(names) * (steps - step))
        for place in generator.permutation(len(names)):
            name = names[place]
            low, high = ranges[name]
            rate = (low + high) / 2
            if alone[name] > limit_s or REQUESTS / rate > share * (steps - step):
                continue
            count = max(REQUESTS, round(rate * share / 2))
            for attempt in (0, 1):
                scheduled = arrivals(rate, count, seed + 2 * step + attempt)
                trials.append(
                    serve(
                        name,
                        calls[name],
                        scheduled,
                        rate,
                        give_up_s=OVERLOAD * limit_s,
                        times=times,
                    )
                )
                if trials[-1].keeps(limit_s):
                    break
            ranges[name] = (rate, high) if trials[-1].keeps(limit_s) else (low, rate)
    found = []
    for name in names:
        low, high = ranges[name]
        reason = None
        if alone[name] > limit_s:
            reason = f"a single call takes {1e3 * alone[name]:.3g} ms, more than the limit"
        elif not any(one.subject == name for one in trials):
            reason = f"{REQUESTS} requests, the fewest for a p99, do not fit into {seconds:.0f} s"
        elif low == 0.0:
            reason = "no rate that was tried keeps the limit"
        found.append(
            Goodput(
                subject=name,
                limit_s=limit_s,
                rate_per_s=low or None,
                fails_at_per_s=high if high < 1 / alone[name] else None,
                reason=reason,
            )
        )
    return tuple(found), tuple(trials)


def trial_row(trial: Trial) -> dict[str, Any]:
    """An entry of ``load.trials`` in ``report.json``."""
    return {
        "subject": trial.subject,
        "rate_per_s": trial.rate_per_s,
        "requests": trial.requests,
        "busy_share": trial.busy_share,
        "given_up": trial.given_up,
        **{
            f"{name}_ms": None if value is None else 1e3 * value
            for name, value in (
                ("median", trial.median_s),
                ("p90", trial.p90_s),
                ("p99", trial.p99_s),
                ("slowest", trial.slowest_s),
            )
        },
    }


def goodput_row(found: Goodput) -> dict[str, Any]:
    """An entry of ``load.goodput``."""
    plain = asdict(found)
    limit_s = plain.pop("limit_s")
    return {**plain, "limit_ms": 1e3 * limit_s}
