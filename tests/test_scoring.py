"""Criteria: what makes a unit cheap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.analysis import analyze
from compressor.criteria import activation, reconstruction
from compressor.errors import OptionError, PlanError
from compressor.evaluation import distance
from compressor.graphs import Graph, capture
from compressor.labelling import label
from compressor.planning import plan_keeping
from compressor.reconstruction import reconstruct
from compressor.removal import remove
from compressor.scoring import answer_objective, as_normalised, magnitude, score, taylor
from compressor.sensitivity import measured
from compressor.types import Analysis
from tests import zoo
from tests.zoo import NAMES, ZOO


def changed(name: str, parameter: str, index: Any, value: float) -> Graph:
    """A copy of a zoo network with some entries multiplied."""
    graph = zoo.graph(name).copy()
    with torch.no_grad():
        graph.get_parameter(parameter)[index] *= value
    return graph


def group_of(analysis: Analysis, name: str) -> int:
    return next(group.id for group in analysis.groups if group.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_gets_a_finite_positive_magnitude(name: str) -> None:
    values = zoo.scores(name).values
    assert [len(v) for v in values] == [group.units for group in zoo.analysis(name).groups]
    assert all(0 < number < np.inf for group in values for number in group)


def test_magnitude_sees_the_gain_of_the_batch_norm() -> None:
    analysis = zoo.analysis("chain")
    index = group_of(analysis, "conv1")
    assert int(np.argmin(zoo.scores("chain").values[index])) != 6
    weak = changed("chain", "bn1.weight", 6, 1e-6)
    only_read = changed("chain", "conv2.weight", (slice(None), 6), 1e-6)
    for graph in (weak, only_read):
        values = np.array(score(graph, analysis, magnitude).values[index])
        assert values[6] < zoo.scores("chain").values[index][6]
    with torch.no_grad():
        weak.get_parameter("conv2.weight")[:, 6] *= 1e-6
    values = np.array(score(weak, analysis).values[index])
    assert int(np.argmin(values)) == 6
    assert values[6] < 1e-5


def test_magnitude_does_not_depend_on_the_scale_in_front_of_a_batch_norm() -> None:
    analysis = zoo.analysis("chain")
    graph = changed("chain", "conv1.weight", 6, 50.0)
    with torch.no_grad():  # the same function: the statistics move with the weight
        graph.get_buffer("bn1.running_mean")[6] *= 50.0
        variance = graph.get_buffer("bn1.running_var")
        variance[6] = 2500.0 * (variance[6] + 1e-5) - 1e-5
    inputs = ZOO["chain"].inputs()
    torch.testing.assert_close(graph(*inputs), zoo.graph("chain")(*inputs))
    for own, before in zip(score(graph, analysis).values, zoo.scores("chain").values, strict=True):
        np.testing.assert_allclose(own, before, rtol=1e-5)


class Bare(nn.Module):
    """A batch norm without gain, one without statistics, one behind something not a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, affine=False)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return self.conv3(self.bn3(x + x.sigmoid())).mean((2, 3))


def test_unusual_batch_norms_are_scored_too() -> None:
    graph = zoo.captured(zoo.randomised(Bare), ZOO["chain"].inputs())
    values = score(graph, analyze(graph)).values
    assert len(values) == 2
    assert np.isfinite(np.array(values)).all()


def batches(name: str) -> Iterator[tuple[Tensor, Tensor | None]]:
    for seed in (1, 2):
        yield ZOO[name].inputs(batch=4, seed=seed)[0], torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("name", ["chain", "residual", "concat", "heads_by_view", "gated_mlp"])
def test_taylor_is_the_sum_over_consumers_by_brute_force(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    found = score(graph, analysis, taylor(answer_objective), batches(name)).values
    labelling, working = label(graph), graph.copy()
    expected = np.zeros(len(labelling.group_of))
    roles = {
        (member.parameter, member.dim): member.role
        for group in analysis.groups
        for member in group.members
    }
    read = np.zeros(len(expected), dtype=bool)
    for item in labelling.stored:
        for dim, dims in enumerate(item.dims):
            if roles.get((item.name, dim)) == "reads":
                read[labelling.rows(dims)] = True
    for inputs, labels in batches(name):
        working.zero_grad()
        answer_objective(working(inputs), labels).backward()
        once = np.zeros_like(expected)
        for item in labelling.stored:
            for dim, dims in enumerate(item.dims):
                if (item.name, dim) not in roles or not item.trained:
                    continue
                reads = roles[item.name, dim] == "reads"
                weight = working.get_parameter(item.name)
                assert weight.grad is not None
                rows = labelling.rows(dims)
                assert rows is not None
                for row, units in enumerate(rows):
                    part = (weight.detach() * weight.grad).double().select(dim, row).sum()
                    for unit in set(units.tolist()) - {0}:
                        # what no weight reads is judged by all that hold it
                        once[unit] += float(part) if reads or not read[unit] else 0.0
        expected += np.abs(once)
    flat = np.concatenate([np.array(group) for group in found])
    np.testing.assert_allclose(flat, expected[1:], rtol=1e-4, atol=1e-9)


def test_a_unit_that_nothing_reads_scores_nothing() -> None:
    graph = changed("chain", "conv2.weight", (slice(None), 5), 0.0)
    analysis = zoo.analysis("chain")
    values = score(graph, analysis, taylor(answer_objective), batches("chain")).values
    first = values[group_of(analysis, "conv1")]
    assert first[5] == 0.0
    assert sorted(first)[1] > 0.0


def test_taylor_changes_no_gradient_flag_and_no_value() -> None:
    graph = zoo.graph("residual").copy().requires_grad_(False)
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    values = score(graph, zoo.analysis("residual"), taylor(answer_objective), batches("residual"))
    assert values.criterion == "taylor"
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    assert all(parameter.grad is None for parameter in graph.parameters())
    assert all(torch.equal(graph.state_dict()[name], value) for name, value in before.items())


def test_taylor_without_data_says_what_to_give() -> None:
    with pytest.raises(OptionError, match="needs data"):
        score(zoo.graph("chain"), zoo.analysis("chain"), taylor(answer_objective))


def test_scores_of_another_networks_analysis_are_refused() -> None:
    with pytest.raises(PlanError, match="another structure"):
        score(zoo.graph("chain"), zoo.analysis("split"))


def test_without_labels_the_networks_own_answers_are_the_objective() -> None:
    outputs = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 0.1]])
    expected = F.cross_entropy(outputs, torch.tensor([0, 1]))
    assert torch.equal(answer_objective(outputs, None), expected)


