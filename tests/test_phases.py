"""How long each phase of a recipe trains, and how many rounds it takes."""

from __future__ import annotations

import pytest

from compressor.pacing import Deadline, Epochs
from compressor.phases import PruneWeights, lengths, published_epochs, rounds_until
from compressor.recipes import (
    epsd,
    prune_then_distill,
    prune_then_distill_as_published,
    sdp,
)


@pytest.mark.parametrize(
    ("sparsity", "rounds"), [(0.36, 2), (0.59, 4), (0.79, 7), (0.8, 7), (0.05, 1)]
)
def test_rounds_are_those_of_the_published_sparsities(sparsity: float, rounds: int) -> None:
    assert rounds_until(sparsity, 0.2) == rounds


def test_a_deadline_is_shared_in_proportion_to_the_published_epochs() -> None:
    phases = prune_then_distill_as_published(0.8).phases
    pruning, reading, distilling = lengths(phases, Deadline(1110.0))
    assert reading is None
    assert pruning == Deadline(910.0)  # 7 rounds of 130 epochs beside 200
    assert distilling == Deadline(200.0)
    (whole,) = (one for one in lengths(prune_then_distill().phases, Deadline(60.0)) if one)
    assert whole == Deadline(60.0)


def test_epochs_are_those_of_the_last_phase_and_the_others_follow() -> None:
    recipe = prune_then_distill_as_published(0.59)
    assert lengths(recipe.phases, Epochs(200)) == (Epochs(4 * 130), None, Epochs(200))
    assert lengths(recipe.phases, Epochs(20)) == (Epochs(4 * 13), None, Epochs(20))
    assert lengths(recipe.phases, Epochs(1)) == (Epochs(4), None, Epochs(1))
    assert recipe.full_schedule == 200
    assert lengths(recipe.phases, None) == (None, None, None)


def test_the_published_schedules() -> None:
    assert (epsd("cs-kd").full_schedule, epsd("ps-kd").full_schedule) == (200, 300)
    assert sdp().full_schedule == published_epochs(sdp().phases[0])
    (control, *_) = prune_then_distill_as_published(0.79, share=0.0).phases
    assert isinstance(control, PruneWeights)
    assert (control.share, control.rounds) == (0.0, 7)
