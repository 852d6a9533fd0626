"""Recipes as values: named tuples of phases, each with its citation.

Comes in: names of the command line.  Goes out: a ``Recipe``, made of functions.  Knows nothing of
files or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, TypeVar

from compressor.choosing import Way
from compressor.criteria import activation, random_order, reconstruction
from compressor.cutters import Cutter, cut_units, cut_weights, masked_units, removed_units
from compressor.distillation import default_objective
from compressor.errors import OptionError
from compressor.features import representation_node
from compressor.gradual import (
    Schedule,
    Teach,
    cubic,
    linear,
    objective_change,
    taught_by_another,
    taught_by_itself,
    weight_changes,
)
from compressor.graphs import Graph
from compressor.lookahead import Saliency, first_order, full, unit_changes
from compressor.objectives import Objective, logit_objective
from compressor.optimisation import (
    FRESH_NORMED,
    FRESH_PLAIN,
    REPAIRED_NORMED,
    REPAIRED_PLAIN,
    Optimisation,
    drops,
    fitting_settings,
    nesterov_sgd,
)
from compressor.phases import (
    Distill,
    LookAhead,
    MakeCutter,
    MakeTeach,
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
    Settings,
    Start,
    Teaching,
    published_epochs,
    rounds_until,
)
from compressor.planning import plan, plan_by_error, plan_uniform
from compressor.representations import (
    cosine_distance,
    cross_correlation_loss,
    divergence_objective,
    representation_objective,
)
from compressor.scoring import Batch, Criterion, answer_objective, magnitude, taylor
from compressor.self_distillation import SELF_DISTILLATIONS
from compressor.sensitivity import measured
from compressor.types import Analysis, Budget

# ResNet-56 with 70 % of the parameters gone, 78 steps from a refitted start, one seed: validation
# loss 0.360 with logits alone, 0.349 with weight 1, 0.342 with weight 5; 7 % slower.
FEATURE_WEIGHT = 5.0

PARK_AND_NO = "Park & No, Prune Your Model Before Distill It, ECCV 2022"
Form = Literal["structured", "faithful"]
Named = TypeVar("Named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    name: str
    form: Form
    citation: str
    phases: tuple[Phase, ...]
    choices: Mapping[str, str | float | int]  # what was asked for, by the options' names
    trained_teacher: bool = True  # else it starts from fresh weights

    @property
    def full_schedule(self) -> int:
        """Epochs of the last training phase as published; the others are in proportion."""
        return next(n for phase in reversed(self.phases) if (n := published_epochs(phase)))


CRITERIA: dict[str, Criterion] = {
    "reconstruction": reconstruction,
    "taylor": taylor(answer_objective),
    "activation": activation,
    "magnitude": magnitude,
    "random": random_order(seed=0),
}
ALLOCATIONS: dict[str, Callable[[str, Criterion], Way]] = {
    "measured": lambda name, found: Way(
        name=f"{name}, measured", criterion=measured(found), allocation=plan_by_error
    ),
    "global": lambda name, found: Way(
        name=f"{name}, one ranking", criterion=found, allocation=plan
    ),
    "uniform": lambda name, found: Way(
        name=f"{name}, the same share everywhere", criterion=found, allocation=plan_uniform
    ),
}
AUTO = "auto"
TRIED = (("reconstruction", "measured"), ("taylor", "global"), ("magnitude", "uniform"))


def find_ways(criterion: str, allocation: str | None) -> tuple[Way, ...]:
    """Ways by the names of the command line; "auto" is several.

    Raises OptionError for an unknown name.
    """
    if criterion != AUTO and criterion not in CRITERIA:
        raise OptionError(f"--criterion {criterion}: not one of {AUTO}, {', '.join(CRITERIA)}")
    if allocation is not None and allocation not in ALLOCATIONS:
        raise OptionError(f"--allocation {allocation}: not one of {', '.join(ALLOCATIONS)}")
    if criterion == AUTO:
        names = [(name, allocation or its) for name, its in TRIED]
    else:
        names = [(criterion, allocation or "measured")]
    return tuple(ALLOCATIONS[its](name, CRITERIA[name]) for name, its in names)


# -- how a phase trains ----------------------------------------------------------------------------

repaired_settings: Settings = partial(
    fitting_settings, normed=REPAIRED_NORMED, plain=REPAIRED_PLAIN
)
fresh_settings: Settings = partial(fitting_settings, normed=FRESH_NORMED, plain=FRESH_PLAIN)


def published(at: tuple[float, ...], factor: float, weight_decay: float) -> Settings:
    """SGD of Park & No's code on CIFAR-100: 0.1, momentum 0.9, dropped at shares of the run.

    Networks without batch norm, which none of theirs is, have our own settings.
    """
    settings = Optimisation(
        learning_rate=0.1,
        course=drops(at, factor),
        clip_norm=math.inf,
        make_optimiser=nesterov_sgd(weight_decay=weight_decay),
    )
    return partial(fitting_settings, normed=settings, plain=FRESH_PLAIN)


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


# -- prune, then distil ----------------------------------------------------------------------------


def prune_then_distill(
    ways: tuple[Way, ...] | None = None,
    feature_weight: float = FEATURE_WEIGHT,
    *,
    start: Start = "kept",
    teacher: Teaching = "dense",
) -> Recipe:
    """Structured adaptation: the teacher is pruned by groups, the student has its widths.

    With the ``pruned`` network as ``teacher`` it is trained again first.
    """
    settings = repaired_settings if start == "kept" else fresh_settings
    retrained = (Retrain(epochs=130, settings=repaired_settings),) if teacher == "pruned" else ()
    return Recipe(
        name="prune-then-distill",
        form="structured",
        citation=f"structured adaptation of {PARK_AND_NO}",
        phases=(
            Prune(ways=ways or find_ways(AUTO, None)),
            Repair(),
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


# -- EPSD ------------------------------------------------------------------------------------------

CHEN = "Chen et al., EPSD: Early Pruning with Self-Distillation, AAAI 2024"
EARLY_BATCHES, EARLY_SIZE = 4, 256
# Epochs of the published code of each self-distillation.
SELF_TAUGHT_EPOCHS = {"cs-kd": 200, "ps-kd": 300, "dlb": 240}


def early_settings() -> Settings:
    """SGD of ProsPr's final training: 0.1, a tenth of it at a half and at three quarters."""
    settings = Optimisation(
        learning_rate=0.1,
        course=drops((0.5, 0.75), 0.1),
        clip_norm=math.inf,
        make_optimiser=nesterov_sgd(weight_decay=5e-4),
    )
    return partial(fitting_settings, normed=settings, plain=FRESH_PLAIN)


