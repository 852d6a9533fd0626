"""SDP: pruning while training, held to the unpruned network or not, and pruning at once.

Comes in: the ``Ground`` of a seed, whose dense teacher is kept.  Goes out: an ``Outcome`` with the
curve of recovery.  Knows nothing of pages or of which arms are run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from benchmarks.studies.recipes.bench import Ground, Outcome, Recorder, passes_of
from benchmarks.studies.recipes.records import Point
from compressor.distillation import default_objective
from compressor.execution import Record, Standing
from compressor.graphs import Graph
from compressor.phases import Distill, Phase, Prune, PruneGradually
from compressor.recipes import sdp
from compressor.recipes.prune_then_distill import teaching
from compressor.recipes.values import repaired_settings
from compressor.tutors import Teach, taught_by_another
from compressor.ways import find_ways


def held_to(similarity: str) -> Callable[[Ground], Outcome]:
    """Labels and a similarity to the frozen unpruned network."""
    return lambda ground: _pruned(ground, (_phase(ground, similarity),))


def by_labels(ground: Ground) -> Outcome:
    """The same steps and cuts without any similarity."""
    return _pruned(ground, (replace(_phase(ground, "kl"), make_teach=_nobody),))


def at_once(ground: Ground) -> Outcome:
    """All goes in one step; then Hinton's loss for as many passes."""
    settings = ground.settings
    phase = Distill(
        objective=teaching(settings.alpha, settings.temperature),
        feature_weight=0.0,
        epochs=settings.epochs,
        settings=repaired_settings,
    )
    return _pruned(ground, (Prune(ways=find_ways("magnitude", "global")), phase))


def area(curve: tuple[Point, ...]) -> float:
    """The mean over passes of the validated accuracy, straight between the points of the curve.

    Two points at the same pass are a cut: before it, and right after.
    """
    pairs = list(pairwise(curve))
    passed = sum(after.passes - before.passes for before, after in pairs)
    whole = sum(
        0.5 * (before.accuracy + after.accuracy) * (after.passes - before.passes)
        for before, after in pairs
    )
    return whole / passed if passed > 0 else 0.0


def _phase(ground: Ground, similarity: str) -> PruneGradually:
    (phase,) = sdp(similarity, steps=ground.settings.steps).phases
    assert isinstance(phase, PruneGradually)
    return phase


def _nobody(dense: Graph) -> tuple[Teach, tuple[str, ...]]:
    return taught_by_another(None, default_objective(labelled=True, taught=False)), ()


def _pruned(ground: Ground, phases: tuple[Phase, ...]) -> Outcome:
    judge = Recorder(ground.bench)
    dense, _ = ground.taken("dense")
    site = ground.site(dense, judge)
    found = ground.follow(phases, site, ground.settings.epochs, Standing(student=dense.copy()))
    # a gradual phase is trained when its units are removed; removed at once, they are so before
    last = "distilled" if len(phases) > 1 else "removed"
    judge.stages["trained"] = judge.stages.pop(last)
    return Outcome(
        judge=judge,
        passes=passes_of(found),
        plan=found.plan,
        curve=_curve(found.phases[-1]),
        facts={"steps": float(len(found.phases[-1].get("steps", (0,))))},
    )


def _curve(record: Record) -> tuple[Point, ...]:
    """From what the last phase says of itself: steps of pruning, or validations of a training."""
    points: list[Point] = []
    passed = 0.0
    for step in record.get("steps", ()):
        points.append(Point(passes=passed, accuracy=step["cut"]))
        passed += step["epochs"]
        points.append(Point(passes=passed, accuracy=step["recovered"]))
    for seen in record.get("validation", ()):
        passes = seen["done_share"] * record["epochs"]
        points.append(Point(passes=passes, accuracy=seen["accuracy"]))
    return tuple(points)
