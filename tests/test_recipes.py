"""Recipes are values, found by name in one place."""

from __future__ import annotations

import pytest

from compressor.errors import OptionError
from compressor.planning import plan_uniform
from compressor.recipes import Distill, Prune, find_recipe, find_ways, prune_then_distill
from compressor.scoring import magnitude


def test_prune_then_distill_prunes_and_then_distils_and_cites_its_paper() -> None:
    recipe = prune_then_distill()
    assert [type(phase) for phase in recipe.phases] == [Prune, Distill]
    assert "Park & No" in recipe.citation
    assert "adaptation" in recipe.citation


def test_names_become_functions() -> None:
    (way,) = find_ways("magnitude", "uniform")
    assert (way.criterion, way.allocation) == (magnitude, plan_uniform)
    assert "magnitude" in way.name
    pruning, _ = find_recipe("prune-then-distill", "magnitude", "uniform").phases
    assert isinstance(pruning, Prune)
    assert [one.name for one in pruning.ways] == [way.name]


def test_auto_is_several_ways_and_an_allocation_holds_for_all_of_them() -> None:
    ways = find_ways("auto", None)
    assert len({way.allocation for way in ways}) > 1
    assert {way.allocation for way in find_ways("auto", "uniform")} == {plan_uniform}
    assert len(find_ways("reconstruction", None)) == 1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("magic", "magnitude", "global"), "--recipe magic"),
        (("prune-then-distill", "luck", "global"), "--criterion luck"),
        (("prune-then-distill", "magnitude", "fair"), "--allocation fair"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(
    names: tuple[str, str, str], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        find_recipe(*names)
