"""Recipes as values: named tuples of phases, each with its citation.

A phase says what happens and with whom: ``Prune`` removes units once, by a criterion; ``Distill``
trains what is left.  ``compressor.building`` carries phases out; nothing there asks for a recipe's
name.  Knows nothing of files or clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from compressor.choosing import Way
from compressor.criteria import activation, random_order, reconstruction
from compressor.errors import OptionError
from compressor.planning import plan, plan_by_error, plan_uniform
from compressor.scoring import Criterion, answer_objective, magnitude, taylor
from compressor.sensitivity import measured

# ResNet-56 with 70 % of the parameters gone, 78 steps from a refitted start, one seed: validation
# loss 0.360 with logits alone, 0.349 with weight 1, 0.342 with weight 5; 7 % slower.
FEATURE_WEIGHT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Score, plan, remove, prove, repair.  Of several ``ways`` a short trial takes the best."""

    name: str = "prune"
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill:
    """Train the student: it starts from the kept channels; ``teacher`` is the dense network.

    ``feature_weight`` above 0 adds the distance between both networks' values on kept units.
    """

    name: str = "distill"
    feature_weight: float = FEATURE_WEIGHT
    start: Literal["kept"] = "kept"
    teacher: Literal["dense"] = "dense"


Phase = Prune | Distill


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    name: str
    form: Literal["structured", "faithful"]
    citation: str
    phases: tuple[Phase, ...]


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


def prune_then_distill(
    ways: tuple[Way, ...] | None = None, feature_weight: float = FEATURE_WEIGHT
) -> Recipe:
    """Structured adaptation: the student inherits the kept channels of the pruned teacher."""
    return Recipe(
        name="prune-then-distill",
        form="structured",
        citation="structured adaptation of Park & No, "
        "Prune Your Model Before Distill It, ECCV 2022",
        phases=(
            Prune(ways=ways or find_ways(AUTO, None)),
            Distill(feature_weight=feature_weight),
        ),
    )


RECIPES: dict[str, Callable[[tuple[Way, ...], float], Recipe]] = {
    "prune-then-distill": prune_then_distill
}


def find_recipe(
    name: str, criterion: str, allocation: str | None, feature_weight: float = FEATURE_WEIGHT
) -> Recipe:
    """A recipe by the names of the command line.  Raises OptionError for an unknown one."""
    if name not in RECIPES:
        raise OptionError(f"--recipe {name}: not one of {', '.join(sorted(RECIPES))}")
    if not feature_weight >= 0:
        raise OptionError(f"--feature-weight {feature_weight:g}: give 0 or more")
    return RECIPES[name](find_ways(criterion, allocation), feature_weight)
