"""The plain form of an analysis: members with roles, reasons, shares, costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.analysis import _runs, analyze
from compressor.costs import decode
from compressor.errors import BudgetError
from compressor.labelling import label
from compressor.planning import empty_plan, plan
from compressor.proof import prove
from compressor.removal import remove
from compressor.scoring import score
from compressor.types import Axis, Group, Member
from tests import zoo
from tests.examples import times
from tests.zoo import HALF, NAMES


def group(name: str, first: str) -> Group:
    return next(g for g in zoo.analysis(name).groups if g.name == first)


def members(of: Group) -> set[tuple[str, int, str]]:
    return {(m.parameter, m.dim, m.role) for m in of.members}


def test_a_chains_groups_are_written_carried_and_read() -> None:
    first = group("chain", "conv1")
    assert (first.units, first.exact) == (16, True)
    assert members(first) == {
        ("conv1.weight", 0, "writes"),
        ("bn1.weight", 0, "carries"),
        ("bn1.bias", 0, "carries"),
        ("bn1.running_mean", 0, "carries"),
        ("bn1.running_var", 0, "carries"),
        ("conv2.weight", 1, "reads"),
    }
    assert all(m.rows == ((0, 16),) for m in first.members)
    assert len(zoo.analysis("chain").groups) == 2


def test_a_residual_stream_is_one_group() -> None:
    stream = members(group("residual", "stem"))
    written = {("stem.weight", 0, "writes"), ("conv2.weight", 0, "writes")}
    assert written | {("conv1.weight", 1, "reads"), ("head.weight", 1, "reads")} <= stream


def test_padded_rows_are_units_of_the_layer_they_meet() -> None:
    assert (
        Member(parameter="conv1.weight", dim=0, rows=((4, 12),), role="writes")
        in group("padded_shortcut", "stem").members
    )
    assert (
        Member(parameter="conv1.weight", dim=0, rows=((0, 4), (12, 16)), role="writes")
        in group("padded_shortcut", "conv1").members
    )


def test_a_flattened_channel_is_read_at_all_its_places() -> None:
    conv = group("flatten", "conv")
    assert conv.units == 16
    assert Member(parameter="hidden.weight", dim=1, rows=((0, 256),), role="reads") in conv.members


def test_a_depthwise_layer_carries() -> None:
    wide = members(group("depthwise", "wide"))
    assert ("deep.weight", 0, "carries") in wide
    assert {("wide.weight", 0, "writes"), ("narrow.weight", 1, "reads")} <= wide


def test_heads_and_their_widths_are_groups_of_their_own() -> None:
    found = [members(g) for g in zoo.analysis("heads_by_view").groups]
    layers = [{parameter.partition(".")[0] for parameter, _, _ in one} for one in found]
    assert layers == [{"query", "key", "value", "out"}, {"query", "key"}, {"value", "out"}]


def test_tied_weights_are_one_member_and_counted_once() -> None:
    analysis = zoo.analysis("tied")
    assert analysis.model.parameters == 11 * 16 + 16 * 16 + 16
    tied = [m for g in analysis.groups for m in g.members if m.parameter != "hidden.bias"]
    assert {m.parameter for m in tied} == {"hidden.weight", "embedding.weight"}


@pytest.mark.parametrize("name", NAMES)
def test_the_prunable_share_is_that_of_elements_with_a_removable_row(name: str) -> None:
    labelling = label(zoo.graph(name))
    removable = total = 0
    for item in labelling.stored:
        if item.trained:
            touched = np.zeros(item.shape, dtype=bool)
            for dim, labels in enumerate(item.dims):
                rows = labelling.rows(labels)
                if rows is not None:
                    shape = [1] * len(item.shape)
                    shape[dim] = -1
                    touched |= (rows > 0).any(axis=1).reshape(shape)
            removable += int(touched.sum())
            total += touched.size
    assert zoo.analysis(name).prunable_parameters == pytest.approx(removable / total)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_dimensions_tell_operator_and_reason_dearest_first(name: str) -> None:
    frozen = zoo.analysis(name).frozen
    assert all(entry.op and entry.node and entry.reason for entry in frozen)
    assert [e.parameters for e in frozen] == sorted((e.parameters for e in frozen), reverse=True)
    assert all(entry.parameters > 0 for entry in frozen)
    assert not any(entry.source.startswith("/") for entry in frozen)


@times(2.0)
@given(column=st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_runs_are_the_column_they_came_from(column: list[int]) -> None:
    runs = _runs(np.array(column, dtype=np.int64))
    assert decode(Axis(size=len(column), columns=(runs,)))[0].tolist() == column


def test_regular_columns_become_few_runs() -> None:
    assert _runs(np.arange(5, 1000)) == ((5, 1, 995),)
    assert _runs(np.repeat([3, 9], 50)) == ((3, 0, 50), (9, 0, 50))
    assert _runs(np.tile(np.arange(20), 3)) == ((0, 1, 20),) * 3


class Fixed(nn.Module):
    """Nothing in between to cut: from input to output in one layer."""

    def __init__(self, width: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, width or 4))
        if width:
            self.layers.append(nn.Linear(width, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_a_network_with_nothing_to_cut_is_analysed_and_proved_and_has_no_plan() -> None:
    graph = zoo.captured(Fixed(), (torch.randn(2, 6),))
    analysis = analyze(graph)
    assert analysis.groups == ()
    assert analysis.prunable_parameters == 0.0
    nothing = empty_plan(analysis)
    assert prove(graph, remove(graph, analysis, nothing), analysis, nothing).passed
    with pytest.raises(BudgetError, match=r"at most 0\.0 %"):
        plan(analysis, score(graph, analysis), HALF)


def test_a_width_of_one_is_no_group() -> None:
    graph = zoo.captured(Fixed(width=1), (torch.randn(2, 6),))
    assert analyze(graph).groups == ()
