"""The pipeline: a teacher, data and a budget become a run folder.

    capture -> analyze -> score -> plan -> remove -> prove -> repair -> distill -> export -> verify
    -> benchmark -> report

Comes in: values.  Goes out: the folder of docs/design.md, section 6.  This module and ``cli`` alone
look upward, to ``export`` and ``benchmarks``, inside functions.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from compressor.analysis import analyze
from compressor.choosing import choose
from compressor.data import ImageData, Images, batches, open_data
from compressor.errors import DataError, DefectError, ProofError
from compressor.evaluation import output_size
from compressor.graphs import Graph
from compressor.inversion import synthesise
from compressor.loading import Teacher, capture_teacher
from compressor.pacing import Deadline, Epochs
from compressor.proof import prove
from compressor.recipes import Distill, Prune, Recipe, prune_then_distill
from compressor.recovery import Trail, evaluation_images, recover, sample_of, usual_sample
from compressor.removal import remove
from compressor.runs import Run, open_run
from compressor.scoring import Batch
from compressor.types import Analysis, Budget, Plan, Proof
from compressor.watching import Listener, Silent, Stopwatch

FORMAT = 1
EVALUATION_ONLY = (
    "the program is the network as it evaluates: what only training has (stochastic depth, dropout "
    "inside attention, auxiliary heads) is not in it"
)
PARITY_SAMPLES = 8  # batches of 1, 2 and 5
DEFAULT_LENGTH = Deadline(600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything up to the plan: no weight was touched yet."""

    graph: Graph
    data: ImageData
    sample: tuple[Batch, ...]  # of training images, for scoring and repair
    analysis: Analysis
    plan: Plan
    note: str  # how units were chosen


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
    opset: int | None = None,
    bench_seconds: float = 5.0,
    restart: bool = False,
    command: Sequence[str] = (),
    listener: Listener | None = None,
    stopwatch: Stopwatch | None = None,
) -> Path:
    """Build the student of ``teacher`` and all that shows what it is; returns the run folder.

    ``data``: an image folder, "digits" or "synthetic" (pictures synthesised from the teacher itself
    where its batch norms allow it, see ``inversion``); ``test``: a folder of its own.  ``length``
    None: no training.  ``sample``: training images that scoring and repair may see.  ``threads`` 0
    leaves torch's own number.  A folder that holds this very run is continued, or returned at once
    when complete.

    Raises InputError kinds before anything is written; ProofError and ParityError name defects.
    """
    recipe = recipe or prune_then_distill()
    watch = stopwatch or Stopwatch()
    listener = listener or Silent()
    folder = Path(out) if out is not None else default_folder(teacher, budget)
    run = open_run(
        folder,
        _inputs(teacher, data, test, recipe, budget, length, sample, seed, device, opset),
        restart=restart,
    )
    if run.complete:
        return folder
    prepared = prepare(
        teacher,
        data,
        test,
        recipe,
        budget,
        sample=sample,
        seed=seed,
        device=device,
        listener=listener,
        watch=watch,
    )
    run.begin()
    run.write("analysis.json", prepared.analysis)
    run.write("plan.json", prepared.plan)
    cut, proof = _cut(prepared, listener, watch)
    run.write("proof.json", proof)
    if "trained" in run.done:
        listener.note("continuing after training: the trained student is in the folder")
        student, trail = _read_trained(run, cut, watch)
    else:
        student, trail = recover(
            prepared.graph,
            cut,
            prepared.data,
            prepared.sample,
            recipe,
            length=length,
            seed=seed,
            device=device,
            listener=listener,
            watch=watch,
        )
        _keep_trained(run, student, trail, watch)
    _check_structure(cut, student)
    deployables = _ship(run, teacher, prepared, student, opset, threads, listener, watch)
    benchmarks = _benchmark(
        run, prepared.graph, student, bench_seconds, threads, seed, listener, watch
    )
    run.write(
        "report.json",
        {
            **_networks(teacher, prepared, trail),
            **_choices(recipe, budget, prepared.plan, trail),
            "stages": _plain(trail.stages),
            "proof": _plain(proof),
            "deployables": _plain(deployables),
            **benchmarks,
            "data": _data_facts(prepared.data),
            "environment": _environment(threads),
            "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
            "warnings": list(prepared.plan.warnings),
            "notes": _notes(teacher, prepared, trail),
            "command": _published_command(command),
            "seed": seed,
        },
    )
    _close(run, command, seed)
    return folder


def default_folder(teacher: Teacher, budget: Budget) -> Path:
    """``runs/<teacher>-<of>-<sparsity>``."""
    return Path("runs") / f"{teacher.source.name}-{budget.of}-{budget.sparsity:g}"


