"""A fresh process that measures: one job comes in as JSON, outcomes go out as JSON.

    python -m benchmarks.workers OUTCOMES < JOB

A job is a pair of models and the workloads of one runtime.  Every model is loaded anew, in an order
of its own in each process, so that where models lie in memory is left to chance and not always the
same in favour of the first.  A workload that fails is told in one line and the next goes on.  Knows
nothing of statistics; `benchmarks.dispatch` starts it and ends it.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.inputs import Signature, make_inputs
from benchmarks.runtimes import Prepared, runtime_for
from benchmarks.sampling import SUBJECTS, Sample, Sampling, Sitting, Subject, sample
from benchmarks.speedups import rounds_are_narrow
from benchmarks.surroundings import Counters, Surroundings, between, look
from benchmarks.workloads import Workload
from compressor.errors import CompressorError, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model as a worker finds it: a file, and the inputs it takes."""

    path: str
    signature: Signature
    sizes: dict[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process is asked to do."""

    teacher: Source
    student: Source
    workloads: tuple[Workload, ...]
    process: int
    seed: int
    begun_s: float  # time.monotonic() when the process was started
    share_s: float  # for each workload; starting and loading are part of it
    within: float  # stop where rounds place the ratio this well


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One workload in one process: a sitting, or why there is none."""

    sitting: Sitting | None = None
    surroundings: Surroundings | None = None
    ran_by: dict[str, str] | None = None
    failure: str | None = None
    refused: bool = False  # the failure is the file's or an option's, not the machine's


def carry_out(job: Job) -> Iterator[Outcome]:
    """Measure the workloads in turn; one that fails becomes an outcome that says so."""
    for place, workload in enumerate(job.workloads):
        try:
            yield sit(job, workload, until_s=job.begun_s + (place + 1) * job.share_s)
        except CompressorError as error:
            told = without_folders(str(error), _files(job))
            yield Outcome(failure=told, refused=isinstance(error, InputError))
        except Exception as error:  # a runtime may raise anything; the other workloads go on
            lines = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0]}"
            yield Outcome(failure=without_folders(reason, _files(job)))


def without_folders(reason: str, files: Iterable[Path]) -> str:
    """Reports name files, not where they lie on this machine."""
    for path in files:
        reason = reason.replace(str(path), path.name)
    return reason


def _files(job: Job) -> tuple[Path, Path]:
    return Path(job.teacher.path), Path(job.student.path)


def sit(job: Job, workload: Workload, until_s: float) -> Outcome:
    """Load the pair and the twin, and time them until ``until_s`` on the monotonic clock.

    At least half of the share is for timing, however long loading took.
    """
    runtime = runtime_for(workload)
    sources: dict[Subject, Source] = {
        "teacher": job.teacher,
        "student": job.student,
        "twin": job.teacher,
    }
    order = np.random.default_rng((job.seed, job.process, 1)).permutation(len(SUBJECTS))
    with runtime.settings(), _uncollected():
        ready: dict[Subject, tuple[Prepared, Any]] = {}
        for subject in (SUBJECTS[place] for place in order):
            source = sources[subject]
            feed = make_inputs(source.signature, workload.batch, sizes=source.sizes, seed=job.seed)
            prepared, placed = runtime.prepare(Path(source.path)), runtime.place(feed)
            if prepared.late:
                prepared(placed)
            ready[subject] = (prepared, placed)
        left = until_s - time.monotonic()
        plan = Sampling(seconds=max(left, job.share_s / 2))
        before: list[Counters] = []
        sitting = sample(
            {
                subject: lambda call=prepared.call, placed=placed: call(placed)  # type: ignore[misc]
                for subject, (prepared, placed) in ready.items()
            },
            seed=job.seed,
            plan=plan,
            process=job.process,
            narrow_enough=lambda samples: rounds_are_narrow(samples, job.within),
            when_warm=lambda: before.append(look()),  # a first call may wait for its own threads
        )
        return Outcome(
            sitting=sitting,
            surroundings=between(before[-1], look()),
            ran_by={subject: prepared.ran_by for subject, (prepared, _) in ready.items()},
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: it would fall into whichever call happens to be timed."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


# -- samples by columns ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An outcome as it is written: a sample is a row of five numbers."""

    outcome: Outcome
    rows: tuple[tuple[int, int, int, int, int], ...] = ()


def tell(outcome: Outcome) -> Told:
    """Take the samples out of the sitting: as objects they would be most of the file."""
    if outcome.sitting is None:
        return Told(outcome=outcome)
    rows = tuple(
        (SUBJECTS.index(one.subject), one.round, one.order, one.wall_ns, one.cpu_ns)
        for one in outcome.sitting.samples
    )
    return Told(outcome=_with_samples(outcome, ()), rows=rows)


def hear(told: Told, process: int) -> Outcome:
    """The outcome with its samples."""
    samples = tuple(
        Sample(
            process=process,
            subject=SUBJECTS[subject],
            round=turn,
            order=order,
            wall_ns=wall,
            cpu_ns=cpu,
        )
        for subject, turn, order, wall, cpu in told.rows
    )
    return _with_samples(told.outcome, samples)


def _with_samples(outcome: Outcome, samples: tuple[Sample, ...]) -> Outcome:
    if outcome.sitting is None:
        return outcome
    return replace(outcome, sitting=replace(outcome.sitting, samples=samples))


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    told = [tell(outcome) for outcome in carry_out(job)]
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
