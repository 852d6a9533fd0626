"""EPSD: early pruning by self-distillation, Chen et al., AAAI 2024, in two forms.

Comes in: choices.  Goes out: a ``Recipe``.  Knows nothing of files or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping

from compressor.errors import OptionError
from compressor.lookahead import Saliency, first_order, full, unit_changes
from compressor.phases import (
    LookAhead,
    PruneUnitsEarly,
    PruneWeightsEarly,
    SelfDistill,
)
from compressor.planning import plan
from compressor.recipes.values import Recipe, fresh_settings, one_of, published
from compressor.self_distillation import SELF_DISTILLATIONS

CHEN = "Chen et al., EPSD: Early Pruning with Self-Distillation, AAAI 2024"
EARLY_BATCHES, EARLY_SIZE = 4, 256
# Epochs of the published code of each self-distillation.
SELF_TAUGHT_EPOCHS = {"cs-kd": 200, "ps-kd": 300, "dlb": 240}


# ProsPr's final training: a tenth of the learning rate at a half and at three quarters.
EARLY_SETTINGS = published((0.5, 0.75), 0.1, 5e-4)


def _look_ahead(self_distillation: str, steps: int, gradient: str) -> LookAhead:
    if steps < 0:
        raise OptionError(f"--lookahead {steps}: give 0 or more steps")
    return LookAhead(
        make=one_of("--self-distillation", self_distillation, SELF_DISTILLATIONS),
        saliency=one_of("--gradient", gradient, SALIENCIES),
        steps=steps,
        learning_rate=0.1,
        batches=EARLY_BATCHES,
        size=EARLY_SIZE,
    )


def epsd(
    self_distillation: str = "cs-kd", lookahead: int = 3, gradient: str = "first-order"
) -> Recipe:
    """Structured adaptation: units of the fresh network go by the self-distillation loss after a
    look ahead; what is left distils itself."""
    look = _look_ahead(self_distillation, lookahead, gradient)
    return Recipe(
        name="epsd",
        form="structured",
        citation=f"structured adaptation of {CHEN}",
        phases=(
            PruneUnitsEarly(look=look, criterion=unit_changes, allocation=plan),
            SelfDistill(
                make=look.make,
                epochs=SELF_TAUGHT_EPOCHS[self_distillation],
                settings=fresh_settings,
            ),
        ),
        choices=_early_choices(self_distillation, lookahead, gradient),
        trained_teacher=False,
    )


def epsd_as_published(
    self_distillation: str = "cs-kd", lookahead: int = 3, gradient: str = "first-order"
) -> Recipe:
    """Single weights, as in the paper.  How far it looks ahead, and at what learning rate, is not
    known: 3 steps at 0.1 are ProsPr's."""
    look = _look_ahead(self_distillation, lookahead, gradient)
    return Recipe(
        name="epsd",
        form="faithful",
        citation=f"{CHEN}; what its summaries leave open as in ProsPr (Alizadeh et al., ICLR 2022)",
        phases=(
            PruneWeightsEarly(look=look),
            SelfDistill(
                make=look.make,
                epochs=SELF_TAUGHT_EPOCHS[self_distillation],
                settings=EARLY_SETTINGS,
            ),
        ),
        choices=_early_choices(self_distillation, lookahead, gradient),
        trained_teacher=False,
    )


def _early_choices(self_distillation: str, steps: int, gradient: str) -> dict[str, str | int]:
    return {
        "self_distillation": self_distillation,
        "lookahead": steps,
        "gradient": gradient,
    }


SALIENCIES: Mapping[str, Saliency] = {"first-order": first_order, "full": full}