def _look_ahead(self_distillation: str, steps: int, gradient: str) -> LookAhead:
    if steps < 0:
        raise OptionError(f"--lookahead {steps}: give 0 or more steps")
    return LookAhead(
        make=_one_of("--self-distillation", self_distillation, SELF_DISTILLATIONS),
        saliency=_one_of("--gradient", gradient, SALIENCIES),
        steps=steps,
        learning_rate=0.1,
        batches=EARLY_BATCHES,
        size=EARLY_SIZE,
    )


def epsd(
    self_distillation: str = "cs-kd", lookahead: int = 3, gradient: str = "first-order"
) -> Recipe:
    """Structured adaptation: units of the fresh network go by the self-distillation loss after a
    look ahead; what is left distils itself."""
    look = _look_ahead(self_distillation, lookahead, gradient)
    return Recipe(
        name="epsd",
        form="structured",
        citation=f"structured adaptation of {CHEN}",
        phases=(
            PruneUnitsEarly(look=look, criterion=unit_changes, allocation=plan),
            SelfDistill(
                make=look.make,
                epochs=SELF_TAUGHT_EPOCHS[self_distillation],
                settings=fresh_settings,
            ),
        ),
        choices=_early_choices(self_distillation, lookahead, gradient),
        trained_teacher=False,
    )