def test_scores_are_the_same_where_a_batch_does_not_fit_in_memory() -> None:
    name = "chain"
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    inputs = torch.randn(7, *graph.example_inputs[0].shape[1:])
    labels = torch.arange(7) % 2
    sizes: list[int] = []

    def objective(outputs: Tensor, labels: Tensor | None) -> Tensor:
        sizes.append(len(outputs))
        if len(outputs) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        return answer_objective(outputs, labels)

    for known in (labels, None):
        limit = 7
        whole = score(graph, analysis, taylor(objective), [(inputs, known)])
        limit = 2
        parted = score(graph, analysis, taylor(objective), [(inputs, known)])
        for one, other in zip(whole.values, parted.values, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-7)
    assert sizes[1:8] == [7, 3, 1, 2, 4, 2, 2]
    limit = 0
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        score(graph, analysis, taylor(objective), [(inputs, labels)])


class Answers(nn.Module):
    """A small network that gives its answers in some form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.first = form, nn.Linear(6, 16)
        self.last = nn.Linear(16, 1 if form.startswith("one") else 4)

    def forward(self, x: Tensor) -> Any:
        found = self.last(F.relu(self.first(x)))
        forms = {
            "dict": {"features": found.square(), "logits": found},
            "tuple": (found, found.square()),
            "one number": found[:, 0],
            "one column": found,
            "boxes": found[:, None].expand(-1, 3, -1),
        }
        return forms[self.form]


@pytest.mark.parametrize("form", ["dict", "tuple", "one number", "one column", "boxes"])
def test_taylor_looks_at_answers_of_any_form(form: str) -> None:
    graph = capture(Answers(form).eval(), (torch.randn(2, 6),))
    analysis = analyze(graph)
    seen = [(torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), None)]
    (values,) = score(graph, analysis, taylor(answer_objective), seen).values
    assert min(values) >= 0 < max(values)


class OverTokens(nn.Module):
    """A batch norm whose channels are tokens, not what the layer before it gives."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, width, bias=bias)
        self.norm, self.last = nn.BatchNorm1d(8), nn.Linear(width, 4)
        with torch.no_grad():
            for buffer in (self.norm.running_mean, self.norm.running_var):
                assert buffer is not None
                buffer.copy_(0.5 + torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.norm(self.second(F.relu(self.first(x) + 2.0)))))


@pytest.mark.parametrize("width", [8, 24])
@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_over_tokens_is_none_over_the_layers_outputs(width: int, bias: bool) -> None:
    graph = capture(OverTokens(width, bias=bias).eval(), (torch.randn(2, 8, 6),))
    analysis = analyze(graph)
    inputs = torch.randn(256, 8, 6, generator=torch.Generator().manual_seed(1))
    for criterion in (magnitude, measured(reconstruction), activation):
        values = score(graph, analysis, criterion, [(inputs, None)]).values
        assert all(np.isfinite(group).all() for group in values)
    keep = np.ones(1 + sum(group.units for group in analysis.groups), dtype=bool)
    keep[1:9] = False
    student = remove(graph, analysis, plan_keeping(analysis, keep))
    repaired = reconstruct(student, graph, inputs).graph
    assert distance(repaired, graph, [inputs]) < 0.1 * distance(student, graph, [inputs])


def test_a_grouped_transposed_convolution_is_scaled_by_its_batch_norm() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ConvTranspose2d(8, 16, 3, groups=4), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1)
    )
    with torch.no_grad():
        network[1].weight[5] = 1e-6  # type: ignore[index]  # a parameter of the batch norm
    graph = capture(network.eval(), (torch.randn(2, 8, 4, 4),))
    scaled = as_normalised(graph)["0.weight"]
    plain = graph.tensors["0.weight"].detach()
    assert float(scaled[2:4, 1].abs().max()) < 1e-5 < float(plain[2:4, 1].abs().max())
    assert float(scaled[0:2, 1].abs().max()) > 1e-3
