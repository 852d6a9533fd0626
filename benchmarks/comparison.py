"""Two models over several workloads: what was measured, what could not be, and why.

In come a teacher and a student as files; out come Comparisons, whose rows go into ``report.json``.
Knows nothing of how the student was made, of accuracy or of pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.dispatch import Effort, Failure, Pair, Progress, measure
from benchmarks.inputs import Signature, read_program_signature, read_signature, shapes
from benchmarks.measurements import Measurement, encode_samples
from benchmarks.runtimes import form_of, unavailable
from benchmarks.speedups import Speedup
from benchmarks.summaries import Summary, summarize
from benchmarks.workers import Source
from benchmarks.workloads import Skipped, Workload
from compressor.errors import OptionError
from compressor.files import write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network in the forms that are at hand.  Runtimes read one or the other."""

    signature: Signature
    onnx: Path | None = None
    program: Path | None = None  # .pt2, for torch
    lower: Mapping[str, Path] = field(default_factory=dict)  # ONNX files by further precisions

    @classmethod
    def of_onnx(
        cls, path: Path, program: Path | None = None, lower: Mapping[str, Path] | None = None
    ) -> Model:
        """What an ONNX file says of itself.  Raises LoadError where it is none."""
        return cls(signature=read_signature(path), onnx=path, program=program, lower=lower or {})

    @classmethod
    def of_file(cls, path: Path) -> Model:
        """An ONNX file, or a ``.pt2`` program by its suffix.  Raises LoadError."""
        if path.suffix == ".pt2":
            return cls(signature=read_program_signature(path), program=path)
        return cls.of_onnx(path)


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
    teacher: Model,
    student: Model,
    *,
    workloads: Sequence[Workload],
    effort: Effort | None = None,
    sizes: Mapping[str, int | str] | None = None,
    progress: Progress = lambda workload, process: None,
) -> Comparisons:
    """Measure every workload that can run here, runtime by runtime, in fresh processes.

    ``sizes`` are those of free dimensions beside the batch.  ``progress`` is told of each process
    before it starts.  A workload that cannot be run is skipped with the reason, never in silence
    and never by another runtime.  Raises OptionError for an effort that nothing can come of.
    """
    effort = effort or Effort()
    measured: dict[Workload, Comparison] = {}
    skipped: dict[Workload, Failure] = {}
    for files in dict.fromkeys(map(_files, workloads)):
        ready: list[Workload] = []
        for workload in workloads:
            if _files(workload) == files:
                reason = hindrance(workload, (teacher, student), sizes)
                if reason is None:
                    ready.append(workload)
                else:
                    skipped[workload] = Failure(reason=reason)
        if not ready:
            continue
        pair = Pair(
            teacher=_source(teacher, ready[0], sizes), student=_source(student, ready[0], sizes)
        )
        for workload, found in measure(pair, ready, effort, progress).items():
            if isinstance(found, Failure):
                skipped[workload] = found
                continue
            measured[workload] = Comparison(
                workload=workload,
                seed=effort.seed,
                measurement=found,
                summary=summarize(
                    found,
                    batch=workload.batch,
                    device=workload.device,
                    threads=workload.threads,
                ),
            )
    return Comparisons(
        measured=tuple(measured[one] for one in workloads if one in measured),
        skipped=tuple(
            Skipped(workload=one, reason=skipped[one].reason, refused=skipped[one].refused)
            for one in workloads
            if one in skipped
        ),
    )


def hindrance(
    workload: Workload, models: Sequence[Model], sizes: Mapping[str, int | str] | None
) -> str | None:
    """Why a workload cannot be measured here with these models; None where it can."""
    reason = unavailable(workload)
    if reason is not None:
        return reason
    for model in models:
        if _file(model, workload) is None:
            onnx = f"an ONNX file in {workload.stored}"
            form = onnx if form_of(workload) == "onnx" else "a .pt2 program"
            return f"teacher or student is not at hand as {form}"
        try:
            shapes(model.signature, workload.batch, sizes)
        except OptionError as error:
            return str(error)
    return None


def _files(workload: Workload) -> tuple[str, str, str]:
    """What decides which files are measured; workloads that agree in it share their processes."""
    return workload.runtime, workload.device, workload.stored


def _file(model: Model, workload: Workload) -> Path | None:
    if form_of(workload) != "onnx":
        return model.program
    return model.onnx if workload.stored == "fp32" else model.lower.get(workload.stored)


def _source(model: Model, workload: Workload, sizes: Mapping[str, int | str] | None) -> Source:
    path = _file(model, workload)
    assert path is not None
    return Source(path=str(path.resolve()), signature=model.signature, sizes=dict(sizes or {}))


def row(comparison: Comparison) -> dict[str, Any]:
    """The workload's entry in ``report.json``: the agreed keys, and some more."""
    found, measurement = comparison.summary, comparison.measurement
    return {
        **comparison.workload.facts,
        "teacher": asdict(found.teacher),
        "student": asdict(found.student),
        "speedup": found.speedup.value,
        "interval": found.speedup.interval and list(found.speedup.interval),
        "interval_method": f"Student's t over {found.processes} processes",
        "decided_by": found.decided_by,
        "wall_speedup": _told(found.wall),
        "cpu_speedup": _told(found.cpu),
        "verdict": found.verdict,
        "status": found.status,
        "reasons": list(found.reasons),
        "processes": found.processes,
        "rounds": found.rounds,
        "twin_speedup": found.twin.value,
        "twin_interval": found.twin.interval and list(found.twin.interval),
        "noise_floor": found.noise_floor,
        "warmup_calls": [
            sum(calls)
            for calls in zip(*(s.warmup_calls for s in measurement.sittings), strict=True)
        ],
        "steady": sum(sitting.steady for sitting in measurement.sittings),
        "surroundings": [asdict(one) for one in measurement.surroundings],
        "ran_by": measurement.ran_by,
        "stopped": measurement.stopped,
        "seconds": measurement.seconds,
        "samples": f"benchmarks/{comparison.workload.name}.json",
    }


def _told(found: Speedup) -> dict[str, Any]:
    return {"value": found.value, "interval": found.interval and list(found.interval)}


def skipped_row(skipped: Skipped) -> dict[str, Any]:
    """An entry of ``benchmarks_skipped`` in ``report.json``."""
    return {**skipped.workload.facts, "reason": skipped.reason}


def write_samples(comparisons: Comparisons, folder: Path) -> tuple[Path, ...]:
    """Write ``<runtime>-b<batch>.json`` per workload into the run's ``benchmarks/`` folder."""
    paths = []
    for one in comparisons.measured:
        path = folder / f"{one.workload.name}.json"
        write_bytes(path, encode_samples(one.measurement, one.workload, one.seed))
        paths.append(path)
    return tuple(paths)
