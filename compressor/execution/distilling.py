"""Prune-then-distill's phases, structured and faithful.

Comes in: a ``Standing``.  Goes out: the one after the phase.  Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import torch

from compressor.choosing import choose
from compressor.densities import plan_by_density
from compressor.distillation import Distilled, distill
from compressor.errors import OptionError
from compressor.execution.following import carry_out
from compressor.execution.standing import (
    Length,
    Record,
    Site,
    Standing,
    cut,
    measured,
    on_cpu,
    trained,
    training_record,
)
from compressor.features import stage_nodes
from compressor.graphs import Graph
from compressor.keeping import (
    Snapshot,
    joined,
    noise,
    part_of,
    put_values,
    restore_noise,
    values_of,
)
from compressor.objectives import Objective, with_features
from compressor.pacing import Deadline, Epochs
from compressor.phases import (
    Distill,
    Prune,
    PruneWeights,
    ReadWidths,
    Repair,
    Retrain,
)
from compressor.processes import agree_on
from compressor.refitting import choose_repair
from compressor.removal import remove
from compressor.samples import is_labelled
from compressor.scoring import score
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

UNTRAINED = "no training was asked for: the student is as it was cut and repaired"


@carry_out.register
def prune(phase: Prune, standing: Standing, site: Site, length: Length) -> Standing:
    with site.watch.timed("plan"):
        site.listener.stage("score and plan")
        chosen = choose(
            site.placed(site.graph),
            site.analysis,
            site.budget,
            phase.ways,
            site.placed_sample(),
            site.expectation,
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
        found = on_cpu(repaired.graph)
    site.listener.note(repaired.note)
    return measured(standing, site, "repaired", found, repaired.note)


@carry_out.register
def retrain(phase: Retrain, standing: Standing, site: Site, length: Length) -> Standing:
    if length is None:
        return replace(standing, pruned=standing.student)
    found = _train(phase, standing.student, _lecturer(site), site, length)
    return replace(
        standing,
        pruned=found.graph,
        stages=(*standing.stages, site.judge.stage("pruned teacher", found.graph)),
        phases=(*standing.phases, training_record(found)),
        notes=(*standing.notes, *found.notes),
    )


@carry_out.register
def prune_weights(phase: PruneWeights, standing: Standing, site: Site, length: Length) -> Standing:
    reached = _Rounds(network=standing.student.copy(), alive=full_mask(standing.student))
    over = site.keeper.at("rounds")
    found = over.find()
    if found is not None:
        reached.restore(found, torch.device(site.device))
        site.watch.add("training", sum(one["seconds"] for one in reached.records))
    for number in range(reached.done + 1, phase.rounds + 1):
        density = (1 - phase.share) ** number
        alive = keep_dearest(magnitudes(reached.network), density, reached.alive)
        network = sparse(reached.network, alive)
        site.listener.note(
            f"round {number} of {phase.rounds}: {100 * density_of(alive):.1f} % of the weights live"
        )
        if length is not None:
            part, hold = length.part(phase.rounds), partial(hold_zero, mask=alive)
            trained = _train(phase, network, _lecturer(site), site, part, number=number, hold=hold)
            network = trained.graph
            reached.records.append(training_record(trained))
            reached.notes += trained.notes
        reached.network, reached.alive, reached.done = network, alive, number
        over.keep(reached.state(torch.device(site.device)))
    return replace(
        standing,
        pruned=reached.network,
        mask=reached.alive,
        stages=(*standing.stages, site.judge.stage("pruned teacher", reached.network)),
        phases=(
            *standing.phases,
            {"rounds": reached.records, "density": density_of(reached.alive)},
        ),
        notes=(*standing.notes, *reached.notes),
    )


@dataclass(slots=True, kw_only=True)
class _Rounds:
    """How far the rounds are, between two of them."""

    network: Graph
    alive: WeightMask
    done: int = 0
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def state(self, device: torch.device) -> Snapshot:
        told = {"done": self.done, "records": self.records, "notes": self.notes}
        return joined(
            {
                "network": values_of(self.network),
                "alive": Snapshot(tensors=self.alive),
                "noise": noise(device),
                "told": Snapshot(facts=told),
            }
        )

    def restore(self, kept: Snapshot, device: torch.device) -> None:
        put_values(part_of(kept, "network"), self.network)
        self.alive = part_of(kept, "alive").tensors
        told = part_of(kept, "told").facts
        self.done, self.records, self.notes = told["done"], told["records"], told["notes"]
        restore_noise(part_of(kept, "noise"), device)


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
            densities(standing.mask),
            agree_on(scores, site.device),
            multiple_of=budget.multiple_of,
            keep_at_least=budget.keep_at_least,
            smallest_group=budget.smallest_group,
            keep_whole=budget.keep_whole,
            preferred=budget.preferred,
            tolerated=budget.tolerated,
            expectation=site.expectation,
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
    found = _train(phase, student, teacher, site, length, objective=objective, observed=observed)
    after = measured(standing, site, "distilled", found.graph, *found.notes)
    return replace(after, phases=(*after.phases, training_record(found)))


def _lecturer(site: Site) -> Graph | None:
    """Who teaches a teacher: labels alone, or without any the dense network."""
    return None if is_labelled(site.data) else site.graph


def _train(
    phase: Retrain | PruneWeights | Distill,
    network: Graph,
    teacher: Graph | None,
    site: Site,
    length: Deadline | Epochs,
    *,
    number: int = 0,
    objective: Objective | None = None,
    observed: tuple[str, ...] = (),
    hold: Hold = hold_nothing,
) -> Distilled:
    """One training of a phase, the ``number``-th; the network comes back on the CPU."""
    training = partial(
        distill,
        network,
        teacher,
        site.data,
        length=length,
        objective=objective,
        observed=observed,
        optimisation=phase.settings(network),
        generator=torch.Generator().manual_seed(site.seed + number),
        device=site.device,
        hold=hold,
        keeper=site.keeper.at(f"training-{number}"),
        progress=site.listener.training,
    )
    found = trained(site, f"{phase.name} for {length}", training)
    return replace(found, graph=on_cpu(found.graph))
