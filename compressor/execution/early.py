"""EPSD's phases: prune by a look ahead, then let the student distil itself.

Comes in: a ``Standing``.  Goes out: the one after the phase.  Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from compressor.data import ImageData
from compressor.distillation import learn
from compressor.execution.following import carry_out
from compressor.execution.standing import (
    Length,
    Site,
    Standing,
    cut,
    measured,
    on_cpu,
    trained,
    training_record,
)
from compressor.lookahead import (
    Diagnosis,
    Preview,
    diagnose,
    draw_preview,
    kept_units,
    reset_batch_norm,
    weight_scores,
)
from compressor.pacing import Epochs
from compressor.phases import (
    LookAhead,
    PruneUnitsEarly,
    PruneWeightsEarly,
    SelfDistill,
)
from compressor.processes import agree_on, average
from compressor.samples import LARGE_IMAGE
from compressor.scoring import score
from compressor.sparsity import (
    WeightMask,
    full_mask,
    hold_zero,
    keep_dearest_everywhere,
    sparse,
)
from compressor.training import hold_nothing
from compressor.types import Plan

GUESSED_PASSES = 30  # of a training by the clock, where a loss must know how far it is


@carry_out.register
def prune_units_early(
    phase: PruneUnitsEarly, standing: Standing, site: Site, length: Length
) -> Standing:
    graph = site.placed(site.graph)
    with site.watch.timed("plan"):
        site.listener.stage("look ahead")
        preview = preview_of(phase.look, site.data, site.seed)

        def planned(seen: Preview) -> Plan:
            criterion = phase.criterion(seen, phase.look.saliency)
            scores = agree_on(score(graph, site.analysis, criterion), site.device)
            return phase.allocation(site.analysis, scores, site.budget, site.expectation)

        made, by_labels = planned(preview), planned(preview.without_distillation)
        note = _told(diagnose(graph, preview, kept_units(made), kept_units(by_labels)))
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
        preview = preview_of(phase.look, site.data, site.seed)

        def chosen(seen: Preview) -> tuple[WeightMask, tuple[str, ...]]:
            found = weight_scores(graph, seen, phase.look.saliency)
            scores = {name: average(one, site.device).cpu() for name, one in found.items()}
            density = 1 - site.budget.sparsity
            return keep_dearest_everywhere(scores, density, full_mask(site.graph))

        alive, kept_whole = chosen(preview)
        by_labels, _ = chosen(preview.without_distillation)
        notes = [_told(diagnose(graph, preview, alive, by_labels))]
    if kept_whole:
        notes.append(
            f"kept whole, as all of it would have gone: {', '.join(kept_whole)} (weights that "
            "start at zero have no first-order effect)"
        )
    for note in notes:
        site.listener.note(note)
    student = reset_batch_norm(sparse(site.graph, alive))
    return measured(replace(standing, mask=alive), site, "masked", student, *notes)


@carry_out.register
def self_distil(phase: SelfDistill, standing: Standing, site: Site, length: Length) -> Standing:
    assert length is not None  # ``require_possible``
    passes = length.count if isinstance(length, Epochs) else GUESSED_PASSES
    alive = standing.mask
    training = partial(
        learn,
        standing.student,
        site.data,
        phase.make(passes),
        length=length,
        optimisation=phase.settings(standing.student),
        generator=torch.Generator().manual_seed(site.seed),
        device=site.device,
        hold=hold_nothing if alive is None else partial(hold_zero, mask=alive),
        keeper=site.keeper.at("training"),
        progress=site.listener.training,
    )
    found = trained(site, f"{phase.name} for {length}", training)
    after = measured(standing, site, "self-distilled", on_cpu(found.graph), *found.notes)
    return replace(after, phases=(*after.phases, training_record(found)))


def preview_of(look: LookAhead, data: ImageData, seed: int) -> Preview:
    """What a phase looks at.  Raises DataError where labels are missing."""
    large = max(data.preprocessing.crop) >= LARGE_IMAGE
    most = look.size // 4 if large else look.size  # gradients of all at once
    return draw_preview(
        data,
        look.make(1),
        size=min(most, max(2, len(data.train) // (look.steps + look.batches))),
        generator=torch.Generator().manual_seed(seed),
        steps=look.steps,
        learning_rate=look.learning_rate,
        batches=look.batches,
    )


def _told(found: Diagnosis) -> str:
    return (
        f"looking ahead, self-distillation adds a gradient {found.added_gradient:.2f} times that "
        f"of the labels; {100 * found.overlap:.0f} % of what either would keep, both keep"
    )
