"""Single weights: the cheapest go over all layers, and stay zero through training."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from compressor.distillation import distill
from compressor.errors import BudgetError
from compressor.optimisation import Optimisation, plain_adamw
from compressor.pacing import Epochs
from compressor.sparsity import (
    densities,
    density_of,
    full_mask,
    hold_zero,
    keep_dearest,
    keep_dearest_everywhere,
    magnitudes,
    sparse,
)
from tests import zoo
from tests.test_distillation import small_graph, some_data


def test_the_cheapest_of_all_layers_go_and_what_is_gone_stays_gone() -> None:
    graph = zoo.graph("chain")
    before = full_mask(graph)
    first = keep_dearest(magnitudes(graph), 0.5, before)
    assert density_of(first) == pytest.approx(0.5, abs=1e-3)
    scores = magnitudes(graph)
    alive = torch.cat([scores[n][first[n]].flatten() for n in scores])
    gone = torch.cat([scores[n][~first[n]].flatten() for n in scores])
    assert gone.max() <= alive.min()
    assert len(set(densities(first).values())) > 1  # one ranking, not one share per layer
    reversed_scores = {name: -value for name, value in scores.items()}
    second = keep_dearest(reversed_scores, 0.4, first)
    assert density_of(second) == pytest.approx(0.4, abs=1e-3)
    assert all(not bool((second[n] & ~first[n]).any()) for n in first)


def test_masks_stay_zero_through_adamw_steps() -> None:
    fresh = small_graph(1)
    mask = keep_dearest(magnitudes(fresh), 0.5, full_mask(fresh))
    start = sparse(fresh, mask)
    found = distill(
        start,
        None,
        some_data(),
        length=Epochs(12),
        optimisation=Optimisation(learning_rate=0.02, make_optimiser=plain_adamw()),
        hold=partial(hold_zero, mask=mask),
    )
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    moved = [n for n, w in found.graph.tensors.items() if not torch.equal(w, start.tensors[n])]
    assert moved
    for name, alive in mask.items():
        assert bool((found.graph.tensors[name][~alive] == 0).all())
        assert bool((found.graph.tensors[name][alive] != 0).all())


def test_nothing_left_and_scores_that_are_no_numbers_are_refused() -> None:
    graph = zoo.graph("chain")
    with pytest.raises(BudgetError, match="leaves none"):
        keep_dearest(magnitudes(graph), 0.0, full_mask(graph))
    broken = {name: value * torch.nan for name, value in magnitudes(graph).items()}
    with pytest.raises(BudgetError, match="not all finite"):
        keep_dearest(broken, 0.5, full_mask(graph))


def test_a_layer_that_would_lose_everything_is_kept_whole_and_the_others_lose_more() -> None:
    graph = zoo.graph("chain")
    scores = magnitudes(graph)
    name = min(scores, key=lambda one: scores[one].numel())
    scores[name] = torch.zeros_like(scores[name])
    found, whole = keep_dearest_everywhere(scores, 0.5, full_mask(graph))
    assert whole == (name,)
    assert bool(found[name].all())
    assert density_of(found) == pytest.approx(0.5, abs=1e-3)
    assert keep_dearest_everywhere(magnitudes(graph), 0.5, full_mask(graph))[1] == ()
