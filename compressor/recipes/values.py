"""What a recipe is, and what the recipes share.

Comes in and goes out: values and functions.  Knows nothing of any single recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from compressor.errors import OptionError
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
    Phase,
    Settings,
    published_epochs,
)

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


def one_of(option: str, name: str, known: Mapping[str, Named]) -> Named:
    """What is known by this name.  Raises OptionError for another one."""
    if name not in known:
        raise OptionError(f"{option} {name}: not one of {', '.join(known)}")
    return known[name]


repaired_settings: Settings = partial(
    fitting_settings, normed=REPAIRED_NORMED, plain=REPAIRED_PLAIN
)
fresh_settings: Settings = partial(fitting_settings, normed=FRESH_NORMED, plain=FRESH_PLAIN)


def published(at: tuple[float, ...], factor: float, weight_decay: float) -> Settings:
    """SGD of the papers' code: 0.1, momentum 0.9, dropped at shares of the run.

    Norms and biases are not decayed, which is ours.  Networks without batch norm, which none of
    theirs is, have our own settings.
    """
    settings = Optimisation(
        learning_rate=0.1,
        course=drops(at, factor),
        clip_norm=math.inf,
        average=0.0,
        make_optimiser=nesterov_sgd(weight_decay=weight_decay),
    )
    return partial(fitting_settings, normed=settings, plain=FRESH_PLAIN)
