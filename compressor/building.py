"""The pipeline: a teacher, data and a budget become a run folder.

    capture -> analyze -> score -> plan -> remove -> prove -> repair -> distill -> export -> verify
    -> benchmark -> report

Comes in: values.  Goes out: the folder of docs/design.md, section 6.  This module and ``cli`` alone
look upward, to ``export`` and ``benchmarks``, inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from compressor import reporting
from compressor.data import Images, batches
from compressor.errors import DataError, DefectError
from compressor.evaluation import output_size
from compressor.execution import Site, Standing, follow, require_possible
from compressor.judging import Judge
from compressor.loading import Teacher, fresh_start
from compressor.pacing import Deadline, Epochs
from compressor.preparing import Prepared, prepare
from compressor.processes import is_first, own_device, told_by_first, wait
from compressor.recipes import Recipe, prune_then_distill
from compressor.removal import remove
from compressor.reporting import plain
from compressor.runs import Run, open_run
from compressor.samples import evaluation_images
from compressor.standings import forget_standings, keep_standing, read_standing
from compressor.types import FP32_ALONE, USUAL_FILES, Budget, Packaging, Precisions
from compressor.watching import Listener, Silent, Stopwatch

PARITY_SAMPLES = 8  # batches of 1, 2 and 5
FRESH_SEEDS = 1000  # added to the seed: a teacher trained with it started from its own weights
DEFAULT_LENGTH = Deadline(600.0)


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
) -> Path:
    """Build the student of ``teacher`` and all that shows what it is; returns the run folder.

    ``data``: an image folder, "digits" or "synthetic" (pictures synthesised from the teacher itself
    where its batch norms allow it, see ``inversion``); ``test``: a folder of its own.  ``length``
    None: no training.  ``sample``: training images that scoring, repair and calibration may see.
    ``precisions``: of the ONNX files.  ``target``: "onnxruntime:int8" and the like, whose widths
    the plan takes, probed for ``probe_minutes`` first where they are not known; None: multiples.
    ``threads`` 0 leaves torch's own number.  A folder that holds this very run is continued, or
    returned at once when complete.  Under a launcher of several processes the first one writes.

    ``full_benchmark``: throughput and load too, with ``slo_ms`` the p99 that load must keep.

    Raises InputError kinds before anything is written; ProofError and ParityError name defects.
    """
    from export.precisions import inputs_of

    _check_key(packaging)
    recipe = recipe or prune_then_distill()
    watch = stopwatch or Stopwatch()
    listener = listener or Silent()
    folder = Path(out) if out is not None else default_folder(teacher, budget)
    _require_limit(full_benchmark, slo_ms)
    inputs = {
        **_inputs(
            teacher, data, test, recipe, budget, length, sample, seed, device, opset, packaging
        ),
        **inputs_of(precisions),
        "target": target,
    }
    device = own_device(device)
    if not is_first():
        wait(device)  # for the first process to decide about the folder
    run = open_run(folder, inputs, restart=restart and is_first())
    if is_first():
        wait(device)
    if run.complete:
        return folder
    prepared = prepare(
        teacher, data, test, sample=sample, seed=seed, device=device, listener=listener, watch=watch
    )
    aim = for_target(target, budget, prepared, threads, probe_minutes, device, listener, watch)
    site = Site(
        graph=prepared.graph,
        fresh=partial(fresh_start, teacher, prepared.graph, FRESH_SEEDS + seed),
        analysis=prepared.analysis,
        data=prepared.data,
        sample=prepared.sample,
        budget=aim.budget,
        seed=seed,
        device=device,
        judge=Judge(prepared.graph, prepared.data, device, watch, trained=teacher.source.trained),
        listener=listener,
        watch=watch,
    )
    require_possible(recipe.phases, site, length)
    standing = _carried_out(recipe, site, length, run)
    if not is_first():
        return folder
    _check_structure(site, standing)
    deployables = _ship(
        run, teacher, site, standing, precisions, opset, threads, packaging.static_batch
    )
    benchmarks = _benchmark(
        run, site, standing, precisions, bench_seconds, threads, full_benchmark, slo_ms
    )
    run.write(
        "report.json",
        {
            **reporting.networks(teacher.source, site, standing),
            **reporting.choices(recipe, site, standing),
            "stages": plain(standing.stages),
            "proof": plain(standing.proof),
            "deployables": plain(deployables),
            **benchmarks,
            "target": aim.facts,
            "data": reporting.data_facts(site.data),
            "environment": reporting.environment(threads),
            "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
            "warnings": reporting.warnings(standing, deployables),
            "notes": reporting.notes(teacher, site, standing, deployables),
            "command": reporting.published_command(command),
            "seed": seed,
        },
    )
    forget_standings(folder)
    _close(run, command, seed, packaging)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A budget with the widths that a target likes, and what the report says of these."""

    budget: Budget
    facts: Mapping[str, Any] | None


