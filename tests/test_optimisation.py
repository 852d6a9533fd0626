"""Step sizes, their course and averaged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.graphs import Graph, capture
from compressor.optimisation import (
    AveragedWeights,
    MakeOptimiser,
    copy_values,
    nesterov_sgd,
    plain_adamw,
    relative_adamw,
    set_learning_rate,
    warm_cosine,
)


def small_graph() -> Graph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return capture(network.eval(), (torch.zeros(2, 3),))


def test_schedule_climbs_and_falls_to_nothing() -> None:
    assert 0.0 < warm_cosine(0.1)(0.0) < 0.05
    assert warm_cosine(0.1)(0.05) == pytest.approx(0.5)
    assert warm_cosine(0.1)(0.1) == pytest.approx(1.0)
    assert warm_cosine(0.1)(0.55) == pytest.approx(0.5)
    assert warm_cosine(0.1)(1.0) == pytest.approx(0.0)
    assert warm_cosine(0.1)(1.5) == pytest.approx(0.0)
    assert warm_cosine(0.0)(0.0) == 1.0


def test_a_step_is_a_share_of_the_tensor_whatever_its_scale() -> None:
    moves = []
    for scale in (1.0, 1000.0):
        module = nn.Linear(50, 50, bias=False)
        torch.nn.init.constant_(module.weight, 0.1 * scale)
        optimiser = relative_adamw()(module)
        set_learning_rate(optimiser, 0.01)
        module(torch.ones(1, 50)).sum().backward()
        optimiser.step()
        moves.append(float((module.weight.detach() / (0.1 * scale) - 1.0).abs().mean()))
    assert moves == pytest.approx([0.01, 0.01], rel=1e-2)


def test_weights_that_are_gone_do_not_shorten_the_steps_of_others() -> None:
    whole, sparse = nn.Linear(50, 50, bias=False), nn.Linear(50, 50, bias=False)
    torch.nn.init.constant_(whole.weight, 0.1)
    torch.nn.init.constant_(sparse.weight, 0.1)
    with torch.no_grad():
        sparse.weight[:, 5:] = 0.0
    scales = [relative_adamw()(module).param_groups[0]["scale"] for module in (whole, sparse)]
    assert scales == pytest.approx([0.1, 0.1])
    with torch.no_grad():
        sparse.weight.zero_()
    assert relative_adamw()(sparse).param_groups[0]["scale"] == pytest.approx(1e-3)


def test_norms_and_biases_are_not_decayed_and_can_leave_zero() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    nn.init.zeros_(module[0].bias)  # type: ignore[arg-type]
    optimiser = relative_adamw(weight_decay=0.1)(module)
    by_size = {tuple(g["params"][0].shape): g for g in optimiser.param_groups}
    assert by_size[3, 3]["weight_decay"] > 0
    assert all(
        group["weight_decay"] == 0 and group["scale"] >= 0.1
        for group in optimiser.param_groups
        if group["params"][0].ndim == 1
    )


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    for make in (relative_adamw(), plain_adamw(), nesterov_sgd()):
        assert len(make(module).param_groups) == 1


@pytest.mark.parametrize("make", [plain_adamw(weight_decay=0.1), nesterov_sgd(weight_decay=0.1)])
def test_fresh_weights_share_one_learning_rate_and_only_weights_decay(make: MakeOptimiser) -> None:
    optimiser = make(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    set_learning_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.5]
    decays = {group["params"][0].ndim: group["weight_decay"] for group in optimiser.param_groups}
    assert decays == {2: 0.1, 1: 0.0}


def test_average_follows_soon_and_then_slowly_statistics_included() -> None:
    graph = small_graph()
    averaged = AveragedWeights(graph, decay=0.9)
    moved = graph.copy()
    with torch.no_grad():
        for value in moved.state_dict().values():
            value += 1
    averaged.follow(moved)
    start, now, end = (g.state_dict()["1.running_mean"] for g in (graph, averaged.graph, moved))
    assert torch.allclose(now, start + (10.0 / 11.0) * (end - start))
    for _ in range(300):
        averaged.follow(moved)
    assert torch.allclose(averaged.graph.state_dict()["0.weight"], moved.state_dict()["0.weight"])
    averaged.restart(graph)
    assert torch.equal(averaged.graph.state_dict()["0.weight"], graph.state_dict()["0.weight"])


def test_copied_values_keep_the_targets_layout() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    source = capture(network, (torch.zeros(2, 3, 8, 8),))
    target = source.copy()
    target.to(memory_format=torch.channels_last)
    with torch.no_grad():
        next(source.parameters()).mul_(2.0)
    copy_values(source, target)
    weight = target.state_dict()["0.weight"]
    assert torch.equal(weight, source.state_dict()["0.weight"])
    assert weight.is_contiguous(memory_format=torch.channels_last)
