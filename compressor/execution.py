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

from compressor import gradual
from compressor.choosing import choose
from compressor.cutters import MaskedWeights
from compressor.data import ImageData, augmentation_for
from compressor.densities import plan_by_density
from compressor.distillation import Distilled, distill, learn
from compressor.errors import DataError, OptionError, ProofError
from compressor.features import stage_nodes
from compressor.gradual import most_steps
from compressor.graphs import Graph
from compressor.judging import Judge, Stage
from compressor.lookahead import (
    Diagnosis,
    Preview,
    diagnose,
    draw_preview,
    kept_units,
    reset_batch_norm,
    weight_scores,
)
from compressor.objectives import with_features
from compressor.pacing import Deadline, Epochs
from compressor.phases import (
    Distill,
    LookAhead,
    Phase,
    Prune,
    PruneGradually,
    PruneUnitsEarly,
    PruneWeights,
    PruneWeightsEarly,
    ReadWidths,
    Repair,
    Retrain,
    SelfDistill,
    lengths,
)
from compressor.processes import agree_on, average, process_count
from compressor.proof import prove
from compressor.refitting import choose_repair
from compressor.removal import remove
from compressor.samples import LARGE_IMAGE, is_labelled
from compressor.scoring import Batch, score
from compressor.sparsity import (
    WeightMask,
    densities,
    density_of,
    full_mask,
    hold_zero,
    keep_dearest,
    keep_dearest_everywhere,
    magnitudes,
    sparse,
)
from compressor.training import Hold, hold_nothing
from compressor.types import Analysis, Budget, Plan, Proof
from compressor.watching import Listener, Stopwatch

Length = Deadline | Epochs | None
Record = Mapping[str, Any]
GUESSED_PASSES = 30  # of a training by the clock, where a loss must know how far it is
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(site.seed + standing.done)  # dropout draws from torch's own generator
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


def require_possible(phases: Sequence[Phase], site: Site, length: Length) -> None:
    """Refuse before anything is written what a later phase would refuse.

    Raises OptionError where a phase must train and may not, or needs fresh weights of a network
    whose code is not known; DataError where it learns from labels and there are none.
    """
    for phase in phases:
        fresh = isinstance(phase, Distill) and phase.start == "fresh"
        if fresh:
            site.fresh()
        if length is None and (fresh or isinstance(phase, SelfDistill | PruneGradually)):
            raise OptionError(
                "--epochs 0: "
                + (
                    "this recipe prunes while it trains"
                    if isinstance(phase, PruneGradually)
                    else "a student from fresh weights knows nothing"
                )
                + "; give it some epochs"
            )
        if isinstance(phase, SelfDistill) and not is_labelled(site.data):
            raise DataError(
                f"{site.data.name}: self-distillation learns from labels; give class folders, or "
                "a recipe with a teacher"
            )


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
            "only prune-then-distill in its structured form can be planned beforehand; other "
            "recipes find out what goes while they build"
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
        budget = site.budget
        made = plan_by_density(
            site.analysis,
            _at_least_one_weight(standing.mask),
            agree_on(scores, site.device),
            multiple_of=budget.multiple_of,
            keep_at_least=budget.keep_at_least,
            smallest_group=budget.smallest_group,
            keep_whole=budget.keep_whole,
        )
    return cut(standing, site, standing.pruned, made)


@carry_out.register
def distill_student(phase: Distill, standing: Standing, site: Site, length: Length) -> Standing:
    student = standing.student
    if phase.start == "fresh":
        assert standing.plan is not None
        student = remove(site.fresh(), site.analysis, standing.plan)
    if length is None:
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


@carry_out.register
def prune_units_early(
    phase: PruneUnitsEarly, standing: Standing, site: Site, length: Length
) -> Standing:
    graph = site.placed(site.graph)
    with site.watch.timed("plan"):
        site.listener.stage("look ahead")
        preview = _preview(phase.look, site)

        def planned(seen: Preview) -> Plan:
            criterion = phase.criterion(seen, phase.look.saliency)
            scores = agree_on(score(graph, site.analysis, criterion), site.device)
            return phase.allocation(site.analysis, scores, site.budget)

        made = planned(preview)
        note = _told(diagnose(graph, preview, lambda seen: kept_units(planned(seen))))
    site.listener.note(note)
    after = cut(standing, site, site.graph, made)
    return replace(after, student=reset_batch_norm(after.student), notes=(*after.notes, note))