def for_target(
    target: str | None,
    budget: Budget,
    prepared: Prepared,
    threads: int,
    minutes: float,
    device: str,
    listener: Listener,
    watch: Stopwatch,
) -> Aim:
    """Have the widths of every group measured, or read what was measured before.

    Raises OptionError for a target that is unknown or cannot run here.
    """
    if target is None:
        return Aim(budget=budget, facts=None)
    from benchmarks.probe.choices import choose_for
    from benchmarks.probe.targets import parse_target
    from benchmarks.probe.telling import note

    def found() -> tuple[Budget, dict[str, Any], str]:
        chosen = choose_for(
            prepared.graph,
            prepared.analysis,
            parse_target(target, threads=threads or torch.get_num_threads()),
            minutes=minutes,
            announce=listener.note,
            progress=listener.working,
        )
        return chosen.on(budget), chosen.facts(), note(chosen)

    listener.stage(f"widths for {target}")
    with watch.timed("probe"):
        aimed, facts, told = told_by_first(found, device)
    listener.note(told)
    return Aim(budget=aimed, facts=facts)


def _carried_out(
    recipe: Recipe, site: Site, length: Deadline | Epochs | None, run: Run
) -> Standing:
    """All phases, those that the folder holds not anew."""
    standing = Standing(student=site.graph.copy())
    known = run.done.get("phases")
    if known is not None:
        standing = read_standing(run.folder, known["standing"], site)
        site.watch.seconds.update(known["seconds"])
        site.listener.note(f"continuing after phase {standing.done}: its student is in the folder")

    def keep(after: Standing) -> None:
        if not is_first():
            return
        run.begin()
        if after.plan is not None:
            run.write("analysis.json", site.analysis)
            run.write("plan.json", after.plan)
            run.write("proof.json", after.proof)
        seconds = {name: round(value, 3) for name, value in site.watch.seconds.items()}
        facts = keep_standing(run.folder, after, site.graph)
        run.finish("phases", {"standing": facts, "seconds": seconds})
        forget_standings(run.folder, after.done)

    return follow(recipe.phases, site, length, standing, keep)


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


# -- deployables, benchmark, report --------------------------------------------------------------


def _ship(
    run: Run,
    teacher: Teacher,
    site: Site,
    standing: Standing,
    precisions: Precisions,
    opset: int | None,
    threads: int,
    static_batch: bool,
) -> tuple[Any, ...]:
    from export.descriptions import Description
    from export.manifest import installed_versions
    from export.precisions import precisions_of
    from export.preprocessing import write_preprocessing
    from export.shipping import Subject, measure, ship
    from export.weights import write_weights

    data, student, plan = site.data, standing.student, standing.plan
    write_weights(student, run.folder / "student.safetensors")
    labels = teacher.labels or (data.classes if len(data.classes) == output_size(student) else None)
    facts = Description(
        architecture=teacher.source.architecture,
        tool_version=installed_versions().get("compressor", "unknown"),
        preprocessing=data.preprocessing,
        labels=labels,
        teacher_sha256=teacher.source.sha256,
    )
    cut = replace(facts, sparsity=plan.achieved, sparsity_of=plan.budget.of) if plan else facts
    images = evaluation_images(data)
    first = Images(pixels=images.pixels[:PARITY_SAMPLES], labels=None)
    samples = torch.cat([pixels for pixels, _ in batches(first, data.preprocessing, 64)])
    with site.watch.timed("export"):
        site.listener.stage("export and verify")
        shipped = ship(
            run.folder,
            Subject(name="teacher", graph=site.graph, description=facts),
            Subject(name="student", graph=student, description=cut),
            samples,
            precisions=precisions_of(precisions.names),
            examples=_examples(site, precisions.calibration),
            opset=opset,
            threads=threads,
            static_batch=static_batch,
        )
        write_preprocessing(run.folder, data.preprocessing, labels)
    with site.watch.timed("evaluation"):
        site.listener.stage("measure the files")
        return measure(
            run.folder,
            shipped,
            images,
            data.preprocessing,
            samples,
            max_drop=precisions.max_drop,
            threads=threads,
        )


def _require_limit(full_benchmark: bool, slo_ms: float | None) -> None:
    """Raises OptionError before anything is built for a limit that would be refused at the end."""
    from benchmarks.deep import require_limit

    require_limit(full_benchmark, slo_ms)


def _examples(site: Site, calibration: str) -> Any:
    """Training images as lower precisions see them, some of those that scoring saw."""
    from export.lowering import CALIBRATION_IMAGES, Examples

    inputs = torch.cat([x for x, _ in site.sample])[:CALIBRATION_IMAGES]
    size = len(site.sample[0][0])  # as many at a time as scoring looked at
    return Examples(
        batches=lambda: ((part.numpy(),) for part in inputs.split(size)),
        images=len(inputs),
        source="synthetic pictures" if site.data.name == "synthetic" else "training images",
        method=calibration,
    )


