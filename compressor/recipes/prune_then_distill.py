"""Prune, then distil: Park & No, ECCV 2022, in two forms.

Comes in: choices.  Goes out: a ``Recipe``.  Knows nothing of files or clocks.
"""

from __future__ import annotations

from collections.abc import Callable

from compressor.choosing import Way
from compressor.distillation import default_objective
from compressor.objectives import Objective, logit_objective
from compressor.phases import (
    Distill,
    Prune,
    PruneWeights,
    ReadWidths,
    Repair,
    Retrain,
    Start,
    Teaching,
    rounds_until,
)
from compressor.recipes.values import Recipe, fresh_settings, published, repaired_settings
from compressor.scoring import magnitude
from compressor.ways import AUTO, find_ways

# ResNet-56 with 70 % of the parameters gone, 78 steps from a refitted start, one seed: validation
# loss 0.360 with logits alone, 0.349 with weight 1, 0.342 with weight 5; 7 % slower.
FEATURE_WEIGHT = 5.0

PARK_AND_NO = "Park & No, Prune Your Model Before Distill It, ECCV 2022"


# Of Park & No's code on CIFAR-100.
ROUND_SETTINGS = published((39 / 130, 84 / 130), 0.1, 2e-4)
STUDENT_SETTINGS = published((0.3, 0.6, 0.8), 0.2, 5e-4)


def default_teaching(labelled: bool, taught: bool) -> Objective:
    """Hinton's loss as ``distillation`` weighs it."""
    return default_objective(labelled=labelled, taught=taught)


def teaching(alpha: float, temperature: float) -> Callable[[bool, bool], Objective]:
    """Hinton's loss with the teacher's share ``alpha``; all of it where there are no labels."""
    return lambda labelled, taught: logit_objective(
        alpha=alpha if labelled else 1.0, temperature=temperature
    )


def prune_then_distill(
    ways: tuple[Way, ...] | None = None,
    feature_weight: float = FEATURE_WEIGHT,
    *,
    repair: tuple[Repair, ...] = (Repair(),),
    start: Start = "kept",
    teacher: Teaching = "dense",
) -> Recipe:
    """Structured adaptation: the teacher is pruned by groups, the student has its widths.

    With the ``pruned`` network as ``teacher`` it is trained again first.  ``repair`` may be empty.
    """
    settings = repaired_settings if start == "kept" else fresh_settings
    retrained = (Retrain(epochs=130, settings=repaired_settings),) if teacher == "pruned" else ()
    return Recipe(
        name="prune-then-distill",
        form="structured",
        citation=f"structured adaptation of {PARK_AND_NO}",
        phases=(
            Prune(ways=ways or find_ways(AUTO, None)),
            *repair,
            *retrained,
            Distill(
                start=start,
                teacher=teacher,
                objective=default_teaching,
                feature_weight=feature_weight,
                epochs=200,
                settings=settings,
            ),
        ),
        choices={
            "ways": "; ".join(way.name for way in ways or find_ways(AUTO, None)),
            "feature_weight": feature_weight,
            "repair": "auto" if repair else "none",
            "student": start,
            "distill_from": teacher,
        },
    )


def prune_then_distill_as_published(
    sparsity: float,
    *,
    share: float = 0.2,
    start: Start = "fresh",
    teacher: Teaching = "pruned",
    alpha: float = 0.95,
    temperature: float = 10.0,
) -> Recipe:
    """The paper's own form: rounds of unstructured pruning with learning-rate rewinding, the
    student's widths from the sparse teacher's non-zeros, a fresh student, its loss.

    ``share`` 0 trains the teacher as often and prunes nothing: the control of the restarts.
    """
    return Recipe(
        name="prune-then-distill",
        form="faithful",
        citation=PARK_AND_NO,
        phases=(
            PruneWeights(
                share=share,
                rounds=rounds_until(sparsity, share or 0.2),
                epochs=130,
                settings=ROUND_SETTINGS,
            ),
            ReadWidths(criterion=magnitude),
            Distill(
                start=start,
                teacher=teacher,
                objective=teaching(alpha, temperature),
                feature_weight=0.0,
                epochs=200,
                settings=STUDENT_SETTINGS,
            ),
        ),
        choices={
            "share": share,
            "student": start,
            "distill_from": teacher,
            "alpha": alpha,
            "temperature": temperature,
        },
    )
