"""Recipes as values: named tuples of phases, each with its citation.

Comes in: names of the command line.  Goes out: a ``Recipe``, made of functions.  Knows nothing of
files or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, TypeVar

from compressor.choosing import Way
from compressor.criteria import activation, random_order, reconstruction
from compressor.distillation import default_objective
from compressor.errors import OptionError
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
    Phase,
    Prune,
    PruneWeights,
    ReadWidths,
    Repair,
    Retrain,
    Settings,
    Start,
    Teaching,
    published_epochs,
    rounds_until,
)
from compressor.planning import plan, plan_by_error, plan_uniform
from compressor.scoring import Criterion, answer_objective, magnitude, taylor
from compressor.sensitivity import measured

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


# -- by name ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for by name; None: the recipe's own."""

    criterion: str | None = None
    allocation: str | None = None
    feature_weight: float | None = None
    student: str | None = None
    distill_from: str | None = None


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


STARTS: Mapping[str, Start] = {"inherit": "kept", "fresh": "fresh"}
TEACHINGS: Mapping[str, Teaching] = {"dense": "dense", "pruned": "pruned"}

MakeRecipe = Callable[[float, Wishes], Recipe]
# Recipe -> form -> how it is made, and the wishes it understands.
RECIPES: Mapping[str, Mapping[str, tuple[MakeRecipe, frozenset[str]]]] = {
    "prune-then-distill": {
        "structured": (
            _structured_ptd,
            frozenset({"criterion", "allocation", "feature_weight", "student", "distill_from"}),
        ),
        "faithful": (_faithful_ptd, frozenset({"student", "distill_from"})),
    },
}


def _one_of(option: str, name: str, known: Mapping[str, Named]) -> Named:
    if name not in known:
        raise OptionError(f"{option} {name}: not one of {', '.join(known)}")
    return known[name]
