"""Teacher against student over several workloads: raw samples to files, one row per workload.

In come two ONNX files, two modules and the shape of one input; out come Comparisons, whose rows go
into ``report.json``.  Knows nothing of how the student was made, of accuracy or of pages.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.runtimes import runtime_for, unavailable
from benchmarks.sampling import SUBJECTS, Clock, Measurement, Sample, Sampling, sample
from benchmarks.statistics import Summary, is_narrow, summarize
from benchmarks.workloads import Skipped, Workload
from compressor.files import write_bytes

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One workload: what was measured and what it says."""

    workload: Workload
    seed: int
    measurement: Measurement
    summary: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """What was measured, and what could not be, with the reason."""

    measured: tuple[Comparison, ...]
    skipped: tuple[Skipped, ...]


def compare(
    teacher_onnx: Path | None,
    student_onnx: Path | None,
    teacher_module: nn.Module | None,
    student_module: nn.Module | None,
    input_shape: tuple[int, ...],
    *,
    workloads: Sequence[Workload],
    seconds_each: float = 7.0,
    seed: int = 0,
    progress: Callable[[Workload], None] = lambda workload: None,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
) -> Comparisons:
    """Measure every workload that can run here.

    ``input_shape`` is that of one input, without the batch; inputs are standard normal float32
    from ``seed``.  ``progress`` is told each workload before it begins.  Modules are copied, not
    changed.  Raises LoadError where a file cannot be run, SurroundingsError where another provider
    would run it.
    """
    measured: list[Comparison] = []
    skipped: list[Skipped] = []
    for workload in workloads:
        pair: tuple[Any, Any] = (
            (teacher_onnx, student_onnx)
            if workload.runtime == "onnxruntime"
            else (teacher_module, student_module)
        )
        reason = unavailable(workload)
        if reason is None and None in pair:
            reason = "teacher or student is not at hand in this form"
        if reason is not None:
            skipped.append(Skipped(workload=workload, reason=reason))
            continue
        progress(workload)
        plan = Sampling(seconds=seconds_each)
        measurement = measure(workload, pair, input_shape, plan, seed, clock, cpu_clock)
        summary = summarize(measurement, batch=workload.batch, device=workload.device, seed=seed)
        measured.append(
            Comparison(workload=workload, seed=seed, measurement=measurement, summary=summary)
        )
    return Comparisons(measured=tuple(measured), skipped=tuple(skipped))


def measure(
    workload: Workload,
    pair: tuple[Any, Any],
    input_shape: tuple[int, ...],
    plan: Sampling,
    seed: int,
    clock: Clock,
    cpu_clock: Clock,
) -> Measurement:
    """Prepare teacher, student and a second copy of the teacher, and time them in turn."""
    runtime = runtime_for(workload)
    teacher, student = pair
    models = {"teacher": teacher, "student": student, "twin": teacher}
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((workload.batch, *input_shape), dtype=np.float32)
    collecting = gc.isenabled()
    gc.disable()  # a collection would fall into whichever call happens to be timed
    try:
        with runtime.settings():
            placed = runtime.place(inputs)
            ready = {subject: runtime.prepare(models[subject]) for subject in SUBJECTS}
            return sample(
                {subject: lambda run=run: run(placed) for subject, run in ready.items()},  # type: ignore[misc]
                seed=seed,
                plan=plan,
                narrow_enough=is_narrow,
                clock=clock,
                cpu_clock=cpu_clock,
            )
    finally:
        if collecting:
            gc.enable()


def row(comparison: Comparison) -> dict[str, Any]:
    """The workload's entry in ``report.json``: the agreed keys, and some more."""
    found = comparison.summary
    return {
        **asdict(comparison.workload),
        "teacher": asdict(found.teacher),
        "student": asdict(found.student),
        "speedup": found.speedup,
        "interval": found.interval and list(found.interval),
        "interval_method": found.interval_method,
        "verdict": found.verdict,
        "status": found.status,
        "reasons": list(found.reasons),
        "rounds": found.rounds,
        "twin_speedup": found.twin_speedup,
        "twin_interval": found.twin_interval and list(found.twin_interval),
        "noise_floor": found.noise_floor,
        "warmup_calls": list(comparison.measurement.warmup_calls),
        "stopped": comparison.measurement.stopped,
        "seconds": comparison.measurement.seconds,
        "samples": f"benchmarks/{comparison.workload.name}.json",
    }


def skipped_row(skipped: Skipped) -> dict[str, Any]:
    """An entry of ``benchmarks_skipped`` in ``report.json``."""
    return {**asdict(skipped.workload), "reason": skipped.reason}


def encode_samples(comparison: Comparison) -> bytes:
    """Every raw sample as JSON, by columns (``subject`` counts through ``subjects``)."""
    found = comparison.measurement
    return msgspec.json.encode(
        {
            "format": FORMAT,
            "workload": asdict(comparison.workload),
            "seed": comparison.seed,
            "rounds": found.rounds,
            "calls_per_block": found.calls_per_block,
            "warmup_calls": found.warmup_calls,
            "steady": found.steady,
            "stopped": found.stopped,
            "seconds": found.seconds,
            "subjects": SUBJECTS,
            "samples": {
                "subject": [SUBJECTS.index(one.subject) for one in found.samples],
                "round": [one.round for one in found.samples],
                "order": [one.order for one in found.samples],
                "wall_ns": [one.wall_ns for one in found.samples],
                "cpu_ns": [one.cpu_ns for one in found.samples],
            },
        }
    )


def decode_samples(content: bytes) -> tuple[Sample, ...]:
    """The samples of a file that `encode_samples` filled."""
    document = msgspec.json.decode(content)
    columns = document["samples"]
    names = ("subject", "round", "order", "wall_ns", "cpu_ns")
    return tuple(
        Sample(
            subject=document["subjects"][subject], round=turn, order=order, wall_ns=wall, cpu_ns=cpu
        )
        for subject, turn, order, wall, cpu in zip(*(columns[name] for name in names), strict=True)
    )


def write_samples(comparisons: Comparisons, folder: Path) -> tuple[Path, ...]:
    """Write ``<runtime>-b<batch>.json`` per workload into the run's ``benchmarks/`` folder."""
    paths = []
    for comparison in comparisons.measured:
        path = folder / f"{comparison.workload.name}.json"
        write_bytes(path, encode_samples(comparison))
        paths.append(path)
    return tuple(paths)
