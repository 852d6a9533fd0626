"""From a measurement to a word: faster, slower, no measurable difference, or invalid.

In comes a Measurement, out comes a Summary with the reasons for any doubt.  numpy and scipy only;
knows nothing of clocks, runtimes or files.

Which time decides.  Latency is wall time, and wall time decides.  One exception: where one thread
works on the processor, never waits, and still its calls take longer than the processor worked for
them, others had the core meanwhile.  Then processor time decides, which is what a call takes on a
core of its own, and the measurement is NOISY for that reason.  Measured on two cores under four to
six runnable processes, network of 5 ms a call, made 10 % slower: eleven runs gave 5 to 15 % in wall
time, 9.1 to 9.4 % in processor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.measurements import Measurement
from benchmarks.speedups import FEWEST_PROCESSES, Interval, Speedup, Time, noise_floor, speedup
from benchmarks.statistics import Latency, drift, latency
from benchmarks.surroundings import Surroundings

Verdict = Literal["faster", "slower", "no measurable difference", "invalid"]
Status = Literal["VALID", "NOISY", "INVALID"]

CONTENTION_LIMIT = 1.1  # wall over process CPU time; even one busy thread gives 1.0
WAITING_LIMIT = 0.1  # switches of its own will per call; more, and the call waits for something
TWIN_SHIFT_LIMIT = 0.02
NOISE_LIMIT = 0.1
DRIFT_LIMIT = 0.15
STEAL_LIMIT = 0.02
CROWD_LIMIT = 0.2  # cores that are wanted beyond those there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one workload's samples say."""

    teacher: Latency
    student: Latency
    processes: int
    rounds: int
    decided_by: Time
    speedup: Speedup  # by the time that decides, as all that follows
    twin: Speedup
    noise_floor: float | None  # 0.03: differences under 3 % mean nothing here
    wall: Speedup
    cpu: Speedup
    verdict: Verdict
    status: Status
    reasons: tuple[str, ...]


def decide(speedup: float, interval: Interval | None, floor: float | None) -> Verdict:
    """A word for a speed-up: it must leave 1 outside its interval and exceed the noise floor."""
    if interval is None or floor is None:
        return "invalid"
    if interval[0] <= 1 <= interval[1] or abs(np.log(speedup)) <= np.log1p(floor):
        return "no measurable difference"
    return "faster" if speedup > 1 else "slower"


def deciding_time(contention: float, waits_per_call: float, *, device: str, threads: int) -> Time:
    """Processor time where one thread had to share its core, else wall time."""
    alone = device == "cpu" and threads == 1 and waits_per_call <= WAITING_LIMIT
    return "cpu" if alone and contention > CONTENTION_LIMIT else "wall"


def doubts(
    twin: Speedup,
    floor: float,
    contention: float | None,
    change: float,
    surroundings: Sequence[Surroundings],
    threads: int,
) -> tuple[str, ...]:
    """What makes a measurement noisy, in words.  ``contention`` is None off the processor."""
    found = []
    ends = twin.interval
    if ends and abs(twin.value - 1) > TWIN_SHIFT_LIMIT and not ends[0] <= 1 <= ends[1]:
        found.append(f"two copies of the teacher differ by {abs(twin.value - 1):.1%}")
    if floor > NOISE_LIMIT:
        found.append(f"differences under {floor:.0%} cannot be seen on this machine just now")
    if contention is not None and contention > CONTENTION_LIMIT:
        found.append(
            f"contention, since calls took {contention:.2f} times the process's own CPU time"
        )
    if contention is not None and surroundings:
        cores = surroundings[0].cores
        others = float(np.mean([one.others_cores for one in surroundings]))
        if threads > 1 and threads + others > cores + CROWD_LIMIT:
            found.append(
                f"{threads} threads and {others:.1f} cores' worth of other work shared {cores}"
            )
        stolen = [one.steal_share for one in surroundings if one.steal_share is not None]
        if stolen and float(np.mean(stolen)) > STEAL_LIMIT:
            found.append(f"the hypervisor took {np.mean(stolen):.0%} of the processors' time")
    if abs(change) > DRIFT_LIMIT:
        found.append(f"the teacher's own times drifted by {change:+.0%} while measuring")
    return tuple(found)


def summarize(found: Measurement, *, batch: int, device: str, threads: int = 1) -> Summary:
    """All figures of one workload.  Raises ValueError where there are no samples at all."""
    samples = found.samples
    if not samples:
        raise ValueError("no samples to summarize")
    teacher, student = (latency(samples, name, batch) for name in ("teacher", "student"))
    busy = max(teacher.contention, student.contention)
    waits = sum(one.voluntary_switches for one in found.surroundings) / len(samples)
    time = deciding_time(busy, waits, device=device, threads=threads)
    measured: dict[Time, Speedup] = {
        "wall": speedup(samples, "student", "wall"),
        "cpu": speedup(samples, "student", "cpu"),
    }
    chosen, twin = measured[time], speedup(samples, "twin", time)
    floor = noise_floor(twin)
    if floor is None:
        status: Status = "INVALID"
        reasons: tuple[str, ...] = (
            f"only {chosen.processes} processes measured, {FEWEST_PROCESSES} are needed: "
            "give more time",
        )
    else:
        reasons = doubts(
            twin,
            floor,
            busy if device == "cpu" else None,
            drift(samples),
            found.surroundings,
            threads,
        )
        if time == "cpu":
            reasons = (*reasons, "the verdict is by processor time, which others do not add to")
        status = "NOISY" if reasons else "VALID"
    return Summary(
        teacher=teacher,
        student=student,
        processes=chosen.processes,
        rounds=found.rounds,
        decided_by=time,
        speedup=chosen,
        twin=twin,
        noise_floor=floor,
        wall=measured["wall"],
        cpu=measured["cpu"],
        verdict=decide(chosen.value, chosen.interval, floor),
        status=status,
        reasons=reasons,
    )
