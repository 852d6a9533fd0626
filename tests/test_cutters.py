"""What goes at one step: nested, as much as asked, and the same masked or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.choosing import Allocation
from compressor.criteria import random_order
from compressor.cutters import (
    MaskedUnits,
    MaskedWeights,
    RemovedUnits,
    cut_units,
    cut_weights,
    masked_units,
    removed_units,
)
from compressor.errors import BudgetError
from compressor.graphs import Graph, capture
from compressor.planning import keep_mask, plan, plan_uniform
from compressor.removal import mask, remove
from compressor.scoring import Batches, Criterion, score
from compressor.sparsity import magnitudes
from compressor.stretches import cubic
from compressor.types import Analysis, Budget, BudgetOf, Scores
from tests import zoo
from tests.zoo import ZOO

Made = MaskedUnits | RemovedUnits
HALF = Budget(sparsity=0.5, multiple_of=1)


def stirred(graph: Graph, seed: int) -> Graph:
    """A copy whose every trained value moved, as training would move it."""
    generator = torch.Generator().manual_seed(seed)
    copied = graph.copy()
    with torch.no_grad():
        for value in copied.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return copied


def answer(graph: Graph, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        found = graph(*inputs)
    assert isinstance(found, Tensor)
    return found


def test_weights_go_in_nested_steps_and_reach_the_sparsity() -> None:
    cut, whole = cut_weights(0.8), zoo.graph("chain")
    gone: MaskedWeights | None = None
    for number, due in enumerate(cubic(4)):
        before = gone
        gone = cut(stirred(whole, number), due, before)
        assert gone.sparsity == pytest.approx(due * 0.8, abs=1e-3)
        if before is not None:
            assert not any(bool((gone.mask[n] & ~before.mask[n]).any()) for n in gone.mask)
    assert gone is not None
    assert gone.sparsity == pytest.approx(0.8, abs=1e-3)


def test_weights_that_live_come_back_and_others_keep_what_they_had() -> None:
    whole = zoo.graph("chain").copy()
    gone = cut_weights(0.5)(whole, 1.0, None)
    trained = stirred(gone.student(whole), 1)
    gone.hold(trained)
    before = {name: value.detach().clone() for name, value in whole.tensors.items()}
    gone.put_back(trained, whole)
    for name, value in whole.tensors.items():
        lives = gone.mask.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(value[lives], trained.tensors[name][lives])
        assert torch.equal(value[~lives], before[name][~lives])
        assert not gone.zeroed(whole).tensors[name][~lives].any()


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.5])
def test_senseless_sparsities_are_refused(sparsity: float) -> None:
    with pytest.raises(BudgetError, match="between 0 and 1"):
        cut_weights(sparsity)


def test_scores_of_weights_are_a_function_of_what_lives() -> None:
    seen: list[Graph] = []

    def watched(graph: Graph) -> dict[str, Tensor]:
        seen.append(graph)
        return magnitudes(graph)

    cut, whole = cut_weights(0.5, watched), zoo.graph("chain")
    gone = cut(whole, 0.5, None)
    cut(whole, 1.0, gone)
    name = next(iter(gone.mask))
    assert not seen[1].tensors[name][~gone.mask[name]].any()


def anew_each_time() -> Criterion:
    """Scores that have nothing to do with those of the step before."""
    seeds: Iterator[int] = iter(range(100))

    def criterion(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        return random_order(next(seeds))(graph, analysis, batches)

    return criterion


@cache
def wide() -> Graph:
    """Groups of 40 to 64 units, a stream among them: a unit is well under half a point."""
    torch.manual_seed(0)

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64)
            self.inner = nn.ModuleList(nn.Conv2d(64, n, 3, padding=1) for n in (40, 56, 64))
            self.outer = nn.ModuleList(nn.Conv2d(n, 64, 1) for n in (40, 56, 64))
            self.head = nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norm(self.stem(x)))
            for inner, outer in zip(self.inner, self.outer, strict=True):
                x = x + outer(torch.relu(inner(x)))
            return self.head(x.mean((2, 3)))

    return capture(Wide().eval(), (torch.zeros(2, 3, 8, 8),))


def assert_nested(analysis: Analysis, before: MaskedUnits | None, gone: MaskedUnits) -> None:
    if before is not None:
        lives, lived = keep_mask(analysis, gone.plan), keep_mask(analysis, before.plan)
        assert not (lives & ~lived).any()


@pytest.mark.parametrize("of", ["params", "macs", "channels"])
@pytest.mark.parametrize("allocation", [plan, plan_uniform])
def test_units_go_in_nested_steps_within_half_a_point(of: BudgetOf, allocation: Allocation) -> None:
    whole = wide()
    analysis, budget = analyze(whole), replace(HALF, of=of)
    again = anew_each_time()
    cut = cut_units(analysis, budget, masked_units, criterion=again, allocation=allocation)
    gone: MaskedUnits | None = None
    for due in cubic(4):
        before, gone = gone, cut(whole, due, gone)
        assert gone.sparsity == pytest.approx(due * 0.5, abs=0.005)
        left = getattr(gone.plan.after, of) / getattr(gone.plan.before, of)
        assert gone.sparsity == pytest.approx(1.0 - left)
        assert gone.plan.budget.sparsity == pytest.approx(due * 0.5)
        assert_nested(analysis, before, gone)


@pytest.mark.parametrize("name", ["chain", "residual", "depthwise", "grouped_queries"])
def test_few_large_units_are_nested_and_never_too_few_go(name: str) -> None:
    whole, analysis = zoo.graph(name), zoo.analysis(name)
    cut = cut_units(analysis, HALF, masked_units, criterion=anew_each_time())
    gone: MaskedUnits | None = None
    for due in cubic(4):
        before, gone = gone, cut(whole, due, gone)
        assert due * 0.5 - 0.005 <= gone.sparsity <= due * 0.5 + 0.1
        assert_nested(analysis, before, gone)


def test_units_of_one_criterion_go_as_they_would_at_once() -> None:
    whole = wide()
    analysis = analyze(whole)
    cut = cut_units(analysis, HALF, masked_units)
    gone: MaskedUnits | None = None
    for due in cubic(5):
        gone = cut(whole, due, gone)
    assert gone is not None
    at_once = keep_mask(analysis, plan(analysis, score(whole, analysis), HALF))
    assert (keep_mask(analysis, gone.plan) == at_once).mean() > 0.85


def test_a_budget_out_of_reach_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(BudgetError, match="out of reach"):
        cut_units(zoo.analysis("chain"), Budget(sparsity=0.999), masked_units)


@pytest.mark.parametrize("form", [masked_units, removed_units])
@pytest.mark.parametrize("name", zoo.NAMES)
def test_what_lives_comes_back_from_the_student_and_cuts_alike(
    name: str, form: Callable[..., Made]
) -> None:
    whole, analysis, chosen = zoo.graph(name).copy(), zoo.analysis(name), zoo.half(name)
    gone = form(whole, analysis, chosen)
    trained = stirred(gone.student(whole), 2)
    gone.hold(trained)
    before = {n: value.detach().clone() for n, value in whole.tensors.items()}
    gone.put_back(trained, whole)
    for graph in (whole, gone.zeroed(whole)):
        assert graph.fingerprint == analysis.fingerprint
        again = gone.student(graph).tensors
        assert all(torch.equal(value, again[n]) for n, value in trained.tensors.items())
    dead = remove_complement(whole, gone)
    assert all(torch.equal(whole.tensors[n][at], before[n][at]) for n, at in dead.items())


def remove_complement(whole: Graph, gone: Made) -> dict[str, Tensor]:
    """Elements of stored tensors that are gone, where any are."""
    found = {}
    for name, fills in gone.fills.items():
        at = torch.zeros(whole.tensors[name].shape, dtype=torch.bool)
        for fill in fills:
            at.index_fill_(fill.dim, fill.gone, True)
        found[name] = at
    return found


@pytest.mark.parametrize("name", [n for n in zoo.NAMES if ZOO[n].exact])
def test_masked_students_answer_as_removed_ones(name: str) -> None:
    whole, analysis, chosen = zoo.graph(name), zoo.analysis(name), zoo.half(name)
    gone = masked_units(whole, analysis, chosen)
    trained = stirred(gone.student(whole), 3)
    gone.hold(trained)
    back = whole.copy()
    gone.put_back(trained, back)
    inputs = ZOO[name].inputs(seed=5)
    masked, removed = answer(trained, inputs), answer(remove(back, analysis, chosen), inputs)
    assert gone.notes == ()
    assert torch.allclose(masked, removed, atol=1e-5, rtol=1e-5)
    assert torch.equal(answer(mask(back, analysis, chosen), inputs), masked)


def test_masked_norms_are_told() -> None:
    gone = masked_units(zoo.graph("layer_norm"), zoo.analysis("layer_norm"), zoo.half("layer_norm"))
    assert "inexact groups are masked" in gone.notes[0]
    assert gone.kept == gone.kept_in_student
    assert gone.kept
