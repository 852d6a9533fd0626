"""The pipeline: a teacher, data and a budget become a run folder.

    capture -> analyze -> score -> plan -> remove -> prove -> repair -> distill -> export -> verify
    -> benchmark -> report

Comes in: values.  Goes out: the folder of docs/design.md, section 6.  Capture, analysis and data
are done anew when a run is continued; all else is there already, or goes on from where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from compressor import reporting
from compressor.building.claiming import claimed
from compressor.building.closing import check_key, close
from compressor.building.deployables import ship_student
from compressor.building.inputs import inputs_of
from compressor.building.speeds import measure_speeds, require_measured
from compressor.building.stages import rounded
from compressor.building.targets import for_target
from compressor.errors import DefectError, FolderError, SurroundingsError
from compressor.execution import Site, Standing, follow, require_possible, require_reachable
from compressor.judging import Judge
from compressor.loading import Teacher, fresh_start
from compressor.pacing import Deadline, Epochs
from compressor.preparing import prepare, study
from compressor.processes import is_first, own_device, told_by_first, wait
from compressor.recipes import Recipe, prune_then_distill
from compressor.removal import remove
from compressor.reporting import plain
from compressor.runs import UNFINISHED, Run
from compressor.snapshots import SnapshotFiles
from compressor.standings import file_of, forget_before, keep_standing, read_standing
from compressor.stopping import Stop
from compressor.types import FP32_ALONE, USUAL_FILES, Budget, Packaging, Precisions
from compressor.watching import Listener, Silent, Stopwatch

FRESH_SEEDS = 1000  # added to the seed: a teacher trained with it started from its own weights
DEFAULT_LENGTH = Deadline(600.0)
REPORT = "report.json"
OF_PLAN = ("analysis.json", "plan.json", "proof.json")  # where units are removed


def build(
    teacher: Teacher,
    *,
    data: str = "synthetic",
    test: str | None = None,
    recipe: Recipe | None = None,
    budget: Budget,
    out: Path | str | None = None,
    length: Deadline | Epochs | None = DEFAULT_LENGTH,
    sample: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 0,
    precisions: Precisions = FP32_ALONE,
    opset: int | None = None,
    packaging: Packaging = USUAL_FILES,
    target: str | None = None,
    probe_minutes: float = 2.0,
    bench_seconds: float = 5.0,
    full_benchmark: bool = False,
    slo_ms: float | None = None,
    restart: bool = False,
    command: Sequence[str] = (),
    listener: Listener | None = None,
    stopwatch: Stopwatch | None = None,
    stop: Stop | None = None,
) -> Path:
    """Build the student of ``teacher`` and all that shows what it is; returns the run folder.

    ``data``: an image folder, "digits" or "synthetic" (pictures synthesised from the teacher itself
    where its batch norms allow it, see ``inversion``); ``test``: a folder of its own.  ``length``
    None: no training.  ``sample``: training images that scoring, repair and calibration may see.
    ``precisions``: of the ONNX files.  ``target``: "onnxruntime:int8" and the like, whose widths
    the plan takes, probed for ``probe_minutes`` first where they are not known; None: multiples.
    ``threads`` 0 leaves torch's own number.  A folder that holds this very run is continued, or
    returned at once when complete; no other build may be at work in it (``locks``).  Under a
    launcher of several processes the first one writes.  ``stop``: who may ask it to end; training
    does so with all that it needs to go on kept.

    ``full_benchmark``: throughput and load too, with ``slo_ms`` the p99 that load must keep.

    Raises InputError kinds and leaves the folder as it was; SurroundingsError where the folder is
    in use, deleted meanwhile, or the disk refuses; ProofError and ParityError name defects; Stopped
    as ``stop`` has it.
    """
    from benchmarks.deep import require_limit

    check_key(packaging)
    recipe = recipe or prune_then_distill()
    watch = stopwatch or Stopwatch()
    listener = listener or Silent()
    folder = Path(out) if out is not None else default_folder(teacher, budget)
    require_limit(full_benchmark, slo_ms)
    inputs = inputs_of(
        teacher, data, test, recipe, budget, length, sample, seed, device, opset, packaging,
        precisions, target,
    )  # fmt: skip
    device = own_device(device)
    with claimed(folder, inputs, device=device, restart=restart, listener=listener) as run:
        if run.complete or (run.finished("report") is not None and run.intact):
            if is_first():
                require_measured(folder, full_benchmark)
            if not run.complete and is_first():
                _end(run, command, seed, packaging)
            return folder
        for note in run.upgrades:
            listener.note(note)
        _require_alike(run, device)
        with run.withdrawing() if is_first() else nullcontext():
            if is_first():
                run.begin()
            keeper = SnapshotFiles(run.unfinished, stop=stop, writes=is_first())
            studied = study(teacher, listener=listener, watch=watch)
            require_reachable(recipe.phases, studied.graph, studied.analysis, budget)
            prepared = prepare(
                teacher, studied, data, test, sample=sample, seed=seed, device=device,
                listener=listener, watch=watch, keeper=keeper.at("pictures"),
            )  # fmt: skip
            aim = for_target(
                target, budget, studied, threads, probe_minutes, device, listener, watch, run
            )
            judge = Judge(
                studied.graph, prepared.data, device, watch, trained=teacher.source.trained,
                keeper=keeper.at("answers"),
            )  # fmt: skip
            for doubt in judge.doubts:
                listener.note(doubt)
            site = Site(
                graph=studied.graph,
                fresh=partial(fresh_start, teacher, studied.graph, FRESH_SEEDS + seed),
                analysis=studied.analysis,
                data=prepared.data,
                sample=prepared.sample,
                budget=aim.budget,
                expectation=aim.expectation,
                seed=seed,
                device=device,
                judge=judge,
                listener=listener,
                watch=watch,
                keeper=keeper,
            )
            require_possible(recipe.phases, site, length)
            standing = _carried_out(recipe, site, length, run)
        if not is_first():
            return folder
        _check_structure(site, standing)
        deployables = ship_student(
            run, teacher, site, standing, precisions, opset, threads, packaging.static_batch
        )
        benchmarks = measure_speeds(
            run, site, standing, precisions, bench_seconds, threads, full_benchmark, slo_ms
        )
        run.write(
            REPORT,
            {
                **reporting.networks(teacher.source, site, standing),
                **reporting.choices(recipe, site, standing),
                "stages": plain(standing.stages),
                "proof": plain(standing.proof),
                "deployables": plain(deployables),
                **benchmarks,
                "target": aim.told(standing.plan),
                "data": reporting.data_facts(site.data),
                "environment": reporting.environment(threads),
                "seconds": rounded(watch),
                "warnings": reporting.warnings(site, standing, deployables),
                "notes": [
                    *reporting.notes(teacher, site, standing, deployables),
                    *run.upgrades,
                ],
                "command": reporting.published_command(command),
                "seed": seed,
            },
        )
        made = [name for name in (REPORT, *OF_PLAN) if (folder / name).is_file()]
        run.finish("report", {}, files=made)
        _end(run, command, seed, packaging)
        return folder


def _end(run: Run, command: Sequence[str], seed: int, packaging: Packaging) -> None:
    """Nothing but the report is needed from here on, so that what it was made from can go before
    the manifest lists what is there."""
    run.forget_unfinished()
    close(run, command, seed, packaging)


def _require_alike(run: Run, device: str) -> None:
    """All processes go on from the same place, or none does.  Raises SurroundingsError."""
    own = run.seen()
    if told_by_first(lambda: own, device) != own:
        raise SurroundingsError(
            f"{run.folder} is not the same for all processes of this run; give --out on a disk "
            "that they share"
        )
    wait(device)  # before the first one writes


def _carried_out(
    recipe: Recipe, site: Site, length: Deadline | Epochs | None, run: Run
) -> Standing:
    """All phases, those that the folder holds not anew."""
    standing = Standing(student=site.graph.copy())
    known = run.done.get("phases")
    if known is not None:
        standing = _read(run, known, site)
        site.watch.seconds.update(known["result"]["seconds"])
        site.listener.note(f"continuing after phase {standing.done}: its student is in the folder")
        wait(site.device)  # until all have read it: the first one will remove it

    def keep(after: Standing) -> None:
        if not is_first():
            return
        _write_plan(run, after, site)
        facts = keep_standing(run.unfinished, after, site.graph)
        file = f"{UNFINISHED}/{file_of(after.done)}"
        run.finish("phases", {"standing": facts, "seconds": rounded(site.watch)}, files=(file,))
        forget_before(run.unfinished, after.done)

    return follow(recipe.phases, site, length, standing, keep)


def _read(run: Run, known: Mapping[str, Any], site: Site) -> Standing:
    """The standing of the journal.  Raises FolderError where its values are not as they were."""
    if run.finished("phases") is None:
        raise FolderError(
            f"{run.folder} cannot be continued: what its journal speaks of is damaged; begin anew "
            "in it with --restart"
        )
    standing = read_standing(run.unfinished, known["result"]["standing"], site)
    if is_first():
        _write_plan(run, standing, site)
        forget_before(run.unfinished, standing.done)
    return standing


def _write_plan(run: Run, standing: Standing, site: Site) -> None:
    if standing.plan is not None:
        values = (site.analysis, standing.plan, standing.proof)
        for name, value in zip(OF_PLAN, values, strict=True):
            run.write(name, value)


def default_folder(teacher: Teacher, budget: Budget) -> Path:
    """``runs/<teacher>-<of>-<sparsity>``."""
    return Path("runs") / f"{teacher.source.name}-{budget.of}-{budget.sparsity:g}"


def _check_structure(site: Site, standing: Standing) -> None:
    """What ships must be what was proved, or the dense network: same nodes, constants, shapes."""
    student, whole = standing.student, site.graph
    if standing.plan is not None:
        whole = remove(site.graph, site.analysis, standing.plan)
    if whole.fingerprint != student.fingerprint or str(whole.program.graph) != str(
        student.program.graph
    ):
        raise DefectError("the trained student is not the structure that was proved")
