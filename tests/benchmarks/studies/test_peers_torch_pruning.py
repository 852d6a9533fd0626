"""torch-pruning steered to a budget that is counted our way."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from benchmarks.studies.networks.cifar import ResNet
from benchmarks.studies.peers_cells import kept_whole
from benchmarks.studies.peers_records import STAGE_WIDTHS
from benchmarks.studies.peers_torch_pruning import Widths, accumulate_gradients, cut
from compressor.analysis import analyze
from compressor.errors import BudgetError
from compressor.graphs import capture
from compressor.removal import remove
from compressor.scoring import Batch
from compressor.types import Budget


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    network = ResNet(8, 3)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    return [(torch.randn(8, 3, 8, 8), torch.randint(3, (8,)))]


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_the_budget_is_met_and_the_plan_describes_the_module(
    resnet: nn.Module, batches: list[Batch], importance: Literal["magnitude", "taylor"]
) -> None:
    inputs = (torch.randn(2, 3, 8, 8),)
    graph = capture(resnet, inputs)
    analysis = analyze(graph)
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    done = cut(
        resnet,
        graph,
        analysis,
        Budget(0.4, of="macs"),
        importance,
        batches,
        ignored=STAGE_WIDTHS,
    )
    assert all(torch.equal(before[name], value) for name, value in resnet.state_dict().items())
    pruned = capture(done.module, inputs)
    counted = analyze(pruned).model
    assert (counted.macs, counted.parameters) == (done.plan.after.macs, done.plan.after.params)
    assert 1 - counted.macs / analysis.model.macs == pytest.approx(
        0.4, abs=0.025
    )  # a channel: 2.4 points
    with torch.no_grad():
        found = remove(graph, analysis, done.plan)(*inputs)
        torch.testing.assert_close(found, pruned(*inputs), rtol=1e-4, atol=1e-5)


def test_stage_widths_are_left_alone_by_both_tools(resnet: nn.Module, batches: list[Batch]) -> None:
    graph = capture(resnet, (torch.randn(2, 3, 8, 8),))
    analysis = analyze(graph)
    budget = Budget(0.5, of="macs")
    done = cut(resnet, graph, analysis, budget, "magnitude", batches, ignored=STAGE_WIDTHS)
    whole = kept_whole(analysis, STAGE_WIDTHS)
    inner = {f"layer{stage}.0.conv1" for stage in (1, 2, 3)}
    for kept in done.plan.groups:
        assert (str(kept.group) in whole) == (kept.name not in inner)
        assert kept.width == kept.units or kept.name in inner


def test_a_budget_that_its_steps_do_not_reach_is_told(
    resnet: nn.Module, batches: list[Batch]
) -> None:
    graph = capture(resnet, (torch.randn(2, 3, 8, 8),))
    with pytest.raises(BudgetError, match=r"400 steps end at .* 99\.0% were asked for"):
        cut(
            resnet,
            graph,
            analyze(graph),
            Budget(0.99, of="macs"),
            "magnitude",
            batches,
            ignored=STAGE_WIDTHS,
        )


def test_gradients_are_sums_over_the_batches(resnet: nn.Module, batches: list[Batch]) -> None:
    accumulate_gradients(resnet, batches)
    once = resnet.get_parameter("linear.weight").grad
    assert once is not None
    once = once.clone()
    accumulate_gradients(resnet, [*batches, *batches])
    twice = resnet.get_parameter("linear.weight").grad
    torch.testing.assert_close(twice, 2 * once)
    resnet.zero_grad()


def test_outputs_are_numbered_as_the_modules_are_after_each_cut() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    graph = capture(network, (torch.randn(2, 3, 4, 4),))
    widths = Widths(graph, analyze(graph), "channels")
    widths.take({"0": {0, 2}})
    widths.take({"0": {0, 3}})  # of 1, 3, 4, 5 that are left: 1 and 5
    assert [bool(keep) for keep in widths.keep] == [True, False, False, False, True, True, False]
    assert widths.gone == pytest.approx(4 / 6)
