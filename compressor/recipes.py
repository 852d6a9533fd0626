"""Recipes as values: named tuples of phases, each with its citation.

A phase says what happens and with whom: ``Prune`` removes units once, by a criterion; ``Distill``
trains what is left.  ``compressor.building`` carries phases out; nothing there asks for a recipe's
name.  Knows nothing of files or clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from compressor.errors import OptionError
from compressor.planning import plan, plan_uniform
from compressor.scoring import Criterion, answer_objective, magnitude, taylor
from compressor.types import Analysis, Budget, Plan, Scores

Allocation = Callable[[Analysis, Scores, Budget], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Score, plan, remove, prove; then batch-norm statistics are re-estimated."""

    name: str = "prune"
    criterion: Criterion
    allocation: Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill:
    """Train the student: it starts from the kept channels; ``teacher`` is the dense network.

    ``feature_weight`` above 0 adds the distance between both networks' values on kept units.
    """

    name: str = "distill"
    feature_weight: float = 0.0
    start: Literal["kept"] = "kept"
    teacher: Literal["dense"] = "dense"


Phase = Prune | Distill


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    name: str
    form: Literal["structured", "faithful"]
    citation: str
    phases: tuple[Phase, ...]


CRITERIA: dict[str, Criterion] = {"magnitude": magnitude, "taylor": taylor(answer_objective)}
ALLOCATIONS: dict[str, Allocation] = {"global": plan, "uniform": plan_uniform}


def prune_then_distill(
    criterion: Criterion = magnitude, allocation: Allocation = plan, feature_weight: float = 0.0
) -> Recipe:
    """Structured adaptation: the student inherits the kept channels of the pruned teacher."""
    return Recipe(
        name="prune-then-distill",
        form="structured",
        citation="structured adaptation of Park & No, "
        "Prune Your Model Before Distill It, ECCV 2022",
        phases=(
            Prune(criterion=criterion, allocation=allocation),
            Distill(feature_weight=feature_weight),
        ),
    )


RECIPES: dict[str, Callable[[Criterion, Allocation, float], Recipe]] = {
    "prune-then-distill": prune_then_distill
}


def find_recipe(name: str, criterion: str, allocation: str, feature_weight: float = 0.0) -> Recipe:
    """A recipe by the names of the command line.  Raises OptionError for an unknown one."""
    for kind, wanted, known in (
        ("recipe", name, RECIPES),
        ("criterion", criterion, CRITERIA),
        ("allocation", allocation, ALLOCATIONS),
    ):
        if wanted not in known:
            raise OptionError(f"--{kind} {wanted}: not one of {', '.join(sorted(known))}")
    if not feature_weight >= 0:
        raise OptionError(f"--feature-weight {feature_weight:g}: give 0 or more")
    return RECIPES[name](CRITERIA[criterion], ALLOCATIONS[allocation], feature_weight)
