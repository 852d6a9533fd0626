"""One pass over the graph: groups, numbers and what is known of every node."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import fx

from compressor.labelling import label
from compressor.labels import FIXED, RESERVED
from compressor.rules import Record, Value
from compressor.rules.calls import Reason
from tests import zoo
from tests.zoo import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_numbers_count_through_the_groups_and_zero_always_stays(name: str) -> None:
    labelling = label(zoo.graph(name))
    assert [len(group.units) for group in labelling.groups] == [
        group.units for group in zoo.analysis(name).groups
    ]
    numbered = np.concatenate([group.units for group in labelling.groups])
    assert len(np.unique(numbered)) == len(numbered)
    assert labelling.numbers[numbered].tolist() == list(range(1, len(numbered) + 1))
    assert np.count_nonzero(labelling.numbers) == len(numbered)
    assert labelling.group_of[0] == -1
    for index, group in enumerate(labelling.groups):
        assert (labelling.group_of[labelling.numbers[group.units]] == index).all()


@pytest.mark.parametrize("name", NAMES)
def test_labels_fit_every_node_and_nothing_goes_when_all_is_kept(name: str) -> None:
    labelling = label(zoo.graph(name))
    everything = np.ones(len(labelling.group_of), dtype=bool)
    seen = 0
    for known in labelling.nodes.values():
        for value in known if isinstance(known, tuple) else (known,):
            for size, labels in zip(value.shape, value.dims, strict=True):
                assert labels is None or len(labels) == size
                assert labelling.kept(labels, everything) is None
                seen += labels is not None
    assert seen > 4


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_outputs_never_lose_a_row(name: str) -> None:
    graph = zoo.graph(name)
    labelling = label(graph)
    (output,) = graph.program.graph.find_nodes(op="output")
    ends = [*graph.program.graph.find_nodes(op="placeholder"), *output.all_input_nodes]
    for node in ends:
        known = labelling.nodes[node.name]
        assert isinstance(known, Value)
        assert all(labelling.rows(labels) is None for labels in known.dims)


def test_tied_tensors_are_one() -> None:
    labelling = label(zoo.graph("tied"))
    (tied,) = [item for item in labelling.stored if item.aliases]
    assert {tied.name, *tied.aliases} == {"embedding.weight", "head.weight"}
    assert len(labelling.stored) == 3


def test_buffers_are_labelled_but_not_trained() -> None:
    stored = {item.name: item for item in label(zoo.graph("chain")).stored}
    assert not stored["bn1.running_mean"].trained
    assert stored["bn1.weight"].trained


def test_a_unit_keeps_its_rows_only_while_all_its_factors_stay() -> None:
    """A row of the value projection is (head, place): it goes with either."""
    labelling = label(zoo.graph("heads_by_view"))
    weight = next(item for item in labelling.stored if item.name == "value.weight")
    rows = labelling.rows(weight.dims[0])
    assert rows is not None
    assert rows.shape == (64, 2)
    keep = np.ones(len(labelling.group_of), dtype=bool)
    keep[rows[0, 0]] = False
    without_one = labelling.kept(weight.dims[0], keep)
    keep[rows[0, 1]] = False
    without_two = labelling.kept(weight.dims[0], keep)
    assert without_one is not None
    assert without_two is not None
    assert (without_one.sum(), without_two.sum()) == (56, 49)


def test_labels_do_not_depend_on_values() -> None:
    graph = zoo.graph("concat").copy()
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.zero_()
    ours, theirs = label(graph), label(zoo.graph("concat"))
    assert [group.units.tolist() for group in ours.groups] == [
        group.units.tolist() for group in theirs.groups
    ]


def test_reasons_that_run_out_share_the_last_id() -> None:
    """The ids behind it are those of units: a unit would be frozen, and freeze others."""
    record = Record(reasons=[Reason("", "", "", "", "")] * (RESERVED - FIXED - 2))
    node = fx.Graph().placeholder("x")
    assert [record.reason(node, text) for text in ("last", "one more")] == [RESERVED - 1] * 2
    told = record.told(RESERVED - 1)
    assert told is not None
    assert told.text == "last"
    assert record.units.fresh(1).min() == RESERVED
