"""Paired, interleaved timing of teacher, student and a second copy of the teacher.

In come three prepared calls and a limit in seconds; out comes every sample.  Each round runs the
three in a random order, so that drift, throttling and neighbours fall on all alike; the second copy
of the teacher (the twin) shows what the machine makes of no difference at all.  Clocks are
arguments.  Knows nothing of runtimes, models or what the numbers mean.
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
    """How long, in which blocks, and when to stop."""

    seconds: float = 7.0  # for the whole workload, warm-up included
    most_seconds: float = 45.0  # spent where `fewest_rounds` need longer than `seconds`
    fewest_rounds: int = 6  # the fewest whose extremes hold the median with 95 % probability
    block_seconds: float = 0.005
    most_calls: int = 20  # per block
    steady_within: float = 0.05  # warm-up ends when two windows in a row agree this well
    warmup_share: float = 0.2  # of `seconds`, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One timed call."""

    subject: Subject
    round: int
    order: int  # place of its block in the round: 0, 1 or 2
    wall_ns: int
    cpu_ns: int  # of the whole process, all threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All samples of one workload, and how they came about."""

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
    narrow_enough: Callable[[list[Sample]], bool] = lambda samples: False,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
) -> Measurement:
    """Measure the three calls in turn until ``narrow_enough`` or the time is spent.

    At least one round is made; the longer limit is used only where it reaches the fewest rounds.
    ``narrow_enough`` sees all samples after 30 rounds and after every quarter more.
    """
    plan = plan or Sampling()
    begin = clock()

    def elapsed() -> float:
        return (clock() - begin) / 1e9

    share = plan.warmup_share * plan.seconds / len(SUBJECTS)
    warm = {subject: warm_up(calls[subject], clock, plan, share) for subject in SUBJECTS}
    fastest_s = min(float(np.median(times[-5:])) for times, _ in warm.values()) / 1e9
    count = int(np.clip(round(plan.block_seconds / max(fastest_s, 1e-9)), 1, plan.most_calls))

    generator = np.random.default_rng(seed)
    samples: list[Sample] = []
    round_s = count * sum(float(np.median(times[-5:])) for times, _ in warm.values()) / 1e9
    within_reach = elapsed() + plan.fewest_rounds * round_s <= plan.most_seconds
    rounds, look_at, stopped = 0, 30, False
    while not stopped:
        few = within_reach and rounds < plan.fewest_rounds
        if rounds > 0 and elapsed() >= (plan.most_seconds if few else plan.seconds):
            break
        for order, place in enumerate(generator.permutation(len(SUBJECTS))):
            subject = SUBJECTS[place]
            samples += [
                Sample(subject=subject, round=rounds, order=order, wall_ns=wall, cpu_ns=cpu)
                for wall, cpu in run_block(calls[subject], count, clock, cpu_clock)
            ]
        rounds += 1
        if rounds >= look_at:
            look_at = rounds + rounds // 4
            stopped = narrow_enough(samples)
    return Measurement(
        samples=tuple(samples),
        rounds=rounds,
        calls_per_block=count,
        warmup_calls=tuple(len(warm[subject][0]) for subject in SUBJECTS),  # type: ignore[arg-type]
        steady=all(steady for _, steady in warm.values()),
        stopped="narrow enough" if stopped else "time spent",
        seconds=elapsed(),
    )
