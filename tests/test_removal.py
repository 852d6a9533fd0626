"""Masking and removing, unit by unit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor import cuts
from compressor.cuts import lay
from compressor.graphs import Graph
from compressor.labelling import Labelling, label
from compressor.planning import plan_keeping, rows_of
from compressor.removal import mask, remove
from tests import zoo
from tests.zoo import NAMES, ZOO

EXACT = tuple(name for name in NAMES if ZOO[name].exact)


@pytest.fixture
def labelled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of cuts of one graph need its labels only once."""

    @cache
    def once(graph: Graph) -> Labelling:
        return label(graph)

    monkeypatch.setattr(cuts, "label", once)


def answer(graph: Graph, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        return zoo.in_double(graph)(*(x.double() if x.is_floating_point() else x for x in inputs))


def assert_masked_is_removed(name: str, unit: int) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    keep = np.ones(1 + sum(group.units for group in analysis.groups), dtype=bool)
    keep[unit] = False
    chosen = plan_keeping(analysis, keep)
    inputs = ZOO[name].inputs(seed=unit)
    masked = answer(mask(graph, analysis, chosen), inputs)
    removed = answer(remove(graph, analysis, chosen), inputs)
    assert float((masked - removed).abs().max()) <= 1e-12 * max(1.0, float(masked.abs().max()))


@pytest.mark.parametrize("name", EXACT)
def test_a_single_unit_of_every_group_masks_as_it_is_removed(
    name: str, labelled_once: None
) -> None:
    first = 1
    for number, group in enumerate(zoo.analysis(name).groups):
        assert_masked_is_removed(name, first + (5 * number + 3) % group.units)
        first += group.units


@pytest.mark.parametrize(
    "name",
    [
        "padded_shortcut",
        "grouped_queries",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in EXACT
            if name not in ("padded_shortcut", "grouped_queries")
        ),
    ],
)
def test_every_single_unit_masks_as_it_is_removed(name: str, labelled_once: None) -> None:
    units = sum(group.units for group in zoo.analysis(name).groups)
    assert units > 7
    for unit in range(1, units + 1):
        assert_masked_is_removed(name, unit)


@pytest.mark.parametrize("name", NAMES)
def test_members_are_what_is_zeroed_and_what_is_cut(name: str) -> None:
    graph, student = zoo.graph(name), zoo.student(name)
    masked = mask(graph, zoo.analysis(name), zoo.half(name)).tensors
    cut = lay(graph, zoo.analysis(name), zoo.half(name))
    for item in cut.labelling.stored:
        expected = graph.tensors[item.name].detach().clone()
        nothing = 1 if item.name == "periods" else 0  # something is divided by it
        for dim, labels in enumerate(item.dims):
            rows = cut.rows(labels)
            if rows is not None:
                expected.index_fill_(dim, torch.from_numpy(np.flatnonzero(~rows)), nothing)
        assert torch.equal(masked[item.name], expected)
        for dim, labels in enumerate(item.dims):
            rows = cut.rows(labels)
            if rows is not None:
                expected = expected.index_select(dim, torch.from_numpy(np.flatnonzero(rows)))
        assert torch.equal(student.tensors[item.name], expected)


def test_members_name_every_row_that_a_cut_touches() -> None:
    for name in NAMES:
        student = zoo.student(name)
        touched = {
            (member.parameter, member.dim): rows_of(member.rows)
            for group, kept in zip(zoo.analysis(name).groups, zoo.half(name).groups, strict=True)
            for member in group.members
            if kept.width < kept.units
        }
        tensors = zoo.graph(name).tensors
        for parameter, tensor in tensors.items():
            before, after = tensor.shape, student.tensors[parameter].shape
            for dim in range(tensor.ndim):
                if before[dim] != after[dim]:
                    names = [other for other in tensors if tensors[other] is tensor]
                    named = [touched[n, dim] for n in names if (n, dim) in touched]
                    assert len(named) == 1, "tied tensors are named once"
                    assert named[0].max() < before[dim]


def test_tied_weights_stay_tied() -> None:
    graph, analysis, chosen = zoo.graph("tied"), zoo.analysis("tied"), zoo.half("tied")
    for other in (remove(graph, analysis, chosen), mask(graph, analysis, chosen), graph.copy()):
        assert other.get_parameter("embedding.weight") is other.get_parameter("head.weight")
        assert {"embedding.weight", "head.weight"} <= other.state_dict().keys()
        assert len(list(other.parameters())) == 3


def test_a_student_keeps_kinds_and_flags_of_its_tensors() -> None:
    graph = zoo.graph("chain").copy().double()
    graph.get_parameter("conv1.weight").requires_grad_(False)
    student = remove(graph, zoo.analysis("chain"), zoo.half("chain"))
    assert {name: value.dtype for name, value in student.state_dict().items()} == {
        name: value.dtype for name, value in graph.state_dict().items()
    }
    flags = {name: value.requires_grad for name, value in student.named_parameters()}
    assert flags == {name: value.requires_grad for name, value in graph.named_parameters()}
    assert dict(student.named_buffers()).keys() == dict(graph.named_buffers()).keys()


def test_a_graph_in_training_mode_gives_a_student_in_training_mode() -> None:
    graph = zoo.graph("chain").copy().train()
    student = remove(graph, zoo.analysis("chain"), zoo.half("chain"))
    assert student.training
    mean = student.get_buffer("bn1.running_mean").clone()
    student(*ZOO["chain"].inputs())
    assert not torch.equal(student.get_buffer("bn1.running_mean"), mean)
    student.eval()
    again = zoo.student("chain")(*ZOO["chain"].inputs())
    assert student(*ZOO["chain"].inputs()).shape == again.shape


def test_a_gate_stands_where_its_operand_does() -> None:
    graph, analysis = zoo.graph("summed_thrice"), zoo.analysis("summed_thrice")
    keep = np.ones(1 + sum(group.units for group in analysis.groups), dtype=bool)
    keep[1::2] = False
    masked = mask(graph, analysis, plan_keeping(analysis, keep)).program.graph
    gates = list(masked.find_nodes(op="call_function", target=torch.ops.aten.masked_fill.Scalar))
    assert len(gates) == 3
    known = {"shape", "where", "source"}
    assert all(
        {n: g.meta[n] for n in known} == {n: g.args[0].meta[n] for n in known} for g in gates
    )
