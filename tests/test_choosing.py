"""One way is carried out, several are tried; a bad one loses."""

from __future__ import annotations

from torch import Tensor

from compressor.choosing import Way, choose, needs_batches
from compressor.criteria import random_order, reconstruction
from compressor.graphs import Graph
from compressor.planning import plan_uniform
from compressor.scoring import Batches, score
from compressor.types import Analysis, Budget, Scores
from compressor.ways import find_ways
from tests import zoo
from tests.zoo import ZOO

BUDGET = Budget(sparsity=0.5, multiple_of=1, smallest_group=1)


def batches() -> list[tuple[Tensor, None]]:
    return [(ZOO["chain"].inputs(batch=64, seed=seed)[0], None) for seed in range(4)]


def dearest_first(graph: Graph, analysis: Analysis, given: Batches | None = None) -> Scores:
    """The wrong way round."""
    found = score(graph, analysis, reconstruction, given)
    return Scores(
        criterion="wrong",
        fingerprint=found.fingerprint,
        values=tuple(tuple(-v for v in group) for group in found.values),
    )


GOOD = Way(name="good", criterion=reconstruction, allocation=plan_uniform)
WRONG = Way(name="wrong", criterion=dearest_first, allocation=plan_uniform)


def test_the_better_way_is_taken_wherever_it_stands_and_both_are_told() -> None:
    for ways in ((GOOD, WRONG), (WRONG, GOOD)):
        found = choose(zoo.graph("chain"), zoo.analysis("chain"), BUDGET, ways, batches())
        assert found.plan.criterion == "reconstruction"
        assert found.note.startswith("units chosen by good")
        assert "wrong" in found.note


def test_one_image_is_refitted_from_and_compared_on() -> None:
    only = [(ZOO["chain"].inputs(batch=1)[0], None)]
    found = choose(zoo.graph("chain"), zoo.analysis("chain"), BUDGET, (WRONG, GOOD), only)
    assert found.plan.criterion == "reconstruction"


def test_only_one_way_that_looks_at_weights_alone_needs_no_data() -> None:
    for criterion in ("magnitude", "random"):
        assert not needs_batches(find_ways(criterion, "uniform"))
        assert not needs_batches(find_ways(criterion, "global"))
        assert needs_batches(find_ways(criterion, "measured"))
    assert needs_batches(find_ways("taylor", "uniform"))
    assert needs_batches(find_ways("auto", "uniform"))


def test_one_way_needs_no_trial_and_no_data() -> None:
    way = Way(name="luck", criterion=random_order(0), allocation=plan_uniform)
    found = choose(zoo.graph("chain"), zoo.analysis("chain"), BUDGET, (way,), [])
    assert found.note == "units chosen by luck"
    assert found.plan.criterion == "random"