def _benchmark(
    run: Run,
    site: Site,
    standing: Standing,
    precisions: Precisions,
    seconds: float,
    threads: int,
    full_benchmark: bool,
    slo_ms: float | None,
) -> dict[str, Any]:
    from benchmarks import deep
    from benchmarks.comparison import Model, compare, row, skipped_row, write_samples
    from benchmarks.dispatch import Effort
    from benchmarks.workloads import usual_workloads
    from compressor.graphs import export_program
    from export.precisions import FP32, precisions_of
    from export.programs import write_program

    if standing.plan is None or seconds == 0:  # zeros cost as much as other numbers
        return {"benchmarks": [], "benchmarks_skipped": []}
    site.listener.stage("benchmark")
    onnx = run.folder / "onnx"
    further = [one for one in precisions_of(precisions.names) if one != FP32]

    def model(network: str, program: Path) -> Model:
        lower = {one.name: run.folder / one.file(network) for one in further}
        return Model.of_onnx(run.folder / FP32.file(network), program, lower)

    with site.watch.timed("benchmark"), TemporaryDirectory() as place:
        teacher = Path(place) / "teacher.pt2"  # measured like the student, but no deployable
        write_program(export_program(site.graph), teacher)
        found = compare(
            model("teacher", teacher),
            model("student", run.folder / "student.pt2"),
            workloads=usual_workloads(
                threads or torch.get_num_threads(), stored=tuple(one.name for one in further)
            ),
            effort=Effort(seconds=seconds, seed=site.seed),
        )
        deeper = deep.measure(
            onnx / "teacher.onnx",
            onnx / "student.onnx",
            tuple(site.graph.example_inputs[0].shape[1:]),
            deep.Settings(
                threads=threads or torch.get_num_threads(),
                full=full_benchmark,
                slo_ms=slo_ms,
                processes=3 if seconds >= 1 else 1,
                profile_seconds=min(2.0, seconds),
                energy_seconds=min(3.0, seconds),
                seed=site.seed,
            ),
            progress=lambda stage: site.listener.note(f"measuring {stage}"),
        )
    write_samples(found, run.folder / "benchmarks")
    return {
        "benchmarks": [row(one) for one in found.measured],
        "benchmarks_skipped": [skipped_row(one) for one in found.skipped],
        **deeper,
    }


def _check_key(packaging: Packaging) -> None:
    """A key that cannot sign is refused before hours of training, not after."""
    if packaging.sign_key is not None:
        from export.signatures import check_key

        check_key(Path(packaging.sign_key))


def _close(run: Run, command: Sequence[str], seed: int, packaging: Packaging) -> None:
    """The pages, then what makes a product of the folder, last the manifest and the signature."""
    from benchmarks import markdown
    from benchmarks.report import read, render
    from compressor.files import write_bytes
    from export.products import finish, product_name

    found = read(run.folder)
    write_bytes(run.folder / "report.html", render(found).encode())
    write_bytes(run.folder / "report.md", markdown.render(found.report).encode())
    finish(
        run.folder,
        product_name(found.report),
        found.report,
        packaging=packaging,
        command=command,
        seed=seed,
    )


def _inputs(
    teacher: Teacher,
    data: str,
    test: str | None,
    recipe: Recipe,
    budget: Budget,
    length: Deadline | Epochs | None,
    sample: int | None,
    seed: int,
    device: str,
    opset: int | None,
    packaging: Packaging,
) -> Mapping[str, Any]:
    """What a run depends on, as plain values; another machine path to the same data is the same."""
    return {
        "teacher": teacher.source.sha256 or teacher.source.architecture,
        "architecture": teacher.source.architecture,
        "folded": list(teacher.folded),
        "preprocessing": plain(teacher.preprocessing),
        "data": data_identity(data),
        "test": data_identity(test) if test else None,
        "recipe": recipe.name,
        "form": recipe.form,
        "choices": dict(recipe.choices),
        "sample": sample,
        "budget": plain(budget),
        "length": {type(length).__name__.lower(): plain(length)} if length else None,
        "seed": seed,
        "device": device,
        "opset": opset,
        "static_batch": packaging.static_batch,
        "triton": packaging.triton,
        "signed": packaging.sign_key is not None,
    }


def data_identity(spec: str) -> Any:
    """The name of built-in data, or a folder's files by relative path and size."""
    import hashlib

    folder = Path(spec)
    if spec in ("digits", "synthetic"):
        return spec
    if not folder.is_dir():
        raise DataError(
            f"{spec}: no such folder; give --data a folder of images, digits or synthetic"
        )
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            line = f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n"
            digest.update(line.encode())
    return {"name": folder.name, "files": digest.hexdigest()}
