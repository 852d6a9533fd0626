"""Wishes: what was asked for by name becomes a recipe.

Comes in: names of the command line.  Goes out: a ``Recipe``.  Knows nothing of how phases are
carried out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from compressor.errors import OptionError
from compressor.phases import Repair, Start, Teaching
from compressor.recipes.epsd import epsd, epsd_as_published
from compressor.recipes.prune_then_distill import (
    FEATURE_WEIGHT,
    prune_then_distill,
    prune_then_distill_as_published,
)
from compressor.recipes.sdp import PRUNING_STEPS, sdp, sdp_as_published
from compressor.recipes.values import Recipe, one_of
from compressor.ways import AUTO, find_ways

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for by name; None: the recipe's own.  ``seed``: of what a recipe draws."""

    seed: int = 0
    criterion: str | None = None
    allocation: str | None = None
    repair: str | None = None
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


def asked(wish: Value | None, usual: Value) -> Value:
    """What was asked for, be it an empty word or a zero, else the recipe's own."""
    return usual if wish is None else wish


def find_recipe(
    name: str, form: str, sparsity: float, wishes: Wishes, of: str = "params"
) -> Recipe:
    """A recipe by the names of the command line.

    Raises OptionError for an unknown name, and for a wish that the recipe has no use for.
    """
    if name not in RECIPES:
        raise OptionError(f"--recipe {name}: not one of {', '.join(sorted(RECIPES))}")
    if form not in RECIPES[name]:
        raise OptionError(f"--form {form}: not one of {', '.join(RECIPES[name])}")
    if form == "faithful" and of != "params":
        raise OptionError(f"--of {of}: the faithful forms count weights; leave it out")
    make, understood = RECIPES[name][form]
    for wish in fields(Wishes):
        wished = getattr(wishes, wish.name) != wish.default
        if wished and wish.name not in understood | {"seed"}:
            raise OptionError(
                f"--{wish.name.replace('_', '-')} is no choice of {name} in its {form} form"
            )
    return make(sparsity, wishes)


def _structured_ptd(sparsity: float, wishes: Wishes) -> Recipe:
    weight = asked(wishes.feature_weight, FEATURE_WEIGHT)
    if not 0 <= weight < math.inf:
        raise OptionError(f"--feature-weight {weight:g}: give 0 or more")
    return prune_then_distill(
        find_ways(asked(wishes.criterion, AUTO), wishes.allocation, wishes.seed),
        weight,
        repair=one_of("--repair", asked(wishes.repair, "auto"), REPAIRS),
        start=one_of("--student", asked(wishes.student, "inherit"), STARTS),
        teacher=one_of("--distill-from", asked(wishes.distill_from, "dense"), TEACHINGS),
    )


def _faithful_ptd(sparsity: float, wishes: Wishes) -> Recipe:
    return prune_then_distill_as_published(
        sparsity,
        start=one_of("--student", asked(wishes.student, "fresh"), STARTS),
        teacher=one_of("--distill-from", asked(wishes.distill_from, "pruned"), TEACHINGS),
    )


def _early(make: Callable[[str, int, str], Recipe]) -> MakeRecipe:
    return lambda sparsity, wishes: make(
        asked(wishes.self_distillation, "cs-kd"),
        asked(wishes.lookahead, 3),
        asked(wishes.gradient, "first-order"),
    )


def _structured_sdp(sparsity: float, wishes: Wishes) -> Recipe:
    return sdp(
        asked(wishes.similarity, "cross-correlation"),
        unpruned=asked(wishes.unpruned, "frozen"),
        importance=asked(wishes.importance, "magnitude"),
        schedule=asked(wishes.schedule, "cubic"),
        steps=asked(wishes.pruning_steps, PRUNING_STEPS),
        units=asked(wishes.units, "masked"),
    )


def _faithful_sdp(sparsity: float, wishes: Wishes) -> Recipe:
    return sdp_as_published(
        asked(wishes.similarity, "cross-correlation"),
        unpruned=asked(wishes.unpruned, "frozen"),
        importance=asked(wishes.importance, "magnitude"),
        schedule=asked(wishes.schedule, "cubic"),
        steps=asked(wishes.pruning_steps, PRUNING_STEPS),
    )


STARTS: Mapping[str, Start] = {"inherit": "kept", "fresh": "fresh"}
REPAIRS: Mapping[str, tuple[Repair, ...]] = {"auto": (Repair(),), "none": ()}
TEACHINGS: Mapping[str, Teaching] = {"dense": "dense", "pruned": "pruned"}

_ADAPTATION = frozenset(
    {"criterion", "allocation", "repair", "feature_weight", "student", "distill_from"}
)
_EARLY = frozenset({"self_distillation", "lookahead", "gradient"})
_GRADUAL = frozenset({"similarity", "unpruned", "importance", "schedule", "pruning_steps"})
# Recipe -> form -> how it is made, and the wishes it understands.
RECIPES: Mapping[str, Mapping[str, tuple[MakeRecipe, frozenset[str]]]] = {
    "prune-then-distill": {
        "structured": (
            _structured_ptd,
            _ADAPTATION,
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
