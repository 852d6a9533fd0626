"""Pruning while training on toy images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.cutters import (
    Cutter,
    MaskedUnits,
    MaskedWeights,
    RemovedUnits,
    cut_units,
    cut_weights,
    masked_units,
    removed_units,
)
from compressor.distillation import distill
from compressor.errors import OptionError
from compressor.evaluation import accuracy, evaluate
from compressor.features import Observed, observed_graph, representation_node
from compressor.gradual import Gradual, prune_gradually
from compressor.graphs import Graph, capture
from compressor.lessons import Lesson, Lessons, MakeLessons, Network, Place
from compressor.loop import Progress
from compressor.objectives import Signals, logit_objective
from compressor.optimisation import Optimisation, plain_adamw
from compressor.pacing import Deadline, Epochs
from compressor.planning import keep_mask
from compressor.proof import prove
from compressor.removal import mask, remove
from compressor.representations import cross_correlation_loss, representation_objective
from compressor.scoring import score
from compressor.stretches import cubic, linear, split
from compressor.tutors import (
    Teach,
    objective_change,
    taught_by_another,
    taught_by_itself,
)
from compressor.types import Budget
from tests.test_distillation import FAST, same, small_graph, some_data, values

BUDGET = Budget(sparsity=0.4, multiple_of=1, keep_at_least=0.0, smallest_group=1)
ADAMW = Optimisation(learning_rate=0.01, make_optimiser=plain_adamw())


@pytest.fixture(scope="module")
def teacher() -> Graph:
    found = distill(small_graph(1), None, some_data(), length=Epochs(12), optimisation=FAST)
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    return found.graph


def by_representation(teacher: Graph) -> tuple[Teach, tuple[str, ...]]:
    node = representation_node(teacher)
    objective = representation_objective(cross_correlation_loss, 0.5)
    return taught_by_another(teacher, objective, (node,)), (node,)


def pruned(teacher: Graph, cutter: Cutter[Any], **options: Any) -> Gradual[Any]:
    teach, observed = by_representation(teacher)
    given: dict[str, Any] = {
        "steps": 3,
        "length": Epochs(9),
        "optimisation": ADAMW,
        "observed": observed,
        "judge": teacher,
        "generator": torch.Generator().manual_seed(3),
        **options,
    }
    return prune_gradually(teacher, some_data(), cutter, given.pop("teach", teach), **given)


# -- schedules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [cubic, linear])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_schedules_rise_to_one(schedule: Callable[[int], tuple[float, ...]], steps: int) -> None:
    shares = schedule(steps)
    assert len(shares) == steps
    assert shares[-1] == 1.0
    assert list(shares) == sorted(set(shares))
    assert shares[0] > 0


def test_the_cubic_schedule_takes_most_at_first() -> None:
    assert cubic(2) == (0.875, 1.0)
    assert linear(4) == (0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    ("epochs", "steps", "expected"),
    [
        (10, 1, (10,)),
        (10, 2, (5, 5)),
        (10, 5, (1, 1, 1, 1, 6)),
        (10, 8, (1, 1, 1, 1, 1, 1, 1, 3)),
        (20, 3, (6, 6, 8)),
    ],
)
def test_epochs_are_split_evenly_but_for_a_long_last_stretch(
    epochs: int, steps: int, expected: tuple[int, ...]
) -> None:
    found = split(Epochs(epochs), steps)
    assert found == tuple(Epochs(number) for number in expected)


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_seconds_are_split_alike(steps: int) -> None:
    found = split(Deadline(60.0), steps)
    seconds = [part.seconds for part in found if isinstance(part, Deadline)]
    assert sum(seconds) == pytest.approx(60.0)
    assert seconds[-1] >= 0.3 * 60.0 - 1e-9
    assert seconds[-1] >= max(seconds) - 1e-9
    assert len({round(each, 9) for each in seconds[:-1]}) <= 1


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(OptionError, match="10 epochs do not hold 9 steps"):
        split(Epochs(10), 9)


# -- weights -----------------------------------------------------------------------------------


def test_weights_stay_zero_and_the_network_learns(teacher: Graph) -> None:
    before = values(teacher)
    found: Gradual[MaskedWeights] = pruned(teacher, cut_weights(0.7))
    assert same(values(teacher), before)
    assert found.graph.fingerprint == teacher.fingerprint
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    assert found.metrics.keys() == {"top1", "agreement"}
    moved = 0
    for name, lives in found.gone.mask.items():
        assert not found.graph.tensors[name][~lives].any()
        moved += int((found.graph.tensors[name] != teacher.tensors[name])[lives].sum())
    assert moved > 0


def test_the_history_is_the_recovery_after_every_step(teacher: Graph) -> None:
    found = pruned(teacher, cut_weights(0.8), steps=4, length=Epochs(12))
    assert [each.sparsity for each in found.history] == pytest.approx(
        [0.8 * share for share in cubic(4)], abs=0.005
    )
    gains = [each.recovered - each.cut for each in found.history]
    assert min(gains) > -0.15  # not measurably worse on 64 images
    assert sum(gains) > 0
    assert sum(each.epochs for each in found.history) == pytest.approx(12.0)
    assert found.epochs == pytest.approx(12.0)
    assert found.history[-1].recovered == found.accuracy


def test_what_is_gone_keeps_in_the_whole_what_it_had_when_it_went(teacher: Graph) -> None:
    found: Gradual[MaskedWeights] = pruned(teacher, cut_weights(0.5), steps=1, length=Epochs(2))
    for name, lives in found.gone.mask.items():
        assert torch.equal(found.whole.tensors[name][~lives], teacher.tensors[name][~lives])
        assert torch.equal(found.whole.tensors[name][lives], found.graph.tensors[name][lives])


def test_same_seed_gives_the_same_network(teacher: Graph) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, again = (pruned(teacher, cut_weights(0.6)) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    assert same(values(first.graph), values(again.graph))


# -- units -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [masked_units, removed_units])
def test_units_end_as_a_smaller_network_that_is_proved(
    teacher: Graph, form: Callable[..., MaskedUnits | RemovedUnits]
) -> None:
    analysis = analyze(teacher)
    found = pruned(teacher, cut_units(analysis, BUDGET, form))
    chosen = found.gone.plan
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    # Single units of this network are larger than half a point.
    assert found.gone.sparsity == pytest.approx(0.4, abs=0.1)
    sparsities = [each.sparsity for each in found.history]
    assert sparsities == sorted(sparsities)
    student = remove(found.graph, analysis, chosen)
    pixels = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for graph in (found.graph, mask(found.whole, analysis, chosen)):
            assert torch.allclose(graph(pixels), student(pixels), atol=1e-5)
    same_student = remove(found.whole, analysis, chosen)
    assert same(values(student), values(same_student))
    assert prove(found.graph, student, analysis, chosen).passed
    proof = prove(found.whole, same_student, analysis, chosen)
    assert proof.passed
    assert proof.moved > 1e-3


def test_units_under_a_layer_norm_are_trained_as_they_will_be() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm1 = nn.Conv2d(1, 24, 2, 2), nn.LayerNorm(24)
            self.up, self.down = nn.Linear(24, 32), nn.Linear(32, 24)
            self.norm2, self.head = nn.LayerNorm(24), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).flatten(2).transpose(1, 2)
            x = x + self.down(torch.nn.functional.gelu(self.up(self.norm1(x))))
            return self.head(self.norm2(x)[:, 0])

    torch.manual_seed(4)
    network = capture(Tokens().eval(), (torch.zeros(2, 1, 6, 6),))
    data = some_data()
    dense = distill(network, None, data, length=Epochs(12), optimisation=FAST).graph
    analysis = analyze(dense)
    assert not all(group.exact for group in analysis.groups)
    budget = replace(BUDGET, sparsity=0.5)
    found = pruned(dense, cut_units(analysis, budget, removed_units))
    student = remove(found.whole, analysis, found.gone.plan)
    assert prove(found.whole, student, analysis, found.gone.plan).passed
    assert found.accuracy is not None
    logits = evaluate(student, data.validation, data.preprocessing)
    assert data.validation.labels is not None
    assert accuracy(logits, data.validation.labels) == found.accuracy
    assert found.accuracy > 0.9
    masked = pruned(dense, cut_units(analysis, budget, masked_units), length=Epochs(4))
    assert any("inexact groups are masked" in note for note in masked.notes)


@pytest.mark.parametrize("settings", [ADAMW, FAST], ids=["plain", "relative"])
def test_masked_and_removed_units_train_alike(teacher: Graph, settings: Optimisation) -> None:
    """What is gone has no part in training."""
    analysis = analyze(teacher)
    options: dict[str, Any] = {"steps": 1, "length": Epochs(2), "optimisation": settings}
    masked, removed = (
        pruned(teacher, cut_units(analysis, BUDGET, form), **options)
        for form in (masked_units, removed_units)
    )
    assert masked.gone.plan == removed.gone.plan
    for name, value in masked.graph.tensors.items():
        assert torch.allclose(value, removed.graph.tensors[name], atol=1e-5)


def test_units_may_go_by_what_the_student_is_trained_for(teacher: Graph) -> None:
    analysis, node = analyze(teacher), representation_node(teacher)
    pixels = torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    batch = (pixels, torch.arange(16) % 2)

    def only_correlation(signals: Signals) -> Tensor:
        pairs = zip(signals.student_features, signals.teacher_features, strict=True)
        return sum((cross_correlation_loss(a, b) for a, b in pairs), torch.zeros(()))

    alone = objective_change(teacher, only_correlation, (node,))
    student = small_graph(2)
    found = score(student, analysis, alone, [batch])
    assert any(number > 0 for group in found.values for number in group)
    cutter = cut_units(analysis, BUDGET, masked_units, criterion=alone, batches=[batch])
    ended = pruned(teacher, cutter, steps=2, length=Epochs(4))
    assert ended.gone.plan.criterion == "objective"
    assert keep_mask(analysis, ended.gone.plan).any()


@pytest.mark.parametrize("form", ["weights", "masked"])
def test_what_is_gone_is_zero_at_every_step_of_training(teacher: Graph, form: str) -> None:
    """Also in running statistics, which move in the forward pass."""
    cutters: dict[str, Cutter[Any]] = {
        "weights": cut_weights(0.5),
        "masked": cut_units(analyze(teacher), BUDGET, masked_units),
    }
    teach, _ = by_representation(teacher)
    differences: list[float] = []

    def watched(whole: Graph, gone: Any) -> MakeLessons:
        make = teach(whole, gone)

        def make_watching(place: Place) -> Lessons:
            return Watching(make(place), gone, differences)

        return make_watching

    pruned(teacher, cutters[form], teach=watched, steps=2, length=Epochs(4))
    assert len(differences) == 32
    assert max(differences) == 0.0


class Watching:
    """Lessons that note what holding would change before each step."""

    def __init__(self, lessons: Lessons, gone: Any, differences: list[float]) -> None:
        self.lessons, self.gone, self.differences = lessons, gone, differences

    def draw(self, *given: Any) -> Any:
        return self.lessons.draw(*given)

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        student = observed_graph(network)
        held = student.copy()
        self.gone.hold(held)
        pairs = zip(values(student), values(held), strict=True)
        self.differences.append(max(float((a.double() - b.double()).abs().max()) for a, b in pairs))
        return self.lessons.loss(network, lesson)


# -- the live teacher --------------------------------------------------------------------------


class Spy:
    """Lessons that note how far the teacher's logits are from those of the network at the start."""

    def __init__(self, lessons: Lessons, first: Graph, seen: list[float]) -> None:
        self.lessons, self.first, self.seen = lessons, first, seen

    def draw(self, *given: Any) -> Any:
        return self.lessons.draw(*given)

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        loss = self.lessons.loss(network, lesson)
        assert lesson[0] is not None
        with torch.no_grad():
            answers, _ = self.lessons.taught.teacher(lesson[0])  # type: ignore[attr-defined]
            self.seen.append(float((answers - self.first(lesson[0])).abs().max()))
        return loss


