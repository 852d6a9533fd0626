"""Prune-then-distill: the teachers of a seed, and the students of each.

Comes in: the ``Ground`` of a seed.  Goes out: an ``Outcome``.  Teachers are kept on disk; students
read them there.  Knows nothing of pages or of which arms are run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from benchmarks.studies.recipes.bench import Ground, Outcome, Recorder, Unscored, passes_of
from benchmarks.studies.recipes.records import Settings
from compressor.criteria import random_order
from compressor.densities import plan_by_density
from compressor.execution import Standing, cut
from compressor.graphs import Graph
from compressor.phases import Distill, PruneWeights, ReadWidths, Retrain, rounds_until
from compressor.planning import plan_uniform
from compressor.recipes.prune_then_distill import default_teaching as labels_or_teacher
from compressor.recipes.prune_then_distill import teaching
from compressor.recipes.values import fresh_settings
from compressor.scoring import magnitude, score
from compressor.sparsity import WeightMask, densities, density_of
from compressor.types import Budget, Plan

SHARE = 0.2  # of the living weights, in each round
Teacher = Literal["dense", "pruned", "restarts"]


def rounds(settings: Settings) -> int:
    return rounds_until(settings.sparsity, SHARE)


def round_epochs(settings: Settings) -> int:
    """A quarter of the passes that everything else has, one at least."""
    return max(1, settings.epochs // 4)


def dense(ground: Ground) -> Outcome:
    """Trained from fresh weights, by labels."""
    judge = Recorder(ground.bench)
    fresh = ground.fresh(ground.seed)
    phase = Retrain(name="train", epochs=ground.settings.epochs, settings=fresh_settings)
    found = ground.follow(
        (phase,), ground.site(fresh, judge), phase.epochs, Standing(student=fresh)
    )
    assert found.pruned is not None  # the phase's word for who was trained to teach
    judge.stages = {"trained": judge.stages["pruned teacher"]}
    ground.keep("dense", found.pruned)
    return Outcome(judge=judge, passes=passes_of(found))


def pruned(ground: Ground) -> Outcome:
    return _in_rounds(ground, "pruned", SHARE)


def restarted(ground: Ground) -> Outcome:
    """The control: the same restarts of the learning rate, the same passes, no mask."""
    return _in_rounds(ground, "restarts", 0.0)


def student(teacher: Teacher | None) -> Callable[[Ground], Outcome]:
    """Fresh weights at the pruned teacher's widths; None: labels alone."""

    def run(ground: Ground) -> Outcome:
        return _taught(ground, _standing_at(ground, widths(ground)), teacher, "fresh")

    return run


def uniform(ground: Ground) -> Outcome:
    """The same share of every group, as many parameters as the pruned teacher's widths give."""
    site = ground.site(ground.bench.graph, Unscored())
    scores = score(ground.bench.graph, site.analysis, magnitude)
    aim = Budget(sparsity=widths(ground).achieved, multiple_of=1)
    made = plan_uniform(site.analysis, scores, aim)
    return _taught(ground, _standing_at(ground, made), "dense", "fresh")


def inherited(chosen: Literal["magnitude", "random"]) -> Callable[[Ground], Outcome]:
    """Channels of the dense teacher at the pruned teacher's widths."""

    def run(ground: Ground) -> Outcome:
        graph, _ = ground.taken("dense")
        made = widths(ground, graph, chosen)
        judge = Recorder(ground.bench)
        cut_out = cut(Standing(student=graph), ground.site(graph, judge), graph, made)
        return _taught(ground, cut_out, "dense", "kept", judge)

    return run


def widths(
    ground: Ground, graph: Graph | None = None, chosen: Literal["magnitude", "random"] = "magnitude"
) -> Plan:
    """The pruned teacher's, by its densities; inside groups the dearest units of ``graph`` stay.

    By the function of the recipe's own phase.
    """
    masked, mask = ground.taken("pruned")
    if graph is None:
        phase = ReadWidths(criterion=magnitude)
        standing = Standing(student=masked, pruned=masked, mask=mask)
        found = ground.follow((phase,), ground.site(masked, Unscored()), 1, standing).plan
        assert found is not None
        return found
    criterion = magnitude if chosen == "magnitude" else random_order(seed=ground.seed)
    analysis = ground.bench.analysis
    return plan_by_density(analysis, densities(mask), score(graph, analysis, criterion))


def _in_rounds(ground: Ground, arm: Teacher, share: float) -> Outcome:
    judge = Recorder(ground.bench)
    start, _ = ground.taken("dense")
    phase = PruneWeights(
        share=share,
        rounds=rounds(ground.settings),
        epochs=round_epochs(ground.settings),
        settings=fresh_settings,
    )
    found = ground.follow(
        (phase,), ground.site(start, judge), phase.rounds * phase.epochs, Standing(student=start)
    )
    assert found.pruned is not None
    assert found.mask is not None
    judge.stages = {"trained": judge.stages["pruned teacher"]}
    mask: WeightMask = found.mask
    ground.keep(arm, found.pruned, mask)
    return Outcome(judge=judge, passes=passes_of(found), facts={"density": density_of(mask)})


def _standing_at(ground: Ground, made: Plan) -> Standing:
    """A student of these widths whose values do not matter: a fresh one takes its place."""
    return Standing(student=ground.bench.graph, plan=made)


def _taught(
    ground: Ground,
    standing: Standing,
    teacher: Teacher | None,
    start: Literal["kept", "fresh"],
    judge: Recorder | None = None,
) -> Outcome:
    """One call for all students: the same passes, settings and order."""
    settings, judge = ground.settings, judge or Recorder(ground.bench)
    taught = teaching(settings.alpha, settings.temperature)
    phase = Distill(
        start=start,
        teacher="pruned",  # the phase's word for the standing's own teacher, none among them
        objective=taught if teacher else labels_or_teacher,
        feature_weight=0.0,
        epochs=settings.epochs,
        settings=fresh_settings,
    )
    taken = ground.taken(teacher)[0] if teacher else None
    site = ground.site(ground.bench.graph, judge)
    before = Standing(student=standing.student, pruned=taken, plan=standing.plan)
    found = ground.follow((phase,), site, settings.epochs, before)
    judge.stages["trained"] = judge.stages.pop("distilled")
    return Outcome(judge=judge, passes=passes_of(found), plan=found.plan)