def epsd_as_published(
    self_distillation: str = "cs-kd", lookahead: int = 3, gradient: str = "first-order"
) -> Recipe:
    """Single weights, as in the paper.  How far it looks ahead, and at what learning rate, is not
    known: 3 steps at 0.1 are ProsPr's."""
    look = _look_ahead(self_distillation, lookahead, gradient)
    return Recipe(
        name="epsd",
        form="faithful",
        citation=f"{CHEN}; what its summaries leave open as in ProsPr (Alizadeh et al., ICLR 2022)",
        phases=(
            PruneWeightsEarly(look=look),
            SelfDistill(
                make=look.make,
                epochs=SELF_TAUGHT_EPOCHS[self_distillation],
                settings=early_settings(),
            ),
        ),
        choices=_early_choices(self_distillation, lookahead, gradient),
        trained_teacher=False,
    )


def _early_choices(self_distillation: str, steps: int, gradient: str) -> dict[str, str | int]:
    return {
        "self_distillation": self_distillation,
        "lookahead": steps,
        "gradient": gradient,
    }


SALIENCIES: Mapping[str, Saliency] = {"first-order": first_order, "full": full}


# -- SDP -------------------------------------------------------------------------------------------

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
    objective = _one_of("--similarity", similarity, SIMILARITIES)
    live = _one_of("--unpruned", unpruned, {name: name == "live" for name in UNPRUNED})

    def make(dense: Graph) -> tuple[Teach, tuple[str, ...]]:
        observed = _observed(dense, similarity)
        if live:
            return taught_by_itself(objective(), observed), observed
        return taught_by_another(dense, objective(), observed), observed

    return make


def _weight_cutter(similarity: str, importance: str) -> MakeCutter:
    def make(
        dense: Graph, analysis: Analysis, budget: Budget, sample: Sequence[Batch]
    ) -> Cutter[Any]:
        if importance == "magnitude":
            return cut_weights(budget.sparsity)
        objective = SIMILARITIES[similarity]()
        changes = weight_changes(dense, objective, sample, _observed(dense, similarity))
        return cut_weights(budget.sparsity, changes)

    return make