@pytest.mark.parametrize("form", ["weights", "masked", "removed"])
def test_a_live_teacher_begins_as_the_frozen_one_and_moves_on(teacher: Graph, form: str) -> None:
    analysis = analyze(teacher)
    cutters: dict[str, Cutter[Any]] = {
        "weights": cut_weights(0.5),
        "masked": cut_units(analysis, BUDGET, masked_units),
        "removed": cut_units(analysis, BUDGET, removed_units),
    }
    node = representation_node(teacher)
    teach = taught_by_itself(representation_objective(cross_correlation_loss), (node,))
    seen: list[float] = []

    def spied(whole: Graph, gone: Any) -> MakeLessons:
        make = teach(whole, gone)

        def make_spy(place: Place) -> Lessons:
            return Spy(make(place), place(teacher).eval(), seen)

        return make_spy

    found = pruned(teacher, cutters[form], teach=spied, steps=2, length=Epochs(4))
    assert seen[0] < 1e-5
    assert seen[-1] > 1e-3
    assert found.history[-1].recovered >= found.history[-1].cut


def test_a_live_teacher_is_the_student_with_what_is_gone_as_it_was(teacher: Graph) -> None:
    gone = cut_weights(0.5)(teacher, 1.0, None)
    student = gone.student(teacher)
    lessons = taught_by_itself(logit_objective(alpha=1.0))(teacher, gone)(Graph.copy)
    pixels = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for value in student.parameters():
            value.mul_(1.1)
        gone.hold(student)
        expected = teacher.copy()
        gone.put_back(student, expected)
        loss = lessons.loss(Observed(student, ()), (pixels, None))
        signals = Signals(student_logits=student(pixels), teacher_logits=expected(pixels))
    assert torch.allclose(loss, logit_objective(alpha=1.0)(signals))


