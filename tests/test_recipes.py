"""Recipes are values, found by name in one place."""

from __future__ import annotations

import pytest

from compressor.errors import OptionError
from compressor.phases import Distill, Prune, Repair
from compressor.planning import plan_uniform
from compressor.recipes import prune_then_distill
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.scoring import magnitude
from compressor.ways import find_ways

PTD = "prune-then-distill"


def test_prune_then_distill_prunes_and_then_distils_and_cites_its_paper() -> None:
    recipe = prune_then_distill()
    assert [type(phase) for phase in recipe.phases] == [Prune, Repair, Distill]
    assert "Park & No" in recipe.citation
    assert "adaptation" in recipe.citation


def test_names_become_functions() -> None:
    (way,) = find_ways("magnitude", "uniform")
    assert (way.criterion, way.allocation) == (magnitude, plan_uniform)
    assert "magnitude" in way.name
    wishes = Wishes(criterion="magnitude", allocation="uniform")
    pruning, *_ = find_recipe("prune-then-distill", "structured", 0.5, wishes).phases
    assert isinstance(pruning, Prune)
    assert [one.name for one in pruning.ways] == [way.name]


def test_auto_is_several_ways_and_an_allocation_holds_for_all_of_them() -> None:
    ways = find_ways("auto", None)
    assert len({way.allocation for way in ways}) > 1
    assert {way.allocation for way in find_ways("auto", "uniform")} == {plan_uniform}
    assert len(find_ways("reconstruction", None)) == 1


@pytest.mark.parametrize(
    ("name", "form", "wishes", "said"),
    [
        ("magic", "structured", Wishes(), "--recipe magic: not one of .*prune-then-distill"),
        (PTD, "loose", Wishes(), "--form loose: not one of structured, faithful"),
        (PTD, "structured", Wishes(criterion="luck"), "--criterion luck"),
        (PTD, "structured", Wishes(allocation="fair"), "--allocation fair"),
        (PTD, "structured", Wishes(student="clone"), "--student clone: not one of inherit, fresh"),
        (PTD, "faithful", Wishes(feature_weight=1.0), "--feature-weight is no choice of"),
    ],
)
def test_unknown_names_and_wishes_without_use_are_refused(
    name: str, form: str, wishes: Wishes, said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        find_recipe(name, form, 0.5, wishes)
