"""EPSD: units chosen before training, and the controls of that choice.

Comes in: the ``Ground`` of a seed.  Goes out: an ``Outcome``; EPSD's own also says how far
self-distillation had a say.  Knows nothing of pages or of which arms are run.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.studies.recipes.bench import Ground, Outcome, Recorder, Unscored, passes_of
from compressor import execution
from compressor.criteria import random_order
from compressor.densities import plan_by_density
from compressor.execution import Standing, cut
from compressor.graphs import Graph
from compressor.lookahead import (
    Preview,
    diagnose,
    kept_units,
    layer_densities,
    overlap,
    reset_batch_norm,
    weight_scores,
)
from compressor.phases import PruneUnitsEarly, SelfDistill
from compressor.planning import plan_uniform
from compressor.recipes import epsd
from compressor.scoring import score
from compressor.sparsity import prunable_weights
from compressor.types import Plan

OTHER_BATCHES = 10_000  # added to the seed: the control of what other batches alone change


def looked_ahead(ground: Ground) -> Outcome:
    """By the self-distillation loss; with the three figures that tell whether it had a say."""
    preview, graph = preview_of(ground, ground.seed), start(ground)
    made = planned(ground, preview)
    by_labels = planned(ground, preview.without_distillation)
    other = preview_of(ground, ground.seed + OTHER_BATCHES).without_distillation
    found = diagnose(graph, preview, kept_units(made), kept_units(by_labels))
    facts = {
        "added_gradient": found.added_gradient,
        "overlap": found.overlap,
        "overlap_other_batches": overlap(kept_units(by_labels), kept_units(planned(ground, other))),
    }
    return _self_taught(ground, made, facts)


def simple(ground: Ground) -> Outcome:
    """The same look ahead by labels alone."""
    preview = preview_of(ground, ground.seed).without_distillation
    return _self_taught(ground, planned(ground, preview))


def random_units(ground: Ground) -> Outcome:
    """EPSD's densities of layers, and no say in which units stay."""
    graph, analysis = start(ground), ground.bench.analysis
    whole = sum(weight.numel() for weight in prunable_weights(graph).values())
    gone = ground.settings.sparsity * analysis.model.parameters  # biases and norms do not go
    scores = weight_scores(graph, preview_of(ground, ground.seed), _phases(ground)[0].look.saliency)
    kept = layer_densities(scores, 1 - gone / whole)
    order = score(graph, analysis, random_order(seed=ground.seed))
    return _self_taught(ground, plan_by_density(analysis, kept, order))


def uniform(ground: Ground) -> Outcome:
    """The same share of every group, units at random."""
    graph, analysis = start(ground), ground.bench.analysis
    order = score(graph, analysis, random_order(seed=ground.seed))
    return _self_taught(ground, plan_uniform(analysis, order, ground.budget))


def start(ground: Ground) -> Graph:
    """The fresh network that all arms of the seed prune, on the study's device."""
    placed: Graph = ground.fresh(ground.seed).to(ground.settings.device)
    return placed


def preview_of(ground: Ground, seed: int) -> Preview:
    """As the recipe's own phase draws it."""
    return execution.early.preview_of(_phases(ground)[0].look, ground.bench.data, seed)


def planned(ground: Ground, preview: Preview) -> Plan:
    """What the recipe's own phase plans from a preview."""
    phase, analysis = _phases(ground)[0], ground.bench.analysis
    scores = score(start(ground), analysis, phase.criterion(preview, phase.look.saliency))
    return phase.allocation(analysis, scores, ground.budget)


def _phases(ground: Ground) -> tuple[PruneUnitsEarly, SelfDistill]:
    first, last = epsd(ground.settings.self_distillation).phases
    assert isinstance(first, PruneUnitsEarly)
    assert isinstance(last, SelfDistill)
    return first, last


def _self_taught(ground: Ground, made: Plan, facts: dict[str, float] | None = None) -> Outcome:
    """One call for all arms: what stays keeps its initial values and distils itself."""
    judge, fresh = Recorder(ground.bench), ground.fresh(ground.seed)
    before = cut(Standing(student=fresh), ground.site(fresh, Unscored()), fresh, made)
    before = replace(before, student=reset_batch_norm(before.student))
    site = ground.site(fresh, judge)
    found = ground.follow((_phases(ground)[1],), site, ground.settings.epochs, before)
    judge.stages["trained"] = judge.stages.pop("self-distilled")
    return Outcome(judge=judge, passes=passes_of(found), plan=made, facts=facts or {})
