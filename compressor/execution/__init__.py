"""Execution: the phases of a recipe, one after the other.

Comes in: a ``Site`` (the network, its data, the budget) and phases.  Goes out: a ``Standing``,
which every phase takes and gives anew: the student so far, who was pruned to teach it, what was
measured.  Knows nothing of run folders, files or recipes' names.

    standing    where a run stands; cut and prove, measure, write down
    following   one phase after the other; what must be refused before the first
    distilling  prune, repair, retrain, prune weights, read widths, distil
    early       prune by a look ahead, self-distil
    gradually   prune while training
"""

from compressor.execution import distilling, early, gradually  # they say how phases are done
from compressor.execution.following import (
    carry_out,
    first_ways,
    follow,
    require_possible,
    require_reachable,
)
from compressor.execution.standing import Record, Site, Standing, cut

__all__ = [
    "Record",
    "Site",
    "Standing",
    "carry_out",
    "cut",
    "distilling",
    "early",
    "first_ways",
    "follow",
    "gradually",
    "require_possible",
    "require_reachable",
]
