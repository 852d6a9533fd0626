"""One cell of the study: a teacher, a share, a seed and an arm become a measured student.

Comes in: a ``Bench``, which is a teacher with its data, and an ``Arm``.  Goes out: a ``Cell``, and
the student's ONNX file in the study folder.  Both tools' students pass through the same captures,
the same counting and the same training.  Knows nothing of which cells there are, or of pages.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from fnmatch import fnmatch

import torch
from torch import Tensor

from benchmarks.studies.peers_bench import Bench, answers, onnx_file, timed, write_file
from benchmarks.studies.peers_records import Arm, Cell, student_name
from benchmarks.studies.peers_torch_pruning import cut as cut_by_torch_pruning
from benchmarks.studies.records import sources_of_compressor
from compressor.analysis import analyze
from compressor.choosing import choose
from compressor.distillation import Distilled, distill
from compressor.errors import DefectError, ProofError
from compressor.evaluation import logits_of
from compressor.graphs import Graph, capture
from compressor.loading import capture_teacher
from compressor.optimisation import REPAIRED_NORMED, REPAIRED_PLAIN, fitting_settings
from compressor.pacing import Epochs
from compressor.proof import prove
from compressor.refitting import choose_repair, reestimate_batch_norm
from compressor.removal import remove
from compressor.samples import sample_of
from compressor.scoring import Batch
from compressor.types import Analysis, Budget, Plan
from compressor.watching import Stopwatch
from compressor.ways import AUTO, find_ways

SOURCES = sources_of_compressor()  # when they were imported, whatever becomes of the files
SAME = 1e-4  # of two forms of one network, relative where answers exceed one


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A student as cut, with what pruning it took."""

    student: Graph
    plan: Plan
    note: str
    seconds: float


def run_cell(bench: Bench, sparsity: float, seed: int, arm: Arm) -> Cell:
    """Prune, repair and train; count, score and time what comes out."""
    budget = Budget(sparsity=sparsity, of=bench.settings.of)
    sample = sample_of(bench.data, bench.settings.sample, seed)
    sample = [(given.to(bench.settings.device), _moved(bench, known)) for given, known in sample]
    made = (cut_by_ours if arm.tool == "compressor" else cut_by_peer)(bench, budget, arm, sample)
    counted = analyze(made.student).model
    if (counted.macs, counted.parameters) != (made.plan.after.macs, made.plan.after.params):
        raise DefectError(f"{arm.name}: the plan's costs are not those of the student it describes")
    watch = Stopwatch(bench.clock)
    with watch.timed("repair"):
        repaired, how = _repair(bench, made.student, arm, sample)
    with watch.timed("train"):
        trained = _train(bench, repaired, seed)
    name = student_name(bench.network.name, sparsity, seed, arm.name)
    student: Graph = trained.graph.to("cpu")
    path = write_file(bench, student, name)
    stages = {"cut": made.student, "repaired": repaired, "trained": student}
    before = _measured(made.plan.before.macs, made.plan.before.params, bench.settings.of)
    after = _measured(counted.macs, counted.parameters, bench.settings.of)
    return Cell(
        network=bench.network.name,
        sparsity=sparsity,
        seed=seed,
        arm=arm.name,
        key=bench.key,
        sources=SOURCES,
        gone=1 - after / before,
        macs=counted.macs,
        params=counted.parameters,
        note="; ".join((made.note, how, *trained.notes)),
        seconds={"prune": round(made.seconds, 3)}
        | {stage: round(spent, 3) for stage, spent in watch.seconds.items()},
        stages={stage: answers(bench, graph) for stage, graph in stages.items()},
        epochs=round(trained.epochs, 3),
        latency=timed(bench, onnx_file(bench, bench.network.name), path),
    )


def cut_by_ours(bench: Bench, budget: Budget, arm: Arm, sample: list[Batch]) -> Cut:
    """What ``build`` does up to the proof, which is made and not counted in the seconds."""
    watch = Stopwatch(bench.clock)
    whole = kept_whole(bench.analysis, bench.network.ignored) if arm.restricted else ()
    with watch.timed("prune"):
        graph = capture_teacher(bench.teacher)
        analysis = analyze(graph)
        chosen = choose(
            bench.placed(graph),
            analysis,
            replace(budget, keep_whole=whole),
            find_ways(AUTO, None),
            sample,
        )
        student = remove(graph, analysis, chosen.plan)
    if not prove(graph, student, analysis, chosen.plan).passed:
        raise ProofError(f"{bench.network.name}: the student differs from the masked teacher")
    return Cut(student=student, plan=chosen.plan, note=chosen.note, seconds=watch.seconds["prune"])


def cut_by_peer(bench: Bench, budget: Budget, arm: Arm, sample: list[Batch]) -> Cut:
    """torch-pruning's module, captured; where ours refits it, its twin that knows what was kept."""
    assert arm.importance is not None
    assert bench.teacher.module is not None
    done = cut_by_torch_pruning(
        copy.deepcopy(bench.teacher.module).to(bench.settings.device),
        bench.graph,
        bench.analysis,
        budget,
        arm.importance,
        sample,
        ignored=bench.network.ignored,
        clock=bench.clock,
    )
    inputs = bench.teacher.example_inputs
    student = capture(done.module.to("cpu"), inputs)
    if arm.refits:
        twin = remove(bench.graph, bench.analysis, done.plan)
        _check_same(twin, student, inputs)
        student = twin
    note = f"torch-pruning by group {arm.importance}, {done.steps} steps"
    return Cut(student=student, plan=done.plan, note=note, seconds=done.seconds)


def kept_whole(analysis: Analysis, ignored: tuple[str, ...]) -> tuple[str, ...]:
    """Our groups, by number, that a module of these patterns writes."""
    return tuple(
        str(group.id)
        for group in analysis.groups
        if any(
            member.role == "writes" and fnmatch(member.parameter, f"{pattern}.weight")
            for member in group.members
            for pattern in ignored
        )
    )


def _repair(bench: Bench, student: Graph, arm: Arm, sample: list[Batch]) -> tuple[Graph, str]:
    inputs = [given for given, _ in sample]
    placed = bench.placed(student)
    if arm.refits:
        found = choose_repair(placed, bench.placed(bench.graph), inputs)
        return found.graph.to("cpu"), found.note
    again = reestimate_batch_norm(placed, inputs)
    return again.to("cpu"), "batch norms re-estimated"


def _train(bench: Bench, student: Graph, seed: int) -> Distilled:
    """As ``build`` trains, by one call for both tools: images, order, optimiser, objective."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from torch's own generator
        return distill(
            student,
            bench.graph,
            bench.data,
            length=Epochs(bench.settings.epochs),
            optimisation=fitting_settings(student, normed=REPAIRED_NORMED, plain=REPAIRED_PLAIN),
            generator=torch.Generator().manual_seed(seed),
            device=bench.settings.device,
        )


def _check_same(one: Graph, other: Graph, inputs: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        expected, found = logits_of(other(*inputs)), logits_of(one(*inputs))
    apart = float((expected - found).abs().max()) / max(1.0, float(expected.abs().max()))
    if not apart <= SAME:
        raise DefectError(f"the plan of torch-pruning's cut answers otherwise, by {apart:.1e}")


def _moved(bench: Bench, labels: Tensor | None) -> Tensor | None:
    return labels.to(bench.settings.device) if labels is not None else None


def _measured(macs: int, params: int, of: str) -> int:
    return macs if of == "macs" else params
