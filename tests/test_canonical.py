"""Canonical forms: what is written in several ways at capture is written in one afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn

from compressor.analysis import analyze
from compressor.canonical import canonicalise
from compressor.graphs import Graph, capture, graph_from_program
from compressor.tracing import trace
from tests import zoo
from tests.zoo import NAMES, ZOO

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


class Padded(nn.Module):
    """Padded by word: alike on both sides, by one more on one side, by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 8, (3, 5), padding="same", dilation=(2, 1))
        self.uneven = nn.Conv2d(8, 8, (3, 2), padding="same")
        self.valid = nn.Conv2d(8, 8, 3, padding="valid")
        self.line, self.head = nn.Conv1d(8, 8, 3, padding="same"), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.valid(self.uneven(torch.tanh(self.same(x)))))
        return self.head(self.line(x.flatten(2)).mean(-1))


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


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_padding_by_word_becomes_numbers_where_both_sides_get_as_much() -> None:
    network = zoo.randomised(Padded).eval()
    x = torch.randn(2, 3, 8, 8)
    graph = capture(network, (x,))
    nodes = [n for n in graph.program.graph.nodes if ".conv" in str(n.target)]
    assert [(node.target, node.args[4]) for node in nodes] == [
        (aten.conv2d.default, [2, 2]),
        (aten.conv2d.padding, "same"),
        (aten.conv2d.default, [0, 0]),
        (aten.conv1d.default, [1]),
    ]
    assert torch.equal(graph(x), network(x))
    assert str(rewritten_again(graph)) == str(graph.program.graph)


class AlsoPlaces(nn.Module):
    """The largest, their places, and the largest without."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        most, place = x.max(1)
        y = self.head(x * x.min(-1, keepdim=True)[0] + most[:, None])
        return y + place.sum(-1)[:, None, None]


def test_the_largest_without_its_place_needs_none() -> None:
    network = zoo.randomised(AlsoPlaces).eval()
    x = torch.randn(2, 5, 6)
    graph = capture(network, (x,))
    found = targets(graph.program.graph)
    assert aten.amin.default in found
    assert aten.max.dim in found
    assert aten.min.dim not in found
    assert torch.equal(graph(x), network(x))


def decomposed(name: str) -> Graph:
    specimen = ZOO[name]
    program, _ = trace(specimen.build(), specimen.inputs(), {}, name=name)
    return graph_from_program(program.run_decompositions(), architecture=name)


@pytest.mark.parametrize(
    "name",
    [
        "residual", "grouped", "depthwise", "transposed", "grouped_transposed", "group_norm",
        "token_mixing", "layer_norm", "lstm", "attention",
    ],
)  # fmt: skip
def test_a_decomposed_program_is_analysed_as_the_network(name: str) -> None:
    graph, whole = decomposed(name), zoo.analysis(name)
    found = analyze(graph)
    assert [group.units for group in found.groups] == [group.units for group in whole.groups]
    assert found.model == whole.model
    inputs = ZOO[name].inputs()
    torch.testing.assert_close(graph(*inputs), zoo.graph(name)(*inputs))
    assert str(rewritten_again(graph)) == str(graph.program.graph)


def test_batch_norms_of_a_decomposed_program_can_be_trained() -> None:
    graph, whole = decomposed("residual").train(), zoo.graph("residual").copy().train()
    inputs = ZOO["residual"].inputs(4)
    torch.testing.assert_close(graph(*inputs), whole(*inputs))


@pytest.mark.parametrize("name", NAMES)
def test_rewriting_again_changes_nothing(name: str) -> None:
    graph = zoo.graph(name)
    assert str(rewritten_again(graph)) == str(graph.program.graph)
