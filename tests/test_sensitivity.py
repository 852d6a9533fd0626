"""What groups are worth: in one measure, in the criterion's order, true where it was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor.criteria import reconstruction
from compressor.errors import OptionError
from compressor.graphs import Graph
from compressor.planning import plan_by_error, plan_uniform
from compressor.readers import find_readers, read_inputs
from compressor.scoring import magnitude, score
from compressor.sensitivity import _between, measure, measured
from compressor.types import Budget
from tests import zoo
from tests.zoo import ZOO


def batches(name: str) -> list[tuple[Tensor, None]]:
    return [(ZOO[name].inputs(batch=32, seed=seed)[0], None) for seed in (1, 2)]


@pytest.mark.parametrize("name", ["chain", "residual", "flatten", "heads_by_view", "layer_norm"])
def test_order_inside_groups_stays_and_distances_are_finite(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    plain = score(graph, analysis, magnitude)
    inputs = ZOO[name].inputs(batch=32)[0]
    readers = find_readers(graph, analysis, read_inputs(graph, [inputs]))
    found = measure(graph, analysis, plain, readers, inputs)
    for own, common in zip(plain.values, found.values, strict=True):
        assert np.argsort(own, kind="stable").tolist() == np.argsort(common, kind="stable").tolist()
        assert np.isfinite(common).all()
        assert min(common) >= 0
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())


def weakened() -> Graph:
    """The residual network with a branch that hardly adds anything."""
    graph = zoo.graph("residual").copy()
    with torch.no_grad():
        graph.tensors["bn2.weight"].mul_(1e-2)
    return graph


def test_a_group_that_the_output_hardly_feels_is_cheap() -> None:
    analysis = zoo.analysis("residual")
    place = next(group.id for group in analysis.groups if group.name == "conv1")
    found = score(weakened(), analysis, measured(reconstruction), batches("residual"))
    whole = score(zoo.graph("residual"), analysis, measured(reconstruction), batches("residual"))
    assert sum(found.values[place]) < 1e-2 * sum(whole.values[place])
    budget = Budget(sparsity=0.2, multiple_of=1, smallest_group=1)
    made = plan_by_error(analysis, found, budget)
    assert made.groups[place].width < 12
    assert made.groups[1 - place].width >= 15  # the stream, which the output feels, stays
    assert abs(made.achieved - plan_uniform(analysis, found, budget).achieved) < 0.05


def test_between_measured_widths_the_course_is_followed() -> None:
    course = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    found = _between(course, [2, 4], np.array([0.02, 0.08]))
    np.testing.assert_allclose(found, [0.01, 0.02, 0.04, 0.08, 0.16])
    steep = _between(course, [2, 4], np.array([0.01, 0.16]))
    np.testing.assert_allclose(steep, [0.005, 0.01, 0.04, 0.16, 0.64])


def test_measuring_without_data_says_what_to_give() -> None:
    with pytest.raises(OptionError, match="needs data"):
        score(zoo.graph("chain"), zoo.analysis("chain"), measured(magnitude))