def _unit_cutter(similarity: str, importance: str, units: str) -> MakeCutter:
    form = _one_of("--units", units, FORMS)

    def make(
        dense: Graph, analysis: Analysis, budget: Budget, sample: Sequence[Batch]
    ) -> Cutter[Any]:
        if importance == "magnitude":
            return cut_units(analysis, budget, form)
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
    _one_of("--importance", importance, {name: name for name in IMPORTANCES})
    return Recipe(
        name="sdp",
        form="structured",
        citation=f"structured adaptation of {ONEILL}",
        phases=(
            PruneGradually(
                steps=_at_least_one(steps),
                schedule=_one_of("--schedule", schedule, SCHEDULES),
                make_cutter=_unit_cutter(similarity, importance, units),
                make_teach=_make_teach(similarity, unpruned),
                epochs=GRADUAL_EPOCHS,
                settings=repaired_settings,
            ),
        ),
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
    _one_of("--importance", importance, {name: name for name in IMPORTANCES})
    return Recipe(
        name="sdp",
        form="faithful",
        citation=f"{ONEILL}; schedule and settings, which its summaries leave open, are ours",
        phases=(
            PruneGradually(
                steps=_at_least_one(steps),
                schedule=_one_of("--schedule", schedule, SCHEDULES),
                make_cutter=_weight_cutter(similarity, importance),
                make_teach=_make_teach(similarity, unpruned),
                epochs=GRADUAL_EPOCHS,
                settings=repaired_settings,
            ),
        ),
        choices=_gradual_choices(similarity, unpruned, importance, schedule, steps),
    )


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


def _at_least_one(steps: int) -> int:
    if steps < 1:
        raise OptionError(f"--pruning-steps {steps}: give at least 1")
    return steps


# -- by name ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for by name; None: the recipe's own."""

    criterion: str | None = None
    allocation: str | None = None
    feature_weight: float | None = None
    student: str | None = None
    distill_from: str | None = None
    self_distillation: str | None = None
    lookahead: int | None = None
    gradient: str | None = None
    similarity: str | None = None
    unpruned: str | None = None
    importance: str | None = None
    schedule: str | None = None
    pruning_steps: int | None = None
    units: str | None = None


MakeRecipe = Callable[[float, Wishes], Recipe]


def find_recipe(name: str, form: str, sparsity: float, wishes: Wishes) -> Recipe:
    """A recipe by the names of the command line.

    Raises OptionError for an unknown name, and for a wish that the recipe has no use for.
    """
    if name not in RECIPES:
        raise OptionError(f"--recipe {name}: not one of {', '.join(sorted(RECIPES))}")
    if form not in RECIPES[name]:
        raise OptionError(f"--form {form}: not one of {', '.join(RECIPES[name])}")
    make, understood = RECIPES[name][form]
    for wish in fields(Wishes):
        if getattr(wishes, wish.name) is not None and wish.name not in understood:
            raise OptionError(
                f"--{wish.name.replace('_', '-')} is no choice of {name} in its {form} form"
            )
    return make(sparsity, wishes)


def _structured_ptd(sparsity: float, wishes: Wishes) -> Recipe:
    weight = FEATURE_WEIGHT if wishes.feature_weight is None else wishes.feature_weight
    if not weight >= 0:
        raise OptionError(f"--feature-weight {weight:g}: give 0 or more")
    return prune_then_distill(
        find_ways(wishes.criterion or AUTO, wishes.allocation),
        weight,
        start=_one_of("--student", wishes.student or "inherit", STARTS),
        teacher=_one_of("--distill-from", wishes.distill_from or "dense", TEACHINGS),
    )


def _faithful_ptd(sparsity: float, wishes: Wishes) -> Recipe:
    return prune_then_distill_as_published(
        sparsity,
        start=_one_of("--student", wishes.student or "fresh", STARTS),
        teacher=_one_of("--distill-from", wishes.distill_from or "pruned", TEACHINGS),
    )


def _early(make: Callable[[str, int, str], Recipe]) -> MakeRecipe:
    return lambda sparsity, wishes: make(
        wishes.self_distillation or "cs-kd",
        3 if wishes.lookahead is None else wishes.lookahead,
        wishes.gradient or "first-order",
    )


def _structured_sdp(sparsity: float, wishes: Wishes) -> Recipe:
    return sdp(
        wishes.similarity or "cross-correlation",
        unpruned=wishes.unpruned or "frozen",
        importance=wishes.importance or "magnitude",
        schedule=wishes.schedule or "cubic",
        steps=PRUNING_STEPS if wishes.pruning_steps is None else wishes.pruning_steps,
        units=wishes.units or "masked",
    )


def _faithful_sdp(sparsity: float, wishes: Wishes) -> Recipe:
    return sdp_as_published(
        wishes.similarity or "cross-correlation",
        unpruned=wishes.unpruned or "frozen",
        importance=wishes.importance or "magnitude",
        schedule=wishes.schedule or "cubic",
        steps=PRUNING_STEPS if wishes.pruning_steps is None else wishes.pruning_steps,
    )


STARTS: Mapping[str, Start] = {"inherit": "kept", "fresh": "fresh"}
TEACHINGS: Mapping[str, Teaching] = {"dense": "dense", "pruned": "pruned"}

_EARLY = frozenset({"self_distillation", "lookahead", "gradient"})
_GRADUAL = frozenset({"similarity", "unpruned", "importance", "schedule", "pruning_steps"})
# Recipe -> form -> how it is made, and the wishes it understands.
RECIPES: Mapping[str, Mapping[str, tuple[MakeRecipe, frozenset[str]]]] = {
    "prune-then-distill": {
        "structured": (
            _structured_ptd,
            frozenset({"criterion", "allocation", "feature_weight", "student", "distill_from"}),
        ),
        "faithful": (_faithful_ptd, frozenset({"student", "distill_from"})),
    },
    "epsd": {
        "structured": (_early(epsd), _EARLY),
        "faithful": (_early(epsd_as_published), _EARLY),
    },
    "sdp": {
        "structured": (_structured_sdp, _GRADUAL | {"units"}),
        "faithful": (_faithful_sdp, _GRADUAL),
    },
}


def _one_of(option: str, name: str, known: Mapping[str, Named]) -> Named:
    if name not in known:
        raise OptionError(f"{option} {name}: not one of {', '.join(known)}")
    return known[name]
