"""Repair: batch-norm statistics, and the choice among the ways there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor import refitting
from compressor.errors import DataError, InputError, SurroundingsError
from compressor.graphs import Graph, capture
from compressor.refitting import choose_repair, reestimate_batch_norm, repair
from tests import zoo
from tests.zoo import ZOO


def graph_with_batch_norm() -> Graph:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.9),
        nn.Conv2d(4, 3, 1),
        nn.BatchNorm2d(3),
    )
    return capture(network.eval(), (torch.zeros(2, 2, 6, 6),))


def inputs(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [3.0 + 2.0 * torch.randn(size, 2, 6, 6, generator=generator) for size in sizes]


def test_statistics_are_averages_over_samples_and_inputs_stay() -> None:
    graph = graph_with_batch_norm()
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    batches = inputs(4, 8)
    repaired = reestimate_batch_norm(graph, batches)
    values = [
        nn.functional.conv2d(x, before["0.weight"], before["0.bias"]).transpose(0, 1).flatten(1)
        for x in batches
    ]
    state = repaired.state_dict()
    mean = (4 * values[0].mean(1) + 8 * values[1].mean(1)) / 12
    variance = (4 * values[0].var(1) + 8 * values[1].var(1)) / 12
    assert torch.allclose(state["1.running_mean"], mean, atol=1e-5)
    assert torch.allclose(state["1.running_var"], variance, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


def test_repaired_graph_is_in_its_mode_and_gives_standard_values() -> None:
    batch = inputs(64)[0]
    repaired = reestimate_batch_norm(graph_with_batch_norm(), [batch])
    values = repaired(batch).transpose(0, 1).flatten(1)
    assert not repaired.training
    assert torch.allclose(values.mean(1), torch.zeros(3), atol=1e-4)
    assert torch.allclose(values.std(1), torch.ones(3), atol=1e-2)
    assert repaired.fingerprint == graph_with_batch_norm().fingerprint


def test_a_layer_called_twice_averages_over_its_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) + self.norm(x + 10.0)

    graph = capture(Twice().eval(), (torch.zeros(2, 2),))
    batch = torch.randn(50, 2, generator=torch.Generator().manual_seed(2))
    mean = reestimate_batch_norm(graph, [batch]).state_dict()["norm.running_mean"]
    assert torch.allclose(mean, batch.mean(0) + 5.0, atol=1e-5)


def test_a_network_without_batch_norm_comes_back_equal_and_reads_nothing() -> None:
    def refuse() -> Iterator[Tensor]:
        raise AssertionError("no batch may be read")
        yield torch.zeros(1)

    graph = capture(nn.Sequential(nn.Linear(3, 2)).eval(), (torch.zeros(2, 3),))
    repaired = reestimate_batch_norm(graph, refuse())
    assert repaired is not graph
    assert all(
        torch.equal(a, b) for a, b in zip(graph.parameters(), repaired.parameters(), strict=True)
    )


def test_no_batches_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one batch"):
        reestimate_batch_norm(graph_with_batch_norm(), [])


def cut(name: str) -> tuple[Graph, Graph]:
    """A teacher of the zoo and its student of half the parameters."""
    return zoo.graph(name), zoo.student(name)


def zoo_inputs(name: str, batches: int = 4) -> list[Tensor]:
    return [ZOO[name].inputs(batch=64, seed=seed)[0] for seed in range(batches)]


@pytest.mark.parametrize(
    "name",
    [
        "chain", "residual", "padded_shortcut", "concat", "depthwise", "grouped", "transposed",
        "grouped_transposed", "squeeze_excite", "flatten", "attention", "layer_norm", "gated_mlp",
        "lstm", "reordered", "woven",
    ],
)  # fmt: skip
def test_repair_brings_a_student_nearer_to_its_teacher_on_new_inputs(name: str) -> None:
    teacher, student = cut(name)
    repaired = repair(student, teacher, zoo_inputs(name))
    new = ZOO[name].inputs(batch=64, seed=99)[0]
    with torch.no_grad():
        wanted = teacher(new)
        before, after = ((graph(new) - wanted).square().sum() for graph in (student, repaired))
    assert after < before
    assert repaired.fingerprint == student.fingerprint


def test_the_way_chosen_is_the_nearest_on_inputs_held_out() -> None:
    teacher, student = cut("chain")
    found = choose_repair(student, teacher, zoo_inputs("chain"))
    errors = dict(found.tried)
    assert errors[found.chosen] == min(errors.values())
    assert found.chosen in found.note


def test_a_student_that_is_its_teacher_stays_as_it_is() -> None:
    graph = zoo.graph("chain")
    found = choose_repair(graph, graph, zoo_inputs("chain"))
    assert found.chosen == "nothing"


def test_repair_of_no_inputs_is_refused() -> None:
    teacher, student = cut("chain")
    with pytest.raises(DataError, match="at least 4 inputs"):
        repair(student, teacher, [])


def test_inputs_left_out_for_memory_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = zoo.graph("chain")
    inputs = [ZOO["chain"].inputs(batch=64)[0]]
    assert "for memory" not in choose_repair(graph.copy(), graph, inputs).note
    monkeypatch.setattr(refitting, "MEMORY", 1)
    assert "saw 2 of 56 inputs, for memory" in choose_repair(graph.copy(), graph, inputs).note


def test_where_reconstruction_does_not_fit_it_sees_fewer_inputs_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = graph_with_batch_norm()
    real = refitting.reconstruct

    def short(student: Graph, teacher: Graph, given: Tensor, **named: Any) -> Any:
        if len(given) > 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        return real(student, teacher, given, **named)

    monkeypatch.setattr(refitting, "reconstruct", short)
    found = choose_repair(graph, graph, inputs(16))
    assert (found.fitting, found.given) == (3, 14)
    assert "reconstruction saw 3 of 14 inputs, for memory" in found.note
    monkeypatch.setattr(refitting, "reconstruct", lambda *_, **__: torch.empty(1 << 60))
    with pytest.raises(SurroundingsError, match="out of memory in repair; give fewer --repair-im"):
        choose_repair(graph, graph, inputs(16))


@pytest.mark.parametrize("count", [4, 66, 74])
def test_no_batch_is_left_with_one_image(count: int) -> None:
    """Of one value for each channel there is no variance."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    graph = capture(network.eval(), (torch.randn(2, 6),))
    given = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    found = choose_repair(graph, graph, [given])
    assert dict(found.tried)["batch-norm statistics"] > 0
    assert found.given == count - max(2, count // 8)


def test_networks_of_several_inputs_are_refused_in_words() -> None:
    graph = zoo.graph("masked_encoder")
    with pytest.raises(InputError, match="takes 2 inputs; repair refits networks of one"):
        repair(graph, graph, [])
