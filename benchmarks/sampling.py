"""Paired, interleaved timing of teacher, student and a second copy of the teacher, in one process.

In come three prepared calls and a limit in seconds; out comes every sample.  Each round runs the
three in a random order, so that drift, throttling and neighbours fall on all alike; the second copy
of the teacher (the twin) shows what the machine makes of no difference at all.  Clocks are
arguments.  Knows nothing of runtimes, models, other processes or what the numbers mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Subject = Literal["teacher", "student", "twin"]
SUBJECTS: tuple[Subject, ...] = ("teacher", "student", "twin")
Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How long in this process, in which blocks, and when to stop."""

    seconds: float = 2.0  # warm-up included
    fewest_rounds: int = 1  # made also where they take longer than `seconds`
    block_seconds: float = 0.005
    most_calls: int = 20  # per block
    steady_within: float = 0.05  # warm-up ends when two windows in a row agree this well
    warmup_share: float = 0.3  # of `seconds`, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One timed call."""

    subject: Subject
    round: int  # within its process
    order: int  # place of its block in the round: 0, 1 or 2
    wall_ns: int
    cpu_ns: int  # of the whole process, all threads
    process: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """All samples of one workload in one process, and how they came about."""

    samples: tuple[Sample, ...]
    rounds: int
    calls_per_block: int
    warmup_calls: tuple[int, int, int]  # in the order of SUBJECTS
    steady: bool  # False: warm-up ended at its cap, not in a steady state
    stopped: Literal["narrow enough", "time spent"]
    seconds: float


def warm_up(
    call: Callable[[], object], clock: Clock, plan: Sampling, seconds: float
) -> tuple[list[int], bool]:
    """Call until two windows of five calls have medians within ``steady_within``.

    Returns the times in nanoseconds and whether a steady state was seen before ``seconds`` passed.
    One call is always made.
    """
    times: list[int] = []
    begin = clock()
    while True:
        start = clock()
        call()
        end = clock()
        times.append(end - start)
        if len(times) >= 10 and len(times) % 5 == 0:
            late, early = float(np.median(times[-5:])), float(np.median(times[-10:-5]))
            if abs(late - early) <= plan.steady_within * early:
                return times, True
        if (end - begin) / 1e9 >= seconds:
            return times, False


def run_block(
    call: Callable[[], object], calls: int, clock: Clock, cpu_clock: Clock
) -> list[tuple[int, int]]:
    """Time ``calls`` calls one by one: pairs of wall and process CPU nanoseconds.

    A block of several calls begins with one that is not timed: the subject before left the caches
    full of its own weights, which nobody who serves a single model ever sees.
    """
    if calls > 1:
        call()
    pairs = []
    for _ in range(calls):
        cpu, wall = cpu_clock(), clock()
        call()
        wall_end, cpu_end = clock(), cpu_clock()
        pairs.append((wall_end - wall, cpu_end - cpu))
    return pairs


def sample(
    calls: Mapping[Subject, Callable[[], object]],
    *,
    seed: int,
    plan: Sampling | None = None,
    process: int = 0,
    narrow_enough: Callable[[list[Sample]], bool] = lambda samples: False,
    when_warm: Callable[[], None] = lambda: None,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
) -> Sitting:
    """Measure the three calls in turn until ``narrow_enough`` or the time is spent.

    ``narrow_enough`` sees all samples after 30 rounds and after every quarter more; ``when_warm``
    is called once, between warm-up and the first round.
    """
    plan = plan or Sampling()
    begin = clock()

    def elapsed() -> float:
        return (clock() - begin) / 1e9

    share = plan.warmup_share * plan.seconds / len(SUBJECTS)
    warm = {subject: warm_up(calls[subject], clock, plan, share) for subject in SUBJECTS}
    fastest_s = min(float(np.median(times[-5:])) for times, _ in warm.values()) / 1e9
    count = int(np.clip(round(plan.block_seconds / max(fastest_s, 1e-9)), 1, plan.most_calls))

    when_warm()
    generator = np.random.default_rng((seed, process))
    samples: list[Sample] = []
    rounds, look_at, stopped = 0, 30, False
    while not stopped:
        if rounds >= plan.fewest_rounds and elapsed() >= plan.seconds:
            break
        for order, place in enumerate(generator.permutation(len(SUBJECTS))):
            subject = SUBJECTS[place]
            samples += [
                Sample(
                    subject=subject,
                    round=rounds,
                    order=order,
                    wall_ns=wall,
                    cpu_ns=cpu,
                    process=process,
                )
                for wall, cpu in run_block(calls[subject], count, clock, cpu_clock)
            ]
        rounds += 1
        if rounds >= look_at:
            look_at = rounds + rounds // 4
            stopped = narrow_enough(samples)
    return Sitting(
        samples=tuple(samples),
        rounds=rounds,
        calls_per_block=count,
        warmup_calls=tuple(len(warm[subject][0]) for subject in SUBJECTS),  # type: ignore[arg-type]
        steady=all(steady for _, steady in warm.values()),
        stopped="narrow enough" if stopped else "time spent",
        seconds=elapsed(),
    )
