"""Shapes of layers and the groups that they hang on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.graphs import Graph, capture
from compressor.operators import find_operators
from compressor.staircases import Layer


def found(module: nn.Module, shape: tuple[int, ...] = (3, 8, 8)) -> tuple[Graph, tuple[Layer, ...]]:
    graph = capture(module.eval(), (torch.randn(2, *shape),))
    return graph, find_operators(graph)


def test_a_chain_hangs_on_one_group_on_both_sides() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 1), nn.Flatten(), nn.Linear(384, 10)
    )
    graph, (first, second, last) = found(network)
    groups = {group.name: group.id for group in analyze(graph).groups}
    assert (first.operator.kernel, first.operator.stride, first.operator.space) == (
        (3, 3),
        (2, 2),
        (8, 8),
    )
    assert [(hold.group, hold.side, hold.rows) for hold in first.holds] == [
        (groups["0"], "outputs", 16)
    ]
    assert [(hold.group, hold.side, hold.rows) for hold in second.holds] == [
        (groups["0"], "inputs", 16),
        (groups["2"], "outputs", 24),
    ]
    # Flattened: every channel is read at 16 places.
    assert (last.operator.kind, last.operator.inputs, last.operator.space) == ("product", 384, (1,))
    (hold,) = last.holds
    assert (hold.group, hold.rows) == (groups["2"], 384)
    assert last.width(hold, 0.5) == 192


def test_depthwise_layers_lose_groups() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 8, 1)
    )
    _, layers = found(network)
    assert [hold.side for hold in layers[1].holds] == ["groups"]
    assert layers[1].operator.groups == layers[1].operator.inputs == 16


def test_grouped_layers_lose_groups_or_channels_of_every_group() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 32, 1), nn.Conv2d(32, 64, 3, padding=1, groups=4), nn.Conv2d(64, 8, 1)
    )
    _, layers = found(network)
    sides = {hold.side: hold.rows for hold in layers[1].holds}
    assert sides == {"inputs": 32, "groups": 4, "outputs": 64}


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(12, 48), nn.Linear(48, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(torch.relu(self.wide(x)))


def test_rows_of_a_product_are_those_of_one_sample() -> None:
    _, layers = found(Tokens(), (7, 12))
    assert [layer.operator.space for layer in layers] == [(7,), (7,)]
    assert [layer.operator.outputs for layer in layers] == [48, 12]
