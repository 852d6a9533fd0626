"""Fresh processes, one after another, until a pair of models is measured well enough.

In come two models and the workloads of one runtime; out comes a Measurement of each, or the reason
why there is none.  Several processes, because what one process has by chance (addresses, pages,
the order of allocations) it keeps for its life.  Each process's life is bounded.  Knows nothing of
verdicts.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from benchmarks.measurements import Measurement
from benchmarks.sampling import Sample, Subject
from benchmarks.speedups import is_narrow, speedup
from benchmarks.starts import own_sources_first
from benchmarks.statistics import fewest_for
from benchmarks.workers import Job, Outcome, Source, Told, hear
from benchmarks.workloads import Workload
from compressor.errors import OptionError
from compressor.files import scratch_folder

PROCESSES = 5
MOST_PROCESSES = 1000
MOST_TIMES = 4  # as many processes as asked for, where they end early
MOST_SECONDS = 45.0  # of a workload whose calls are slow, beyond the time it was given
LIFE_SECONDS = 300.0  # of a process, beyond its share; a compiler may need minutes

COMPARED: tuple[Subject, Subject] = ("student", "twin")

Progress = Callable[[Workload, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much to measure."""

    seconds: float = 10.0  # for each workload, the start of processes included
    processes: int = PROCESSES  # at least
    within: float = 0.01  # stop early where the interval of the speed-up reaches no farther
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why nothing was measured; ``refused``: that lies in the file or an option, not here."""

    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two models of a comparison, in the form that the runtime reads."""

    teacher: Source
    student: Source


def check(effort: Effort) -> None:
    """Raises OptionError for an effort that nothing can come of."""
    if effort.processes < 3:
        raise OptionError(
            f"{effort.processes} processes: what differs from one process to the next is measured "
            "by starting several; give at least 3"
        )
    if effort.processes > MOST_PROCESSES:
        raise OptionError(f"{effort.processes} processes: give at most {MOST_PROCESSES}")
    for name, value in (("seconds", effort.seconds), ("within", effort.within)):
        if not 0 < value < math.inf:
            raise OptionError(f"--{name} {value:g}: give a number above zero")
    if effort.seed < 0:
        raise OptionError(f"--seed {effort.seed}: give 0 or more")


def measure(
    pair: Pair,
    workloads: Sequence[Workload],
    effort: Effort,
    progress: Progress = lambda workload, process: None,
) -> dict[Workload, Measurement | Failure]:
    """Measure the workloads, all of one runtime, or say why one could not be.

    Processes are started until every workload's interval is narrow enough or its time is spent,
    but as many as ``effort.processes`` in any case, unless calls are so slow that three take
    `MOST_SECONDS` longer than asked.
    """
    check(effort)
    spent = dict.fromkeys(workloads, 0.0)
    found: dict[Workload, list[Outcome]] = {workload: [] for workload in workloads}
    ended: dict[Workload, Measurement | Failure] = {}
    overrun_s = 0.0
    for process in range(MOST_TIMES * effort.processes):
        waiting = tuple(one for one in workloads if one not in ended)
        if not waiting:
            break
        progress(waiting[0], process)
        job = Job(
            teacher=pair.teacher,
            student=pair.student,
            workloads=waiting,
            process=process,
            seed=effort.seed,
            begun_s=time.monotonic(),
            share_s=_share([spent[one] for one in waiting], process, overrun_s, effort),
            within=effort.within,
        )
        outcomes = run(job)
        seconds = (time.monotonic() - job.begun_s) / len(waiting)
        overrun_s = max(seconds - job.share_s, 0.0)
        last = process + 1 == MOST_TIMES * effort.processes
        for workload, outcome in zip(waiting, outcomes, strict=True):
            spent[workload] += seconds
            if outcome.failure is not None:
                ended[workload] = Failure(reason=outcome.failure, refused=outcome.refused)
                continue
            found[workload].append(outcome)
            end = _end(found[workload], spent[workload], effort)
            if end is not None or last:
                ended[workload] = _gathered(found[workload], spent[workload], end or "time spent")
    return ended


def _share(spent: Sequence[float], process: int, overrun_s: float, effort: Effort) -> float:
    """Seconds of the next process for each workload: what is left, over the processes to come.

    What the process before took beyond its share, to end and be heard, this one will take too.
    Where earlier ones took longer, later ones get less, but never below half.
    """
    even = effort.seconds / effort.processes
    left = effort.seconds - sum(spent) / len(spent)
    return max(left / max(effort.processes - process, 1) - overrun_s, even / 2)


def run(job: Job) -> tuple[Outcome, ...]:
    """One process from start to end; one that does not end is an outcome for each.

    Where it dies, each workload gets one of its own: one alone may be too large, or crash.
    """
    limit = LIFE_SECONDS + len(job.workloads) * job.share_s
    with scratch_folder("compressor-bench-") as folder:
        told = folder / "outcomes.json"
        command = [sys.executable, "-P", "-m", "benchmarks.workers", str(told)]
        try:
            done = subprocess.run(
                command,
                input=msgspec.json.encode(job),
                capture_output=True,
                timeout=limit,
                check=False,
                env=own_sources_first(),
            )
        except subprocess.TimeoutExpired:
            return _all_failed(job, f"its process was ended after {limit:.0f} s")
        if done.returncode != 0 or not told.is_file():
            return _all_failed(job, _death(done)) if len(job.workloads) == 1 else _apart(job)
        heard = msgspec.json.decode(told.read_bytes(), type=tuple[Told, ...])
    return tuple(hear(one, job.process) for one in heard)


def _apart(job: Job) -> tuple[Outcome, ...]:
    found: list[Outcome] = []
    for workload in job.workloads:
        found += run(replace(job, workloads=(workload,), begun_s=time.monotonic()))
    return tuple(found)


def _all_failed(job: Job, reason: str) -> tuple[Outcome, ...]:
    return tuple(Outcome(failure=reason) for _ in job.workloads)


def _death(done: subprocess.CompletedProcess[bytes]) -> str:
    """One line about a process that left nothing."""
    if done.returncode == -9:
        return "its process was killed, perhaps for want of memory"
    if done.returncode < 0:
        return f"its process died of signal {-done.returncode}"
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    return f"its process failed: {lines[-1]}"


def _end(outcomes: Sequence[Outcome], seconds: float, effort: Effort) -> str | None:
    """Why measuring ends here; None where it goes on."""
    sittings = [one.sitting for one in outcomes if one.sitting is not None]
    if len(sittings) < effort.processes:
        overdue = len(sittings) >= 3 and seconds > effort.seconds + MOST_SECONDS
        return "time spent" if overdue else None
    if seconds >= effort.seconds:
        return "time spent"
    samples = [one for sitting in sittings for one in sitting.samples]
    return "narrow enough" if _narrow(samples, effort.within) else None


def _narrow(samples: Sequence[Sample], within: float) -> bool:
    """Both intervals narrow, and calls enough for the 99th percentile."""
    calls = min(sum(one.subject == name for one in samples) for name in ("teacher", "student"))
    return calls >= fewest_for(0.99) and all(
        is_narrow(speedup(samples, over), within) for over in COMPARED
    )


def _gathered(outcomes: Sequence[Outcome], seconds: float, stopped: str) -> Measurement:
    sittings = tuple(one.sitting for one in outcomes if one.sitting is not None)
    return Measurement(
        sittings=sittings,
        surroundings=tuple(one.surroundings for one in outcomes if one.surroundings is not None),
        ran_by=outcomes[0].ran_by or {},
        stopped=stopped,  # type: ignore[arg-type]
        seconds=round(seconds, 3),
    )