def prepare(
    teacher: Teacher,
    data: str,
    test: str | None,
    recipe: Recipe,
    budget: Budget,
    *,
    sample: int | None = None,
    seed: int,
    device: str = "cpu",
    listener: Listener,
    watch: Stopwatch,
) -> Prepared:
    """Capture, analyse, open the data, score and plan; nothing is written, no weight touched."""
    with watch.timed("capture"):
        listener.stage("capture")
        graph = capture_teacher(teacher)
    for note in graph.notes:
        listener.note(note)
    with watch.timed("analysis"):
        listener.stage("analyze")
        analysis = analyze(graph)
    with watch.timed("data"):
        listener.stage("data")
        opened = open_data(
            data,
            test=test,
            preprocessing=teacher.preprocessing,
            outputs=output_size(graph),
            seed=seed,
        )
    for note in opened.notes:
        listener.note(note)
    if data == "synthetic":
        opened = _synthesised(opened, graph, analysis, seed, device, listener, watch)
    with watch.timed("plan"):
        listener.stage("score and plan")
        pruning = next(phase for phase in recipe.phases if isinstance(phase, Prune))
        seen = tuple(sample_of(opened, sample or usual_sample(opened), seed))
        placed = graph if device == "cpu" else graph.copy().to(device)
        there = [(x.to(device), None if y is None else y.to(device)) for x, y in seen]
        chosen = choose(placed, analysis, budget, pruning.ways, there)
    listener.note(chosen.note)
    return Prepared(
        graph=graph,
        data=opened,
        sample=seen,
        analysis=analysis,
        plan=chosen.plan,
        note=chosen.note,
    )


def _synthesised(
    opened: ImageData,
    graph: Graph,
    analysis: Analysis,
    seed: int,
    device: str,
    listener: Listener,
    watch: Stopwatch,
) -> ImageData:
    """Pictures of the teacher's own in place of procedural ones, where it has any."""
    with watch.timed("synthesis"):
        listener.stage("synthesise pictures")
        made = synthesise(
            opened,
            graph if device == "cpu" else graph.copy().to(device),
            analysis.model.macs,
            torch.Generator().manual_seed(seed),
            listener.working,
        )
    listener.note(made.notes[-1])
    return made


# -- removal and proof -------------------------------------------------------------------------


def _cut(prepared: Prepared, listener: Listener, watch: Stopwatch) -> tuple[Graph, Proof]:
    with watch.timed("removal"):
        listener.stage("remove")
        student = remove(prepared.graph, prepared.analysis, prepared.plan)
    with watch.timed("proof"):
        listener.stage("prove")
        proof = prove(prepared.graph, student, prepared.analysis, prepared.plan)
    if not proof.passed:
        raise ProofError(
            f"the student differs from the masked teacher, first at {proof.first_wrong}; nothing "
            "was exported. This is a defect: please report the network"
        )
    return student, proof


def _check_structure(proved: Graph, student: Graph) -> None:
    """What ships must be what was proved: same nodes, constants and shapes."""
    if proved.fingerprint != student.fingerprint or str(proved.program.graph) != str(
        student.program.graph
    ):
        raise DefectError("the trained student is not the structure that was proved")


# -- the trained student on disk -----------------------------------------------------------------


def _keep_trained(run: Run, student: Graph, trail: Trail, watch: Stopwatch) -> None:
    from export.weights import write_weights

    write_weights(student, run.folder / "student.safetensors")
    seconds = {name: round(value, 3) for name, value in watch.seconds.items()}
    run.finish("trained", {"trail": _plain(trail), "seconds": seconds})


def _read_trained(run: Run, cut: Graph, watch: Stopwatch) -> tuple[Graph, Trail]:
    from safetensors.torch import load_file

    done = run.done["trained"]
    watch.seconds.update(done["seconds"])
    stored = load_file(run.folder / "student.safetensors")
    student = cut.copy()
    with torch.no_grad():
        for name, tensor in student.tensors.items():
            if name in stored:  # a tied tensor is there once
                tensor.copy_(stored[name])
    return student, msgspec.convert(done["trail"], Trail)


# -- deployables, benchmark, report --------------------------------------------------------------


def _ship(
    run: Run,
    teacher: Teacher,
    prepared: Prepared,
    student: Graph,
    opset: int | None,
    threads: int,
    listener: Listener,
    watch: Stopwatch,
) -> tuple[Any, ...]:
    from export.descriptions import Description
    from export.manifest import installed_versions
    from export.preprocessing import write_preprocessing
    from export.shipping import Subject, measure_accuracy, ship

    data = prepared.data
    labels = teacher.labels or (data.classes if len(data.classes) == output_size(student) else None)
    facts = Description(
        architecture=teacher.source.architecture,
        tool_version=installed_versions().get("compressor", "unknown"),
        preprocessing=data.preprocessing,
        labels=labels,
        teacher_sha256=teacher.source.sha256,
    )
    plan = prepared.plan
    cut = replace(facts, sparsity=plan.achieved, sparsity_of=plan.budget.of)
    images = evaluation_images(data)
    first = Images(pixels=images.pixels[:PARITY_SAMPLES], labels=None)
    samples = torch.cat([pixels for pixels, _ in batches(first, data.preprocessing, 64)])
    with watch.timed("export"):
        listener.stage("export and verify")
        shipped = ship(
            run.folder,
            Subject(name="teacher", graph=prepared.graph, description=facts),
            Subject(name="student", graph=student, description=cut),
            samples,
            opset=opset,
            threads=threads,
        )
        write_preprocessing(run.folder, data.preprocessing, labels)
    with watch.timed("evaluation"):
        listener.stage("measure the files")
        return tuple(
            replace(
                one,
                metrics=measure_accuracy(
                    run.folder / one.file, images, data.preprocessing, threads=threads
                ),
            )
            for one in shipped
        )


