"""Who reads a group's units: every reader found, with the moments of what it reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compressor import readers
from compressor.labelling import label
from compressor.readers import find_readers, read_inputs
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


def test_moments_are_those_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
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
                torch.testing.assert_close(
                    found.moment, rows.mT @ rows / rows.shape[1], rtol=1e-4, atol=1e-5
                )
                torch.testing.assert_close(found.mean, rows.mean(dim=1), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(readers, "WIDE", 1)
    for name, found in read_inputs(graph, [batch[:8], batch[8:]]).items():
        taps, blocks = found.taps, found.moment
        inside = whole[name].moment.reshape(-1, whole[name].moment.shape[1] // taps, taps,
                                            whole[name].moment.shape[2] // taps, taps)  # fmt: skip
        for tap in range(taps):
            torch.testing.assert_close(blocks[tap], inside[0, :, tap, :, tap], rtol=1e-4, atol=1e-5)


def test_blocks_and_whole_are_inverse() -> None:
    inputs = read_inputs(zoo.graph("chain"), [ZOO["chain"].inputs()[0]])
    for found in inputs.values():
        matrix = found.layer.form.matrix(zoo.graph("chain").tensors[found.layer.weight])
        assert torch.equal(found.whole(found.blocks(matrix), len(matrix)), matrix)
