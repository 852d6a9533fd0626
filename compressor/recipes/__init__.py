"""Recipes as values: named tuples of phases, each with its citation.

    values              what a recipe is, and what the recipes share
    prune_then_distill  prune first, read the student off, distil
    epsd                prune at initialisation, distil oneself
    sdp                 prune while being held to the unpruned network
    wishes              what was asked for by name becomes one of them

Nothing here carries a phase out, and nothing elsewhere asks for a recipe's name.
"""

from compressor.recipes.epsd import epsd, epsd_as_published
from compressor.recipes.prune_then_distill import (
    FEATURE_WEIGHT,
    prune_then_distill,
    prune_then_distill_as_published,
)
from compressor.recipes.sdp import sdp, sdp_as_published
from compressor.recipes.values import Recipe

__all__ = [
    "FEATURE_WEIGHT",
    "Recipe",
    "epsd",
    "epsd_as_published",
    "prune_then_distill",
    "prune_then_distill_as_published",
    "sdp",
    "sdp_as_published",
]