def _benchmark(
    run: Run,
    graph: Graph,
    student: Graph,
    seconds: float,
    threads: int,
    seed: int,
    listener: Listener,
    watch: Stopwatch,
) -> dict[str, list[dict[str, Any]]]:
    from benchmarks.comparison import compare, row, skipped_row, write_samples
    from benchmarks.workloads import usual_workloads

    listener.stage("benchmark")
    onnx = run.folder / "onnx"
    with watch.timed("benchmark"):
        found = compare(
            onnx / "teacher.onnx",
            onnx / "student.onnx",
            graph,
            student,
            tuple(graph.example_inputs[0].shape[1:]),
            workloads=usual_workloads(threads or torch.get_num_threads()),
            seconds_each=seconds,
            seed=seed,
        )
    write_samples(found, run.folder / "benchmarks")
    return {
        "benchmarks": [row(one) for one in found.measured],
        "benchmarks_skipped": [skipped_row(one) for one in found.skipped],
    }


def _close(run: Run, command: Sequence[str], seed: int) -> None:
    """The page, then the manifest: the folder is complete when it is there."""
    from benchmarks.report import read, render
    from compressor.files import write_bytes
    from export.manifest import installed_versions, write_manifest

    write_bytes(run.folder / "report.html", render(read(run.folder)).encode())
    write_manifest(run.folder, command, seed, installed_versions())


# -- what the report says -------------------------------------------------------------------------


def _networks(teacher: Teacher, prepared: Prepared, trail: Trail) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "teacher": {
            **_plain(teacher.source),
            "parameters": prepared.analysis.model.parameters,
            "macs": prepared.analysis.model.macs,
            "metrics": trail.teacher.metrics,
        },
        "student": {
            "parameters": prepared.plan.after.params,
            "macs": prepared.plan.after.macs,
            "metrics": trail.stages[-1].metrics,
            "agreement": trail.stages[-1].agreement,
        },
    }


def _choices(recipe: Recipe, budget: Budget, plan: Plan, trail: Trail) -> dict[str, Any]:
    return {
        "budget": {"sparsity": budget.sparsity, "of": budget.of, "achieved": plan.achieved},
        "recipe": {
            "name": recipe.name,
            "form": recipe.form,
            "citation": recipe.citation,
            "phases": list(trail.phases),
        },
    }


def _notes(teacher: Teacher, prepared: Prepared, trail: Trail) -> list[str]:
    origin = f"preprocessing: {teacher.preprocessing.origin}"
    captured = (EVALUATION_ONLY, *prepared.graph.notes)
    return [*teacher.notes, origin, *captured, *prepared.data.notes, prepared.note, *trail.notes]


def _environment(threads: int) -> dict[str, Any]:
    from benchmarks.environment import describe

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **describe(),
        "threads": threads or torch.get_num_threads(),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
    }


def _published_command(command: Sequence[str]) -> list[str]:
    from export.paths import reduce_argument

    return [reduce_argument(argument) for argument in command]


def _data_facts(data: ImageData) -> dict[str, Any]:
    return {
        "name": data.name,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test) if data.test is not None else None,
        "train_with_labels": data.train_with_labels,
        "seen_test_share": data.seen_test_share,
    }


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


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
) -> Mapping[str, Any]:
    """What a run depends on, as plain values; another machine path to the same data is the same."""
    pruning = [phase for phase in recipe.phases if isinstance(phase, Prune)]
    return {
        "teacher": teacher.source.sha256 or teacher.source.architecture,
        "architecture": teacher.source.architecture,
        "folded": list(teacher.folded),
        "preprocessing": _plain(teacher.preprocessing),
        "data": data_identity(data),
        "test": data_identity(test) if test else None,
        "recipe": recipe.name,
        "form": recipe.form,
        "ways": [way.name for phase in pruning for way in phase.ways],
        "sample": sample,
        "feature_weight": [p.feature_weight for p in recipe.phases if isinstance(p, Distill)],
        "budget": _plain(budget),
        "length": {type(length).__name__.lower(): _plain(length)} if length else None,
        "seed": seed,
        "device": device,
        "opset": opset,
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