@carry_out.register
def prune_weights_early(
    phase: PruneWeightsEarly, standing: Standing, site: Site, length: Length
) -> Standing:
    graph = site.placed(site.graph)
    with site.watch.timed("plan"):
        site.listener.stage("look ahead")
        preview = _preview(phase.look, site)

        def chosen(seen: Preview) -> tuple[WeightMask, tuple[str, ...]]:
            found = weight_scores(graph, seen, phase.look.saliency)
            scores = {name: average(one, site.device).cpu() for name, one in found.items()}
            density = 1 - site.budget.sparsity
            return keep_dearest_everywhere(scores, density, full_mask(site.graph))

        alive, kept_whole = chosen(preview)
        notes = [_told(diagnose(graph, preview, lambda seen: chosen(seen)[0]))]
    if kept_whole:
        notes.append(
            f"kept whole, as all of it would have gone: {', '.join(kept_whole)} (weights that "
            "start at zero have no first-order effect)"
        )
    for note in notes:
        site.listener.note(note)
    student = reset_batch_norm(sparse(site.graph, alive))
    return _measured(replace(standing, mask=alive), site, "masked", student, *notes)


@carry_out.register
def self_distil(phase: SelfDistill, standing: Standing, site: Site, length: Length) -> Standing:
    assert length is not None  # ``require_possible``
    passes = length.count if isinstance(length, Epochs) else GUESSED_PASSES
    alive = standing.mask
    with site.watch.timed("training"):
        site.listener.stage(f"{phase.name} for {length}")
        found = learn(
            standing.student,
            site.data,
            phase.make(max(1, passes // process_count())),
            length=length,
            optimisation=phase.settings(standing.student),
            generator=torch.Generator().manual_seed(site.seed),
            augment=augmentation_for(site.data),
            device=site.device,
            hold=hold_nothing if alive is None else partial(hold_zero, mask=alive),
            progress=site.listener.training,
        )
    after = _measured(standing, site, "self-distilled", _on_cpu(found.graph), *found.notes)
    return replace(after, phases=(*after.phases, training_record(found)))


@carry_out.register
def prune_gradually(
    phase: PruneGradually, standing: Standing, site: Site, length: Length
) -> Standing:
    assert length is not None  # ``require_possible``
    steps = most_steps(length, phase.steps)
    dense = site.placed(site.graph)
    teach, observed = phase.make_teach(dense)
    cutter = phase.make_cutter(dense, site.analysis, site.budget, site.placed_sample())
    with site.watch.timed("training"):
        site.listener.stage(f"{phase.name}, {steps} steps, for {length}")
        found = gradual.prune_gradually(
            site.placed(standing.student),
            site.data,
            cutter,
            teach,
            steps=steps,
            schedule=phase.schedule,
            length=length,
            judge=site.graph,
            generator=torch.Generator().manual_seed(site.seed),
            observed=observed,
            optimisation=phase.settings(standing.student),
            augment=augmentation_for(site.data),
            device=site.device,
            progress=site.listener.training,
        )
    record = {
        "seconds": round(found.seconds, 3),
        "epochs": round(found.epochs, 2),
        "steps": msgspec.to_builtins(found.history),
    }
    if isinstance(found.gone, MaskedWeights):
        after = replace(standing, mask={n: m.cpu() for n, m in found.gone.mask.items()})
        after = _measured(after, site, "pruned", _on_cpu(found.graph), *found.notes)
    else:
        after = cut(standing, site, _on_cpu(found.whole), found.gone.plan)
        after = replace(after, notes=(*after.notes, *found.notes))
    return replace(after, phases=(*after.phases, record))


def _at_least_one_weight(mask: WeightMask) -> dict[str, float]:
    """Densities; of a layer that lost all its weights, as if one lived: it must pass something."""
    return {n: max(d, 1 / mask[n].numel()) for n, d in densities(mask).items()}


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


def _preview(look: LookAhead, site: Site) -> Preview:
    large = max(site.data.preprocessing.crop) >= LARGE_IMAGE
    most = look.size // 4 if large else look.size  # gradients of all at once
    return draw_preview(
        site.data,
        look.make(1),
        size=min(most, max(2, len(site.data.train) // (look.steps + look.batches))),
        generator=torch.Generator().manual_seed(site.seed),
        steps=look.steps,
        learning_rate=look.learning_rate,
        batches=look.batches,
    )


def _told(found: Diagnosis) -> str:
    return (
        f"looking ahead, self-distillation adds a gradient {found.added_gradient:.2f} times that "
        f"of the labels; {100 * found.overlap:.0f} % of what either would keep, both keep"
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
