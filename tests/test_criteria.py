"""Criteria that ask the readers: finite on the whole zoo, copies cheapest, order kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor.criteria import activation, random_order, reconstruction
from compressor.errors import OptionError
from compressor.scoring import Criterion, score
from tests import zoo
from tests.zoo import ZOO

PICTURES = (
    "chain", "residual", "concat", "depthwise", "grouped", "flatten", "heads_by_view", "attention",
    "grouped_transposed", "transposed", "reordered", "squeeze_excite",
)  # fmt: skip


def batches(name: str) -> list[tuple[Tensor, None]]:
    return [(ZOO[name].inputs(batch=32, seed=seed)[0], None) for seed in (1, 2)]


@pytest.mark.parametrize("criterion", [reconstruction, activation, random_order(1)])
@pytest.mark.parametrize("name", PICTURES)
def test_every_unit_gets_a_finite_score(name: str, criterion: Criterion) -> None:
    analysis = zoo.analysis(name)
    found = score(zoo.graph(name), analysis, criterion, batches(name))
    assert [len(group) for group in found.values] == [group.units for group in analysis.groups]
    assert all(np.isfinite(group).all() and min(group) >= 0 for group in found.values)


def test_a_unit_that_another_can_stand_for_is_cheapest() -> None:
    graph, analysis = zoo.graph("chain").copy(), zoo.analysis("chain")
    with torch.no_grad():  # unit 5 becomes a copy of unit 2
        for name in ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean",
                     "bn1.running_var"):  # fmt: skip
            graph.tensors[name][5] = graph.tensors[name][2]
    place = next(g.id for g in analysis.groups if g.name == "conv1")
    values = score(graph, analysis, reconstruction, batches("chain")).values[place]
    assert int(np.argmin(values)) in (2, 5)
    assert min(values) < 0.05 * sorted(values)[1]


def test_what_is_read_with_nothing_costs_nothing() -> None:
    graph, analysis = zoo.graph("chain").copy(), zoo.analysis("chain")
    with torch.no_grad():
        graph.tensors["conv2.weight"][:, 3] = 0.0
    place = next(g.id for g in analysis.groups if g.name == "conv1")
    for criterion in (reconstruction, activation):
        values = score(graph, analysis, criterion, batches("chain")).values[place]
        assert int(np.argmin(values)) == 3
        assert values[3] < 1e-9


def test_random_orders_differ_by_seed_alone() -> None:
    analysis = zoo.analysis("chain")
    found = [score(zoo.graph("chain"), analysis, random_order(s)).values for s in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("criterion", [reconstruction, activation])
def test_without_data_they_say_what_to_give(criterion: Criterion) -> None:
    with pytest.raises(OptionError, match="needs data"):
        score(zoo.graph("chain"), zoo.analysis("chain"), criterion)


def test_values_that_overflow_when_squared_are_scored_all_the_same() -> None:
    graph, analysis = zoo.graph("chain").copy(), zoo.analysis("chain")
    with torch.no_grad():
        graph.tensors["bn1.weight"].mul_(1e25)
        graph.tensors["bn1.bias"].mul_(1e25)
    found = score(graph, analysis, reconstruction, batches("chain"))
    assert all(np.isfinite(group).all() for group in found.values)
    place = next(g.id for g in analysis.groups if g.name == "conv1")
    plain = score(zoo.graph("chain"), analysis, reconstruction, batches("chain"))
    np.testing.assert_allclose(found.values[place], plain.values[place], rtol=1e-3)


def test_inputs_that_are_no_numbers_leave_the_order_to_magnitude() -> None:
    graph, analysis = zoo.graph("chain").copy(), zoo.analysis("chain")
    broken = [(batch * float("inf"), None) for batch, _ in batches("chain")]
    found = score(graph, analysis, reconstruction, broken)
    assert all(np.isfinite(group).all() for group in found.values)
