"""Values inside the networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import DefectError, OptionError
from compressor.features import Observed, observed_graph, representation_node, stage_nodes
from compressor.graphs import Graph, capture
from tests import zoo


def staged() -> Graph:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    return capture(network.eval(), (torch.zeros(2, 1, 8, 8),))


def test_stages_end_at_the_last_activation_of_each_resolution() -> None:
    graph = staged()
    nodes = {node.name: node for node in graph.program.graph.nodes}
    chosen = stage_nodes(graph)
    assert [nodes[name].meta["where"] for name in chosen] == ["3", "5"]
    assert stage_nodes(graph, 1) == chosen[1:]


def test_one_resolution_is_divided_evenly() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + layer(x)
            return x.mean(1)

    graph = capture(Tokens().eval(), (torch.zeros(2, 5, 4),))
    assert stage_nodes(graph, 2) == ("add_2", "add_5")


def test_observed_gives_logits_and_kept_rows() -> None:
    graph = staged()
    last = stage_nodes(graph)[-1]
    pixels = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits, (whole,) = Observed(graph, (last,))(pixels)
    _, (cut,) = Observed(graph, (last,), {last: {1: (0, 5)}})(pixels)
    assert torch.equal(logits, graph(pixels))
    assert torch.equal(cut, whole[:, [0, 5]])


def test_an_unknown_node_is_refused_with_one_that_exists() -> None:
    with pytest.raises(OptionError, match=r"no node 'relu_9'.*such as relu_1, relu_2"):
        Observed(staged(), ("relu_9",))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("chain", (2, 24)),
        ("residual", (2, 16)),
        ("attention", (2, 64)),
        ("layer_norm", (2, 24)),
        ("masked_encoder", (2, 24)),
        ("tied", (2, 6, 16)),
    ],
)
def test_the_representation_is_what_the_classifier_reads(name: str, shape: tuple[int]) -> None:
    graph = zoo.graph(name)
    forward = graph.observe([representation_node(graph)])
    _, (value,) = forward(*zoo.ZOO[name].inputs())
    assert value.shape == shape


def test_the_representation_lies_before_dropout() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(), nn.Linear(6, 2))
    assert representation_node(capture(network.eval(), (torch.zeros(2, 4),))) == "tanh"


@pytest.mark.parametrize("network", [nn.Tanh(), nn.Sequential(nn.Linear(4, 2), nn.Tanh())])
def test_a_network_without_a_representation_is_told(network: nn.Module) -> None:
    with pytest.raises(OptionError, match="has no representation"):
        representation_node(capture(network.eval(), (torch.zeros(2, 4),)))


def test_attention_is_no_classifier() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.score = nn.Linear(4, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.hidden(x))
            return self.score(x).softmax(-1) @ x.transpose(1, 2)

    assert representation_node(capture(Mixing().eval(), (torch.zeros(2, 6, 4),))) == "tanh"


def test_the_graph_behind_an_observed_network_is_found_through_wrappers() -> None:
    graph = staged()
    assert observed_graph(nn.DataParallel(Observed(graph, ()))) is graph
    with pytest.raises(DefectError, match="no observed graph"):
        observed_graph(graph)


def test_an_observed_graph_shares_tensors_that_take_the_place_of_others() -> None:
    graph = zoo.graph("residual").copy().train()
    observed = Observed(graph, stage_nodes(graph))
    name = next(n for n in graph.tensors if n.endswith("running_mean"))
    path, _, leaf = name.rpartition(".")
    moved = torch.zeros_like(graph.tensors[name])
    graph.program.get_submodule(path)._buffers[leaf] = moved
    observed(zoo.ZOO["residual"].inputs(batch=8)[0])
    assert graph.tensors[name] is moved
    assert bool(moved.any())
