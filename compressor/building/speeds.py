"""What the removal gained: teacher and student timed in pairs, and why the gain is what it is.

Comes in: a run folder with its ONNX files.  Goes out: keys of ``report.json``.  Knows nothing of
how the student was made.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from compressor.building.stages import Made, files_in, once
from compressor.errors import FolderError
from compressor.execution import Site, Standing
from compressor.files import scratch_folder
from compressor.runs import Run
from compressor.types import Precisions


def require_measured(folder: Path, full_benchmark: bool) -> None:
    """Raises FolderError where a finished run has less than is asked for now."""
    from benchmarks.report import open_run

    if full_benchmark and not open_run(folder).report.get("throughput"):
        raise FolderError(
            f"{folder} holds a finished run without throughput and load; name another folder with "
            "--out, or begin anew in it with --restart"
        )


def measure_speeds(
    run: Run,
    site: Site,
    standing: Standing,
    precisions: Precisions,
    seconds: float,
    threads: int,
    full_benchmark: bool,
    slo_ms: float | None,
) -> dict[str, Any]:
    """The comparison and what explains it: two stages, both journaled."""
    if standing.plan is None or seconds == 0:  # zeros cost as much as other numbers
        return {"benchmarks": [], "benchmarks_skipped": []}
    site.listener.stage("benchmark")
    asked = [run.mark("export"), seconds, threads]
    used = threads or torch.get_num_threads()

    def compared() -> Made:
        return _compare(run, site, precisions, seconds, used)

    def explained() -> Made:
        return _explain(run, site, precisions, seconds, used, full_benchmark, slo_ms)

    return {
        **once(run, site.watch, "benchmark", asked, compared),
        **once(run, site.watch, "explanation", [*asked, full_benchmark, slo_ms], explained),
    }


def _compare(run: Run, site: Site, precisions: Precisions, seconds: float, threads: int) -> Made:
    from benchmarks.comparison import Model, compare, row, skipped_row, write_samples
    from benchmarks.dispatch import Effort
    from benchmarks.workloads import usual_workloads
    from compressor.graphs import export_program
    from export.precisions import FP32, precisions_of
    from export.programs import write_program

    further = [one for one in precisions_of(precisions.names) if one != FP32]

    def model(network: str, program: Path) -> Model:
        lower = {one.name: run.folder / one.file(network) for one in further}
        return Model.of_onnx(run.folder / FP32.file(network), program, lower)

    with site.watch.timed("benchmark"), scratch_folder() as place:
        teacher = place / "teacher.pt2"  # measured like the student, but no deployable
        write_program(export_program(site.graph), teacher)
        found = compare(
            model("teacher", teacher),
            model("student", run.folder / "student.pt2"),
            workloads=usual_workloads(threads, stored=tuple(one.name for one in further)),
            effort=Effort(seconds=seconds, seed=site.seed),
        )
    shutil.rmtree(run.folder / "benchmarks", ignore_errors=True)  # of a comparison before
    write_samples(found, run.folder / "benchmarks")
    value = {
        "benchmarks": [row(one) for one in found.measured],
        "benchmarks_skipped": [skipped_row(one) for one in found.skipped],
    }
    return Made(value=value, files=files_in(run, "benchmarks/*"))


def _explain(
    run: Run,
    site: Site,
    precisions: Precisions,
    seconds: float,
    threads: int,
    full_benchmark: bool,
    slo_ms: float | None,
) -> Made:
    from benchmarks import deep
    from benchmarks.explanations import Pair
    from export.precisions import FP32, Precision, precisions_of

    def pair(precision: Precision) -> Pair:
        teacher, student = (run.folder / precision.file(one) for one in ("teacher", "student"))
        return teacher, student

    with site.watch.timed("benchmark"):
        found = deep.measure(
            *pair(FP32),
            tuple(site.graph.example_inputs[0].shape[1:]),
            deep.Settings(
                threads=threads,
                full=full_benchmark,
                slo_ms=slo_ms,
                processes=3 if seconds >= 1 else 1,
                profile_seconds=min(2.0, seconds),
                energy_seconds=min(3.0, seconds),
                seed=site.seed,
            ),
            lower={one.name: pair(one) for one in precisions_of(precisions.names) if one != FP32},
            progress=lambda stage: site.listener.note(f"measuring {stage}"),
        )
    return Made(value=found)
