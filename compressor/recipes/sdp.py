"""SDP: pruning while a network is held to what it was, O'Neill et al., 2021, in two forms.

Comes in: choices.  Goes out: a ``Recipe``.  Knows nothing of files or clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressor.cutters import Cutter, cut_units, cut_weights, masked_units, removed_units
from compressor.errors import OptionError
from compressor.features import representation_node
from compressor.graphs import Graph
from compressor.objectives import Objective
from compressor.phases import (
    MakeCutter,
    MakeTeach,
    PruneGradually,
)
from compressor.recipes.values import Recipe, one_of, repaired_settings
from compressor.representations import (
    cosine_distance,
    cross_correlation_loss,
    divergence_objective,
    representation_objective,
)
from compressor.scoring import Batch
from compressor.stretches import Schedule, cubic, linear
from compressor.tutors import (
    Teach,
    objective_change,
    taught_by_another,
    taught_by_itself,
    weight_changes,
)
from compressor.types import Analysis, Budget

ONEILL = (
    "O'Neill et al., Deep Neural Compression Via Concurrent Pruning and Self-Distillation, "
    "arXiv 2109.15014, 2021"
)
PRUNING_STEPS, GRADUAL_EPOCHS = 10, 20  # ours: the paper's are not known
SIMILARITIES: Mapping[str, Callable[[], Objective]] = {
    "cross-correlation": lambda: representation_objective(cross_correlation_loss),
    "cosine": lambda: representation_objective(cosine_distance),
    "kl": divergence_objective,
}
SCHEDULES: Mapping[str, Schedule] = {"cubic": cubic, "linear": linear}
UNPRUNED = ("frozen", "live")
IMPORTANCES = ("magnitude", "objective")
FORMS: Mapping[str, Any] = {"masked": masked_units, "removed": removed_units}


def _observed(graph: Graph, similarity: str) -> tuple[str, ...]:
    return () if similarity == "kl" else (representation_node(graph),)


def _make_teach(similarity: str, unpruned: str) -> MakeTeach:
    objective = one_of("--similarity", similarity, SIMILARITIES)
    live = one_of("--unpruned", unpruned, {name: name == "live" for name in UNPRUNED})

    def make(dense: Graph) -> tuple[Teach, tuple[str, ...]]:
        observed = _observed(dense, similarity)
        if live:
            return taught_by_itself(objective(), observed), observed
        return taught_by_another(dense, objective(), observed), observed

    return make


def _require_labels(sample: Sequence[Batch]) -> None:
    if any(labels is None for _, labels in sample):
        raise OptionError(
            "--importance objective needs labels: at the teacher's own weights the distance from "
            "it has no slope; take magnitude"
        )


def _weight_cutter(similarity: str, importance: str) -> MakeCutter:
    def make(
        dense: Graph, analysis: Analysis, budget: Budget, sample: Sequence[Batch]
    ) -> Cutter[Any]:
        if importance == "magnitude":
            return cut_weights(budget.sparsity)
        _require_labels(sample)
        objective = SIMILARITIES[similarity]()
        changes = weight_changes(dense, objective, sample, _observed(dense, similarity))
        return cut_weights(budget.sparsity, changes)

    return make


def _unit_cutter(similarity: str, importance: str, units: str) -> MakeCutter:
    form = one_of("--units", units, FORMS)

    def make(
        dense: Graph, analysis: Analysis, budget: Budget, sample: Sequence[Batch]
    ) -> Cutter[Any]:
        if importance == "magnitude":
            return cut_units(analysis, budget, form)
        _require_labels(sample)
        objective = SIMILARITIES[similarity]()
        criterion = objective_change(dense, objective, _observed(dense, similarity))
        return cut_units(analysis, budget, form, criterion=criterion, batches=sample)

    return make


def sdp(
    similarity: str = "cross-correlation",
    *,
    unpruned: str = "frozen",
    importance: str = "magnitude",
    schedule: str = "cubic",
    steps: int = PRUNING_STEPS,
    units: str = "masked",
) -> Recipe:
    """Structured adaptation: units go little by little while the network is held to what the
    unpruned one represents."""
    cutter = _unit_cutter(similarity, _known(importance), units)
    return Recipe(
        name="sdp",
        form="structured",
        citation=f"structured adaptation of {ONEILL}",
        phases=(_phase(cutter, similarity, unpruned, schedule, steps),),
        choices=_gradual_choices(similarity, unpruned, importance, schedule, steps)
        | {"units": units},
    )


def sdp_as_published(
    similarity: str = "cross-correlation",
    *,
    unpruned: str = "frozen",
    importance: str = "magnitude",
    schedule: str = "cubic",
    steps: int = PRUNING_STEPS,
) -> Recipe:
    """Single weights, as in the paper.  Its schedule, weights of the losses and optimiser are not
    known: these are ours."""
    cutter = _weight_cutter(similarity, _known(importance))
    return Recipe(
        name="sdp",
        form="faithful",
        citation=f"{ONEILL}; schedule and settings, which its summaries leave open, are ours",
        phases=(_phase(cutter, similarity, unpruned, schedule, steps),),
        choices=_gradual_choices(similarity, unpruned, importance, schedule, steps),
    )


def _phase(
    cutter: MakeCutter, similarity: str, unpruned: str, schedule: str, steps: int
) -> PruneGradually:
    if steps < 1:
        raise OptionError(f"--pruning-steps {steps}: give at least 1")
    return PruneGradually(
        steps=steps,
        schedule=one_of("--schedule", schedule, SCHEDULES),
        make_cutter=cutter,
        make_teach=_make_teach(similarity, unpruned),
        epochs=GRADUAL_EPOCHS,
        settings=repaired_settings,
    )


def _known(importance: str) -> str:
    return one_of("--importance", importance, {name: name for name in IMPORTANCES})


def _gradual_choices(
    similarity: str, unpruned: str, importance: str, schedule: str, steps: int
) -> dict[str, str | int]:
    return {
        "similarity": similarity,
        "unpruned": unpruned,
        "importance": importance,
        "schedule": schedule,
        "pruning_steps": steps,
    }
