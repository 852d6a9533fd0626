"""Canonical forms: what is written in several ways at capture is written in one afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn

from compressor.canonical import canonicalise
from compressor.graphs import Graph, capture
from tests import zoo
from tests.zoo import NAMES

aten = torch.ops.aten


class Halves(nn.Module):
    """``chunk`` and ``split`` into parts of unequal size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 10), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, _, c = self.stem(x).chunk(3, dim=-1)
        first, *_, last = self.stem(x).split(3, 1)
        return self.head(torch.cat([first, c, last], dim=1)) + a


def targets(graph: fx.Graph) -> list[object]:
    return [node.target for node in graph.nodes if node.op == "call_function"]


def rewritten_again(graph: Graph) -> fx.Graph:
    again = copy.deepcopy(graph.program.graph)
    canonicalise(again, graph.sizes.symbolic)
    return again


def test_splits_of_channels_have_literal_sizes() -> None:
    graph = capture(zoo.randomised(Halves).eval(), (torch.randn(2, 6),))
    splits = [n for n in graph.program.graph.nodes if n.target is aten.split_with_sizes.default]
    assert [list(node.args[1]) for node in splits] == [[4, 4, 2], [3, 3, 3, 1]]
    assert aten.chunk.default not in targets(graph.program.graph)


@pytest.mark.parametrize("name", NAMES)
def test_rewriting_again_changes_nothing(name: str) -> None:
    graph = zoo.graph(name)
    assert str(rewritten_again(graph)) == str(graph.program.graph)
