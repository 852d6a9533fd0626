"""Folding: parameter-only work is done once, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from compressor.analysis import analyze
from compressor.folding import fold
from compressor.graphs import Graph, capture
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from tests import zoo
from tests.test_laws import drawn_subset

PICTURE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Wrap = Callable[[nn.Module], nn.Module]


def captured(factory: Callable[[], nn.Module], example: Tensor = PICTURE) -> Graph:
    return capture(zoo.randomised(factory).eval(), (example,))


class Wrapped(nn.Module):
    """Three layers whose weights are computed from other tensors."""

    def __init__(self, wrap: Wrap) -> None:
        super().__init__()
        self.first, self.second = wrap(nn.Conv2d(3, 8, 3)), wrap(nn.Conv2d(8, 12, 3))
        self.hidden, self.head = wrap(nn.Linear(12, 10)), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x)))).mean((2, 3))
        return self.head(F.relu(self.hidden(x)))


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(layer)


class Standard(nn.Module):
    """A weight standardised over its inputs, as networks without batch norm have them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.gain = nn.Parameter(torch.ones(len(layer.weight)))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, len(self.weight), -1)
        weight = F.batch_norm(rows, None, None, weight=self.gain, training=True, momentum=0.0)
        weight = weight.reshape_as(self.weight)
        return F.linear(x, weight, self.bias) if x.ndim == 2 else F.conv2d(x, weight, self.bias)


# old weight norm sets the weight anew in every forward, which torch.export remarks upon
QUIETLY = pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")

WRAPPINGS: dict[str, Wrap] = {
    "weight_norm": parametrizations.weight_norm,
    "old_weight_norm": old_weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "standardised": Standard,
}


