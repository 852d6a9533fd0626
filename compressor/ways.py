"""Ways to choose units, by the names of the command line.

Comes in: names.  Goes out: ``Way``s, which are functions: a criterion inside groups, an allocation
over them.  Knows nothing of recipes.
"""

from __future__ import annotations

from collections.abc import Callable

from compressor.choosing import Way
from compressor.criteria import activation, random_order, reconstruction
from compressor.errors import OptionError
from compressor.planning import plan, plan_by_error, plan_uniform
from compressor.scoring import Criterion, answer_objective, magnitude, taylor
from compressor.sensitivity import measured

CRITERIA: dict[str, Criterion] = {
    "reconstruction": reconstruction,
    "taylor": taylor(answer_objective),
    "activation": activation,
    "magnitude": magnitude,
}
OF_WEIGHTS = ("magnitude", "random")  # criteria that look at no data
ALLOCATIONS: dict[str, Callable[[str, Criterion], Way]] = {
    "measured": lambda name, found: Way(
        name=f"{name}, measured", criterion=measured(found), allocation=plan_by_error
    ),
    "global": lambda name, found: Way(
        name=f"{name}, one ranking",
        criterion=found,
        allocation=plan,
        of_weights=name in OF_WEIGHTS,
    ),
    "uniform": lambda name, found: Way(
        name=f"{name}, the same share everywhere",
        criterion=found,
        allocation=plan_uniform,
        of_weights=name in OF_WEIGHTS,
    ),
}
AUTO = "auto"
TRIED = (("reconstruction", "measured"), ("taylor", "global"), ("magnitude", "uniform"))


def find_ways(criterion: str, allocation: str | None, seed: int = 0) -> tuple[Way, ...]:
    """Ways by the names of the command line; "auto" is several.  ``seed``: of a random order.

    Raises OptionError for an unknown name.
    """
    known = {**CRITERIA, "random": random_order(seed)}
    if criterion != AUTO and criterion not in known:
        raise OptionError(f"--criterion {criterion}: not one of {AUTO}, {', '.join(known)}")
    if allocation is not None and allocation not in ALLOCATIONS:
        raise OptionError(f"--allocation {allocation}: not one of {', '.join(ALLOCATIONS)}")
    if criterion == AUTO:
        names = [(name, allocation or its) for name, its in TRIED]
    else:
        names = [(criterion, allocation or "measured")]
    return tuple(ALLOCATIONS[its](name, known[name]) for name, its in names)
