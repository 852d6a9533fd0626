"""The training loop on toy images."""

from __future__ import annotations

import math
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from compressor.acceleration import Acceleration
from compressor.data import ImageData, Images
from compressor.distillation import (
    Deadline,
    Distilled,
    Epochs,
    Progress,
    default_objective,
    distill,
    fitting_batch,
)
from compressor.errors import DataError, OptionError
from compressor.features import stage_nodes
from compressor.graphs import Graph, capture
from compressor.objectives import Signals, logit_objective, with_features
from compressor.optimisation import AveragedWeights, Optimisation
from compressor.types import Preprocessing


def small_graph(seed: int) -> Graph:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    return capture(network.eval(), (torch.zeros(2, 1, 6, 6),))


def some_data(samples: int = 128, *, labels: bool = True) -> ImageData:
    """Two classes: the left half is bright, or the right half."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 120, (samples, 1, 6, 6), generator=generator)
    classes = torch.arange(samples) % 2
    pixels[classes == 0, :, :, :3] += 100
    pixels[classes == 1, :, ::2, :] += 60
    images = Images(pixels=pixels.to(torch.uint8), labels=classes)
    half = Images(pixels=images.pixels[:64], labels=classes[:64])
    return ImageData(
        name="halves",
        train=images,
        validation=half,
        test=None,
        classes=("left", "rows"),
        preprocessing=Preprocessing(crop=(6, 6), mean=(0.5,), std=(0.25,)),
        train_with_labels=labels,
        seen_test_share=0.0,
        notes=(),
    )


def values(graph: Graph) -> list[Tensor]:
    return [value.clone() for value in graph.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


FAST = Optimisation(learning_rate=0.05)


@pytest.fixture(scope="module")
def teacher() -> Graph:
    found = distill(small_graph(1), None, some_data(), length=Epochs(12), optimisation=FAST)
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    return found.graph


def run(student: Graph, teacher: Graph, seed: int = 3) -> Distilled:
    return distill(
        student,
        teacher,
        some_data(labels=False),
        length=Epochs(15),
        optimisation=FAST,
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_student_learns_to_agree_without_labels(teacher: Graph) -> None:
    student = small_graph(2)
    before, taught_by = values(student), values(teacher)
    found = run(student, teacher)
    assert found.accuracy is None
    assert found.agreement is not None
    assert found.agreement > 0.8
    assert found.agreement > found.history[0].metric
    assert found.metrics == {"agreement": found.agreement}
    assert len(found.history) == 17  # the start, every epoch, and the last step's own weights
    assert found.epochs == pytest.approx(15.0)
    assert same(values(student), before)
    assert same(values(teacher), taught_by)
    assert not found.graph.training
    assert found.graph.fingerprint == student.fingerprint


def test_same_seed_gives_same_weights_and_another_gives_others(teacher: Graph) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, again = run(small_graph(2), teacher), run(small_graph(2), teacher)
        other = run(small_graph(2), teacher, seed=4)
    finally:
        torch.set_num_threads(threads)
    assert same(values(first.graph), values(again.graph))
    assert not same(values(first.graph), values(other.graph))


def test_training_never_makes_a_student_worse(teacher: Graph) -> None:
    found = distill(
        teacher, teacher, some_data(), length=Epochs(2), optimisation=Optimisation(learning_rate=10)
    )
    assert found.agreement == 1.0
    assert same(values(found.graph), values(teacher))
    assert any("the starting point was kept" in note for note in found.notes)


def test_a_loss_that_is_not_finite_goes_back_and_then_stops_with_finite_weights(
    teacher: Graph,
) -> None:
    def broken(signals: Signals) -> Tensor:
        return signals.student_logits.sum() * math.nan

    found = distill(
        small_graph(2), teacher, some_data(), length=Epochs(20), objective=broken, batch_size=16
    )
    assert all(bool(value.isfinite().all()) for value in found.graph.parameters())
    assert sum("a tenth of the learning rate" in note for note in found.notes) == 2
    assert any("training stopped early, the best weights stand" in note for note in found.notes)


def test_a_deadline_is_kept_by_the_clock_it_is_given(teacher: Graph) -> None:
    ticks = count()
    seen: list[Progress] = []
    found = distill(
        small_graph(2),
        teacher,
        some_data(),
        length=Deadline(500.0),
        acceleration=Acceleration(),
        clock=lambda: float(next(ticks)),
        progress=seen.append,
    )
    assert 450 <= found.seconds <= 515
    assert 9 <= len(found.history) - 1 <= 11
    assert [p.done_share for p in seen] == sorted(p.done_share for p in seen)
    assert seen[-1].seconds_left < 100
    assert all(p.images_per_s > 0 for p in seen)


def test_a_clock_that_is_set_back_does_not_make_training_longer(teacher: Graph) -> None:
    ticks = count()
    steps: list[Progress] = []
    found = distill(
        small_graph(2),
        teacher,
        some_data(),
        length=Deadline(300.0),
        acceleration=Acceleration(),
        clock=lambda: float(next(ticks)) % 50.0,  # back by 50 seconds every 50 seconds
        progress=steps.append,
    )
    assert 280 <= found.seconds <= 310
    assert next(ticks) < 400
    assert all(one.seconds >= 0 for one in found.history)


def test_a_deadline_too_short_to_train_returns_the_start(teacher: Graph) -> None:
    ticks = count(step=10)
    student = small_graph(2)
    found = distill(
        student, teacher, some_data(), length=Deadline(5.0), clock=lambda: float(next(ticks))
    )
    assert same(values(found.graph), values(student))
    assert "the starting point was kept: no time to train" in found.notes


def test_a_student_is_held_to_nodes_inside_the_teacher(teacher: Graph) -> None:
    nodes = stage_nodes(teacher)
    assert len(nodes) == 2
    seen: list[tuple[int, ...]] = []

    def objective(signals: Signals) -> Tensor:
        seen.append(tuple(signals.teacher_features[0].shape))
        return with_features(logit_objective(alpha=1.0))(signals)

    found = distill(
        small_graph(2), teacher, some_data(), length=Epochs(1), objective=objective, observed=nodes
    )
    assert seen[0] == (16, 6, 6, 6)
    assert found.epochs == pytest.approx(1.0)


def test_an_unknown_node_is_named(teacher: Graph) -> None:
    with pytest.raises(OptionError, match="no node 'nowhere'"):
        distill(small_graph(2), teacher, some_data(), length=Epochs(1), observed=("nowhere",))


def test_bf16_channels_last_trains_and_gives_back_plain_weights(teacher: Graph) -> None:
    how = Acceleration(mixed_precision="bf16", channels_last=True)
    found = distill(
        small_graph(2), teacher, some_data(), length=Epochs(4), optimisation=FAST, acceleration=how
    )
    assert found.history[-1].loss < found.history[0].loss
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in found.graph.parameters())


def test_default_objective_fits_what_there_is() -> None:
    logits, labels = torch.eye(2), torch.tensor([0, 1])
    alone = Signals(student_logits=logits, labels=labels)
    taught = Signals(student_logits=logits, teacher_logits=logits)
    assert float(default_objective(labelled=True, taught=False)(alone)) > 0
    assert float(default_objective(labelled=False, taught=True)(taught)) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("samples", "side", "batch"),
    [
        (50_000, 32, 128),
        (50_000, 224, 32),
        (1437, 32, 128),
        (300, 32, 37),
        (100, 32, 16),
        (5, 9, 5),
    ],
)
def test_batches_fit_the_images(samples: int, side: int, batch: int) -> None:
    assert fitting_batch(samples, (side, side)) == batch


def test_one_image_is_too_few(teacher: Graph) -> None:
    with pytest.raises(DataError, match="at least 2 images and has 1"):
        distill(small_graph(2), teacher, some_data(1), length=Epochs(1))


def test_nobody_to_learn_from_is_an_error() -> None:
    with pytest.raises(OptionError, match="neither a teacher nor labels"):
        distill(small_graph(2), None, some_data(labels=False), length=Epochs(1))


@pytest.mark.parametrize("length", [(Deadline, 0.0), (Deadline, math.nan), (Epochs, 0)])
def test_senseless_lengths_are_refused(length: tuple[type, float]) -> None:
    kind, number = length
    with pytest.raises(OptionError, match="training cannot last"):
        kind(number)


def test_the_last_steps_weights_are_kept_where_all_averages_are_behind(
    teacher: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AveragedWeights, "follow", lambda self, graph: None)  # they never move
    found = run(small_graph(2), teacher)
    *averages, last = (entry.metric for entry in found.history)
    assert last > max(averages)
    assert found.agreement == last
    assert not same(values(found.graph), values(small_graph(2)))