@QUIETLY
@pytest.mark.parametrize("name", WRAPPINGS)
def test_computed_weights_become_parameters_that_can_be_cut(name: str) -> None:
    graph = captured(lambda: Wrapped(WRAPPINGS[name]))
    folded, notes = fold(graph)
    with torch.no_grad():
        # an orthogonal weight is left transposed in memory, which rounds otherwise
        torch.testing.assert_close(folded(PICTURE), graph(PICTURE), rtol=1e-6, atol=1e-6)
        assert name == "orthogonal" or torch.equal(folded(PICTURE), graph(PICTURE))
    names = dict(folded.named_parameters())
    assert {n for n in names if "folded" in n} == {
        "first.folded_weight",
        "second.folded_weight",
        "hidden.folded_weight",
    }
    assert len(names) == 8, "three layers and the head, a weight and a bias each"
    assert len(notes) == 3
    assert notes[0].startswith("parameter first.folded_weight holds the result of ")
    analysis = analyze(folded)
    assert [group.units for group in analysis.groups] == [8, 12, 10]
    assert all(group.exact for group in analysis.groups)
    chosen = drawn_subset(analysis, 1)
    proof = prove(folded, remove(folded, analysis, chosen), analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert proof.moved > 1e-6


@QUIETLY
@pytest.mark.parametrize("name", WRAPPINGS)
def test_without_folding_the_analysis_is_sound_all_the_same(name: str) -> None:
    graph = captured(lambda: Wrapped(WRAPPINGS[name]))
    analysis = analyze(graph)
    chosen = drawn_subset(analysis, 2)
    proof = prove(graph, remove(graph, analysis, chosen), analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert analysis.groups or any(entry.op.startswith("aten.") for entry in analysis.frozen)


def test_folding_leaves_the_graph_as_it_was_and_folds_nothing_twice() -> None:
    graph = captured(lambda: Wrapped(parametrizations.weight_norm))
    before, code = graph.fingerprint, graph.program.code
    values = {name: value.clone() for name, value in graph.state_dict().items()}
    folded, _ = fold(graph)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert (graph.fingerprint, graph.program.code) == (before, code)
    assert all(torch.equal(graph.state_dict()[name], values[name]) for name in values)
    again, notes = fold(folded)
    assert notes == ()
    assert again.fingerprint == folded.fingerprint


@pytest.mark.parametrize("name", ["chain", "attention", "tied", "embedding", "layer_norm"])
def test_a_network_without_such_work_stays_as_it_is(name: str) -> None:
    folded, notes = fold(zoo.graph(name))
    assert notes == ()
    assert folded.fingerprint == zoo.graph(name).fingerprint
    assert folded.tensors.keys() == zoo.graph(name).tensors.keys()


def test_the_folded_weight_is_what_training_changes() -> None:
    folded, _ = fold(captured(lambda: Wrapped(parametrizations.weight_norm)))
    folded.train()
    folded(PICTURE).square().mean().backward()
    gradient = folded.get_parameter("first.folded_weight").grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    assert not any("original" in name for name in dict(folded.named_parameters()))


class Tables(nn.Module):
    """A table made by a small network from positions, another from frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
        self.made = nn.Sequential(nn.Linear(1, 16), nn.ReLU(inplace=True), nn.Linear(16, 8))
        self.register_buffer("places", torch.linspace(-1, 1, 5)[:, None])
        self.register_buffer("frequencies", torch.tensor([1.0, 0.5, 0.25, 0.125]))

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.outer(torch.arange(5.0), self.frequencies)
        turned = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.head((self.stem(x) + self.made(self.places).sigmoid()) * turned).sum(1)


def test_tables_are_stored_trained_where_they_come_of_trained_parameters() -> None:
    x = torch.randn(2, 5, 6)
    graph = captured(Tables, x)
    folded, notes = fold(graph)
    with torch.no_grad():
        assert torch.equal(folded(x), graph(x))
    assert dict(folded.named_parameters()).keys() == {
        "stem.weight", "stem.bias", "head.weight", "head.bias", "folded_table_2",
    }  # fmt: skip
    assert dict(folded.named_buffers()).keys() == {"folded_table"}
    assert folded.tensors["folded_table"].shape == (5, 8)
    assert [note.split()[0] for note in notes] == ["buffer", "parameter"]


class Twice(nn.Module):
    """One weight-normed layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = parametrizations.weight_norm(nn.Linear(6, 6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.layer(torch.relu(self.layer(x)))))


def test_a_weight_that_is_computed_twice_is_stored_once() -> None:
    x = torch.randn(2, 6)
    graph = captured(Twice, x)
    folded, notes = fold(graph)
    assert len(notes) == 1
    assert len(dict(folded.named_parameters())) == 4
    with torch.no_grad():
        assert torch.equal(folded(x), graph(x))


class ReadElsewhere(nn.Module):
    """A weight that is read as it is and standardised."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(6, 6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.linear(x, self.weight))
        return self.head(F.linear(x, F.normalize(self.weight, dim=1)))


class TwoResults(nn.Module):
    """Two weights computed from the same parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(6, 6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.linear(x, F.normalize(self.weight, dim=0)))
        return self.head(F.linear(x, F.normalize(self.weight, dim=1)))


class Scaled(nn.Module):
    """A scale behind an exponential and a table looked up by place: followed as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.table = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(9, 6))
        self.register_buffer("places", torch.tensor([3, 1, 4, 1, 5]))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, None] * self.scale.exp() + self.table[self.places]).sum(1)


class BatchSized(nn.Module):
    """A table as long as the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.register_buffer("frequencies", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.outer(torch.arange(x.shape[0], dtype=torch.float32), self.frequencies)
        return self.head(x + angles.cos())


class WrittenInPlace(nn.Module):
    """A buffer's copy that the input is written into."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.register_buffer("ground", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        canvas = self.ground.cos()
        canvas[:3] = x.sum(0)[:3]
        return self.head(x + canvas.sin())


@pytest.mark.parametrize("network", [ReadElsewhere, TwoResults, Scaled, BatchSized, WrittenInPlace])
def test_ties_lookups_free_sizes_and_writes_in_place_are_left_alone(
    network: Callable[[], nn.Module],
) -> None:
    x = torch.randn(3, 6)
    graph = captured(network, x)
    folded, notes = fold(graph)
    assert notes == ()
    assert folded.fingerprint == graph.fingerprint
    with torch.no_grad():
        assert torch.equal(folded(x), graph(x))


def test_a_folded_network_is_cut_where_the_unfolded_one_could_not_be() -> None:
    graph = captured(lambda: Wrapped(parametrizations.orthogonal))
    folded, _ = fold(graph)
    assert analyze(graph).prunable_parameters == 0
    analysis = analyze(folded)
    assert analysis.prunable_parameters > 0.9
    keep = np.ones(1 + sum(group.units for group in analysis.groups), dtype=bool)
    keep[1:5] = False
    student = remove(folded, analysis, plan_keeping(analysis, keep))
    assert student.tensors["first.folded_weight"].shape == (4, 3, 3, 3)
