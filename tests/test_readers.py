"""Who reads a group's units: every reader found, with the variances of what it reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compressor import readers
from compressor.analysis import analyze
from compressor.criteria import reconstruction
from compressor.graphs import capture
from compressor.labelling import label
from compressor.readers import find_readers, read_inputs
from compressor.scoring import score
from compressor.sensitivity import measured
from compressor.stepping import Stepper
from tests import zoo
from tests.zoo import ZOO

READ_BY_LAYERS = ("chain", "residual", "concat", "flatten", "grouped", "gated_mlp", "embedding")


@pytest.mark.parametrize("name", READ_BY_LAYERS)
def test_members_that_read_are_the_readers(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    inputs = read_inputs(graph, [ZOO[name].inputs()[0]])
    for group, found in zip(analysis.groups, find_readers(graph, analysis, inputs), strict=True):
        reading = {
            member.parameter
            for member in group.members
            if member.role == "reads" and member.parameter in inputs
        }
        assert {reader.inputs.layer.weight for reader in found} == reading


@pytest.mark.parametrize("name", READ_BY_LAYERS)
def test_a_readers_columns_are_what_removal_cuts(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    inputs = read_inputs(graph, [ZOO[name].inputs()[0]])
    labelling = label(graph)
    stored = {item.name: item for item in labelling.stored}
    for place, found in enumerate(find_readers(graph, analysis, inputs)):
        first = int(np.flatnonzero(labelling.group_of == place)[0])
        for reader in found:
            layer = reader.inputs.layer
            weight = graph.tensors[layer.weight].detach()
            cut = torch.ones_like(weight)
            rows = labelling.rows(stored[layer.weight].dims[layer.summed])
            assert rows is not None
            gone = torch.from_numpy(np.flatnonzero((rows == first + 1).any(axis=1)))
            cut.index_fill_(layer.summed, gone, 0.0)
            blocks = reader.inputs.blocks(layer.form.matrix(cut))
            zeroed = (blocks == 0).all(dim=2).all(dim=0).nonzero()[:, 0]
            assert set(reader.columns[1].tolist()) <= set(zeroed.tolist())


def test_variances_are_those_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = zoo.graph("chain")
    batch = ZOO["chain"].inputs(batch=16)[0]
    whole = read_inputs(graph, [batch])
    run = Stepper(graph, (batch,))
    with torch.no_grad():
        for node in run.nodes:
            output = run.step(node)
            for found in whole.values():
                if found.layer.node.name != node.name:
                    continue
                layer = found.layer
                picked = torch.arange(layer.form.places(output))
                shape = graph.tensors[layer.weight].shape
                rows = layer.form.rows(run.values[layer.value], shape, picked).double()
                apart = rows - rows.mean(dim=1, keepdim=True)
                torch.testing.assert_close(
                    found.variance, apart.mT @ apart / rows.shape[1], rtol=1e-4, atol=1e-5
                )
                torch.testing.assert_close(found.mean, rows.mean(dim=1), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(readers, "WIDE", 1)
    for name, found in read_inputs(graph, [batch[:8], batch[8:]]).items():
        taps, blocks = found.taps, found.variance
        full = whole[name].variance
        inside = full.reshape(-1, full.shape[1] // taps, taps, full.shape[2] // taps, taps)
        for tap in range(taps):
            torch.testing.assert_close(blocks[tap], inside[0, :, tap, :, tap], rtol=1e-4, atol=1e-5)


def test_blocks_and_whole_are_inverse() -> None:
    inputs = read_inputs(zoo.graph("chain"), [ZOO["chain"].inputs()[0]])
    for found in inputs.values():
        matrix = found.layer.form.matrix(zoo.graph("chain").tensors[found.layer.weight])
        assert torch.equal(found.whole(found.blocks(matrix), len(matrix)), matrix)


class AlsoReadTwice(nn.Module):
    """``first`` is read by a small layer, and by one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.other = nn.Linear(6, 16), nn.Linear(6, 16)
        self.side, self.twice, self.last = nn.Linear(16, 4), nn.Linear(16, 4), nn.Linear(16, 4)
        with torch.no_grad():
            self.side.weight.mul_(1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = self.first(x).relu(), self.other(x).relu()
        return self.twice(one) + self.twice(one.tanh()) + self.side(one) + 0.1 * self.last(two)


def test_readers_that_are_not_all_are_none() -> None:
    graph = capture(AlsoReadTwice().eval(), (torch.randn(2, 6),))
    analysis = analyze(graph)
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    found = find_readers(graph, analysis, read_inputs(graph, [inputs]))
    names = [[reader.inputs.layer.weight for reader in own] for own in found]
    assert dict(zip((group.name for group in analysis.groups), names, strict=True)) == {
        "first": [],
        "other": ["last.weight"],
    }
    values = score(graph, analysis, measured(reconstruction), [(inputs, None)]).values
    worth = {group.name: sum(own) for group, own in zip(analysis.groups, values, strict=True)}
    assert worth["first"] > 10 * worth["other"]


def test_variances_of_values_far_from_zero_are_exact() -> None:
    graph = capture(nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 4)).eval(), (torch.randn(2, 6),))
    near = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
    parts = [near[:10] + 1e4, near[10:] + 1e4]
    found = read_inputs(graph, parts)["0.weight"].variance[0]
    exact = torch.cov(torch.cat(parts).double().T, correction=0)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3)
