"""Execution: the phases of a recipe, one after the other.

Comes in: a ``Site`` (the network, its data, the budget) and phases.  Goes out: a ``Standing``,
which every phase takes and gives anew: the student so far, who was pruned to teach it, what was
measured.  Knows nothing of run folders, files or recipes' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from typing import Any

import msgspec
import torch

from compressor.choosing import choose
from compressor.data import ImageData, augmentation_for
from compressor.densities import plan_by_density
from compressor.distillation import Distilled, distill
from compressor.errors import OptionError, ProofError
from compressor.features import stage_nodes
from compressor.graphs import Graph
from compressor.judging import Judge, Stage
from compressor.objectives import with_features
from compressor.pacing import Deadline, Epochs
from compressor.phases import (
    Distill,
    Phase,
    Prune,
    PruneWeights,
    ReadWidths,
    Repair,
    Retrain,
    lengths,
)
from compressor.processes import agree_on
from compressor.proof import prove
from compressor.refitting import choose_repair
from compressor.removal import remove
from compressor.samples import is_labelled
from compressor.scoring import Batch, score
from compressor.sparsity import (
    WeightMask,
    densities,
    density_of,
    full_mask,
    hold_zero,
    keep_dearest,
    magnitudes,
    sparse,
)
from compressor.training import Hold, hold_nothing
from compressor.types import Analysis, Budget, Plan, Proof
from compressor.watching import Listener, Stopwatch

Length = Deadline | Epochs | None
Record = Mapping[str, Any]
UNTRAINED = "no training was asked for: the student is as it was cut and repaired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all phases of a run have in common."""

    graph: Graph  # dense, as it came
    fresh: Callable[[], Graph]  # the dense network as its code initialises it
    analysis: Analysis
    data: ImageData
    sample: tuple[Batch, ...]  # of training images, for scoring and repair
    budget: Budget
    seed: int
    device: str
    judge: Judge
    listener: Listener
    watch: Stopwatch

    def placed(self, graph: Graph) -> Graph:
        """The graph on the run's device; a copy where that is another one."""
        return graph if self.device == "cpu" else graph.copy().to(self.device)

    def placed_sample(self) -> list[Batch]:
        return [
            (x.to(self.device), None if y is None else y.to(self.device)) for x, y in self.sample
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run stands after ``done`` of its phases.

    ``pruned``: a network that was pruned, of full shapes or the student's, to teach the student.
    ``mask``: its living weights.  ``phases`` are entries of ``report.json``.
    """

    student: Graph
    pruned: Graph | None = None
    mask: WeightMask | None = None
    plan: Plan | None = None
    proof: Proof | None = None
    done: int = 0
    stages: tuple[Stage, ...] = ()
    phases: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()


def follow(
    phases: Sequence[Phase],
    site: Site,
    length: Length,
    standing: Standing,
    keep: Callable[[Standing], None] = lambda standing: None,
) -> Standing:
    """Carry out the phases that are left; ``keep`` is told after each."""
    shares = lengths(phases, length)
    for phase, share in list(zip(phases, shares, strict=True))[standing.done :]:
        before = _spent(site.watch)
        after = carry_out(phase, standing, site, share)
        entry = {
            "name": phase.name,
            "metrics": (after.stages[-1].metrics or {}) if after.stages else {},
            "seconds": round(_spent(site.watch) - before, 3),
            **(after.phases[-1] if len(after.phases) > standing.done else {}),
        }
        recorded = (*after.phases[: standing.done], entry)
        standing = replace(after, done=standing.done + 1, phases=recorded)
        keep(standing)
    return standing


def _spent(watch: Stopwatch) -> float:
    return sum(seconds for name, seconds in watch.seconds.items() if name != "evaluation")


@singledispatch
def carry_out(phase: Phase, standing: Standing, site: Site, length: Length) -> Standing:
    """The standing after this phase.  One function below for each kind of phase."""
    raise TypeError(f"no function carries out {type(phase).__name__}")


def first_plan(
    phase: Phase, graph: Graph, analysis: Analysis, budget: Budget, sample: Sequence[Batch]
) -> Plan:
    """What a recipe's first phase removes.  Raises OptionError where only training can tell."""
    if not isinstance(phase, Prune):
        raise OptionError(
            "the widths of this recipe are known only when its first phase has trained; build it"
        )
    return choose(graph, analysis, budget, phase.ways, sample).plan


@carry_out.register
def prune(phase: Prune, standing: Standing, site: Site, length: Length) -> Standing:
    with site.watch.timed("plan"):
        site.listener.stage("score and plan")
        chosen = choose(
            site.placed(site.graph), site.analysis, site.budget, phase.ways, site.placed_sample()
        )
    site.listener.note(chosen.note)
    return replace(
        cut(standing, site, site.graph, chosen.plan), notes=(*standing.notes, chosen.note)
    )


@carry_out.register
def repair(phase: Repair, standing: Standing, site: Site, length: Length) -> Standing:
    with site.watch.timed("repair"):
        site.listener.stage("repair")
        seen = (given.to(site.device) for given, _ in site.sample)
        student = standing.student.copy().to(site.device)
        repaired = choose_repair(student, site.placed(site.graph), seen, site.listener.working)
        found = _on_cpu(repaired.graph)
    site.listener.note(repaired.note)
    return _measured(standing, site, "repaired", found, repaired.note)


@carry_out.register
def retrain(phase: Retrain, standing: Standing, site: Site, length: Length) -> Standing:
    if length is None:
        return replace(standing, pruned=standing.student)
    found = _train(phase, standing.student, _lecturer(site), site, length)
    measured = site.judge.stage("pruned teacher", found.graph)
    return replace(
        standing,
        pruned=found.graph,
        stages=(*standing.stages, measured),
        phases=(*standing.phases, training_record(found)),
        notes=(*standing.notes, *found.notes),
    )


@carry_out.register
def prune_weights(phase: PruneWeights, standing: Standing, site: Site, length: Length) -> Standing:
    network, alive = standing.student, full_mask(standing.student)
    trained: list[Distilled] = []
    for number in range(1, phase.rounds + 1):
        density = (1 - phase.share) ** number
        alive = keep_dearest(magnitudes(network), density, alive)
        network = sparse(network, alive)
        site.listener.note(
            f"round {number} of {phase.rounds}: {100 * density_of(alive):.1f} % of the weights live"
        )
        if length is not None:
            part, hold = length.part(phase.rounds), partial(hold_zero, mask=alive)
            trained.append(_train(phase, network, _lecturer(site), site, part, number, hold))
            network = trained[-1].graph
    notes = tuple(note for found in trained for note in found.notes)
    rounds = [training_record(found) for found in trained]
    return replace(
        standing,
        pruned=network,
        mask=alive,
        stages=(*standing.stages, site.judge.stage("pruned teacher", network)),
        phases=(*standing.phases, {"rounds": rounds, "density": density_of(alive)}),
        notes=(*standing.notes, *notes),
    )


@carry_out.register
def read_widths(phase: ReadWidths, standing: Standing, site: Site, length: Length) -> Standing:
    if standing.mask is None or standing.pruned is None:
        raise OptionError("widths are read off a sparse teacher, and no weights were pruned")
    with site.watch.timed("plan"):
        site.listener.stage("read widths")
        seen = site.placed_sample()
        scores = score(site.placed(standing.pruned), site.analysis, phase.criterion, seen)
        agreed = agree_on(scores, site.device)
        made = plan_by_density(site.analysis, densities(standing.mask), agreed)
    return cut(standing, site, standing.pruned, made)


@carry_out.register
def distill_student(phase: Distill, standing: Standing, site: Site, length: Length) -> Standing:
    student = standing.student
    if phase.start == "fresh":
        if length is None:
            raise OptionError("--epochs 0: a student from fresh weights knows nothing; train it")
        assert standing.plan is not None
        student = remove(site.fresh(), site.analysis, standing.plan)
    elif length is None:
        return replace(standing, notes=(*standing.notes, UNTRAINED))
    teacher = site.graph if phase.teacher == "dense" else standing.pruned
    objective = phase.objective(is_labelled(site.data), teacher is not None)
    observed = stage_nodes(student) if phase.feature_weight > 0 else ()
    if observed:
        objective = with_features(objective, weight=phase.feature_weight)
    with site.watch.timed("training"):
        site.listener.stage(f"{phase.name} for {length}")
        found = distill(
            student,
            teacher,
            site.data,
            length=length,
            objective=objective,
            observed=observed,
            optimisation=phase.settings(student),
            generator=torch.Generator().manual_seed(site.seed),
            augment=augmentation_for(site.data),
            device=site.device,
            progress=site.listener.training,
        )
    after = _measured(standing, site, "distilled", _on_cpu(found.graph), *found.notes)
    return replace(after, phases=(*after.phases, training_record(found)))


# -- shared by phases ----------------------------------------------------------------------------


def cut(standing: Standing, site: Site, graph: Graph, plan: Plan) -> Standing:
    """The student that the plan makes of ``graph``, proved.  Raises ProofError."""
    with site.watch.timed("removal"):
        site.listener.stage("remove")
        student = remove(graph, site.analysis, plan)
    with site.watch.timed("proof"):
        site.listener.stage("prove")
        proof = prove(graph, student, site.analysis, plan)
    if not proof.passed:
        raise ProofError(
            f"the student differs from the masked teacher, first at {proof.first_wrong}; nothing "
            "was exported. This is a defect: please report the network"
        )
    after = replace(standing, plan=plan, proof=proof)
    return _measured(after, site, "removed", student)


def _measured(standing: Standing, site: Site, name: str, student: Graph, *notes: str) -> Standing:
    return replace(
        standing,
        student=student,
        stages=(*standing.stages, site.judge.stage(name, student)),
        notes=(*standing.notes, *notes),
    )


def _lecturer(site: Site) -> Graph | None:
    """Who teaches a teacher: labels alone, or without any the dense network."""
    return None if is_labelled(site.data) else site.graph


def _train(
    phase: Retrain | PruneWeights,
    network: Graph,
    teacher: Graph | None,
    site: Site,
    length: Deadline | Epochs,
    number: int = 0,
    hold: Hold = hold_nothing,
) -> Distilled:
    with site.watch.timed("training"):
        site.listener.stage(f"{phase.name} for {length}")
        found = distill(
            network,
            teacher,
            site.data,
            length=length,
            optimisation=phase.settings(network),
            generator=torch.Generator().manual_seed(site.seed + number),
            augment=augmentation_for(site.data),
            device=site.device,
            hold=hold,
            progress=site.listener.training,
        )
        return replace(found, graph=_on_cpu(found.graph))


def training_record(found: Distilled) -> Record:
    """What the report says of one training."""
    return {
        "seconds": round(found.seconds, 3),
        "epochs": round(found.epochs, 2),
        "images_per_s": round(found.images_per_s, 1),
        "validation": msgspec.to_builtins(found.history),
    }


def _on_cpu(graph: Graph) -> Graph:
    moved: Graph = graph.to("cpu")
    return moved
