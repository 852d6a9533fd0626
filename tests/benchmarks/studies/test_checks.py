"""What a student is checked for, on students that do and do not pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.studies import checks
from benchmarks.studies.checks import (
    CheckError,
    factors,
    floor_plan,
    half_plan,
    run_at_another_length,
    run_at_other_batches,
    train_a_step,
)
from benchmarks.studies.networks import Network, find
from benchmarks.studies.networks.building import Inputs
from compressor.errors import BudgetError
from compressor.planning import plan
from compressor.types import Analysis, Budget, Plan, Scores
from tests import zoo


def widths(plan: Plan) -> list[int]:
    return [group.width for group in plan.groups]


def test_half_is_cut_where_it_can_be() -> None:
    chosen, asked = half_plan(zoo.analysis("chain"), zoo.scores("chain"))
    assert asked == "half"
    assert chosen.achieved == pytest.approx(0.5, abs=0.01)


def test_small_factors_go_only_where_half_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = []

    def reluctant(analysis: Analysis, scores: Scores, budget: Budget) -> Plan:
        smallest.append(budget.smallest_group)
        if budget.smallest_group > 2:
            raise BudgetError("out of reach")
        return plan(analysis, scores, budget)

    monkeypatch.setattr("benchmarks.studies.checks.plan", reluctant)
    chosen, asked = half_plan(zoo.analysis("chain"), zoo.scores("chain"))
    assert smallest == [8, 2]
    assert asked == "half"
    assert chosen.budget.smallest_group == 2


def test_where_half_is_out_of_reach_the_largest_share_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    analysis, scores = zoo.analysis("chain"), zoo.scores("chain")
    monkeypatch.setattr("benchmarks.studies.checks.FLOOR", 0.9)
    chosen, asked = half_plan(analysis, scores)
    assert asked == "largest"
    assert widths(chosen) == widths(floor_plan(analysis, scores, 0.9))
    assert 0 < chosen.achieved < 0.5


def test_a_floor_keeps_the_dearest_units_and_never_none() -> None:
    analysis, scores = zoo.analysis("chain"), zoo.scores("chain")
    chosen = floor_plan(analysis, scores, 0.001)
    assert widths(chosen) == [1] * len(analysis.groups)
    for kept, values in zip(chosen.groups, scores.values, strict=True):
        assert values[kept.kept[0][0]] == max(values)


def test_factors_are_told_where_a_dimension_is_cut_in_two_ways() -> None:
    assert factors(zoo.analysis("chain"), zoo.half("chain")) is None
    analysis = zoo.analysis("heads_by_view")
    found = factors(analysis, floor_plan(analysis, zoo.scores("heads_by_view"), 0.001))
    assert found is not None
    assert 0 < found.outer < 1
    assert 0 < found.inner < 1


def test_a_student_runs_at_other_batches_and_trains(row: Network) -> None:
    student = zoo.student("chain").copy()
    assert run_at_other_batches(student, row) == (1, 3)
    before = [p.detach().clone() for p in student.parameters()]
    assert train_a_step(student, row) == 0
    assert student.training
    assert not all(torch.equal(a, b) for a, b in zip(student.parameters(), before, strict=True))


class Lone(nn.Module):
    """One weight, and an answer that a test makes wrong."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(x * self.weight)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: x.mean(dim=(1, 2, 3)) - x.mean(), "differ by"),
        (lambda x: x.mean(dim=(1, 2, 3)) / 0, "not finite"),
        (lambda x: x.flatten(1)[:, : 2 * len(x)], "one by one"),
    ],
)
def test_answers_that_depend_on_the_batch_are_noticed(row: Network, answer: Any, told: str) -> None:
    with pytest.raises(CheckError, match=told):
        run_at_other_batches(Lone(answer), row)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: x * 0 + (x * 0).sum(), "moves nothing"),
        (lambda x: (x - x).sqrt(), "not finite"),
    ],
)
def test_a_step_that_goes_nowhere_is_noticed(row: Network, answer: Any, told: str) -> None:
    with pytest.raises(CheckError, match=told):
        train_a_step(Lone(answer), row)  # type: ignore[arg-type]


def test_a_step_counts_what_the_gradient_does_not_reach(row: Network) -> None:
    network = Lone(lambda x: x)
    network.idle = nn.Parameter(torch.ones(3))
    assert train_a_step(network, row) == 1  # type: ignore[arg-type]


def test_a_text_network_runs_at_half_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, row = zoo.graph("rotary_decoder"), find("transformers:LlamaForCausalLM")
    assert all(len(free) == 2 for free in graph.free)
    given = Inputs(args=tuple(x.repeat(3, 1)[:3] for x in graph.example_inputs), kwargs={})
    monkeypatch.setattr(checks, "inputs", lambda *_, **__: given)
    assert run_at_another_length(graph, row) == (graph.example_inputs[0].shape[1] // 2,)


def test_a_picture_network_has_one_length() -> None:
    row = find("torchvision:squeezenet1_1")
    assert run_at_another_length(zoo.graph("chain"), row) == ()