# -- time and refusals -------------------------------------------------------------------------


def test_a_deadline_holds_for_the_whole_phase(teacher: Graph) -> None:
    ticks = count()
    seen: list[Progress] = []
    found = pruned(
        teacher,
        cut_weights(0.6),
        length=Deadline(900.0),
        clock=lambda: float(next(ticks)),
        progress=seen.append,
    )
    assert 800 <= found.seconds <= 930
    assert [each.done_share for each in seen] == sorted(each.done_share for each in seen)
    assert 0.8 < seen[-1].done_share <= 1.0
    assert seen[0].seconds_left > seen[-1].seconds_left
    assert found.gone.sparsity == pytest.approx(0.6, abs=0.005)


def test_a_deadline_too_short_still_reaches_the_sparsity(teacher: Graph) -> None:
    ticks = count(step=10)
    found = pruned(
        teacher, cut_weights(0.6), length=Deadline(5.0), clock=lambda: float(next(ticks))
    )
    assert found.gone.sparsity == pytest.approx(0.6, abs=0.005)
    assert any("step 3 of 3: the starting point was kept" in note for note in found.notes)


def test_schedules_that_do_not_rise_to_one_are_refused(teacher: Graph) -> None:
    def falling(steps: int) -> tuple[float, ...]:
        return (1.0, 0.5, 1.0)

    for options in ({"schedule": falling}, {"schedule": lambda n: (0.5, 0.9)}, {"steps": 0}):
        with pytest.raises(OptionError, match="must rise from above 0 to 1"):
            pruned(teacher, cut_weights(0.6), **options)
