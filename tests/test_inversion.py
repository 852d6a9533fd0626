"""Pictures synthesised from a network's batch norms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor, nn

from compressor import inversion
from compressor.data import ImageData, normalise, open_data
from compressor.graphs import Graph, capture
from compressor.inversion import effort, invert, statistics_distance, synthesise
from compressor.synthetic import paint
from compressor.types import Preprocessing
from tests import zoo

HOW = Preprocessing(crop=(12, 12), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture(scope="module")
def teacher() -> Graph:
    """A network whose statistics are those of dark pictures; its answers are spread."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8, momentum=1.0),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16, momentum=1.0),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        head := nn.Linear(16, 4),
    )
    dark = (0.4 * paint(256, (12, 12), 3, 9).float() + 20).to(torch.uint8)
    seen = normalise(dark, HOW)
    with torch.no_grad():
        network.train()(seen)
        head.weight.mul_(10)
        head.bias.sub_(network.eval()(seen).mean(0))
    return capture(network, (seen[:2],))


def seeded(graph: Graph, count: int = 32, seed: int = 0, steps: int = 60) -> Tensor:
    return invert(graph, HOW, count, Generator().manual_seed(seed), steps=steps)


def test_statistics_come_much_nearer_to_the_stored_ones(teacher: Graph) -> None:
    start, made = seeded(teacher, steps=0), seeded(teacher)
    assert (made.dtype, made.shape) == (torch.uint8, (32, 3, 12, 12))
    before, after = (statistics_distance(teacher, pixels, HOW) for pixels in (start, made))
    assert after < 0.2 * before


def test_distance_is_the_kl_divergence_of_two_gaussians() -> None:
    torch.manual_seed(0)
    network = nn.BatchNorm2d(1, eps=1e-9)
    network.running_mean, network.running_var = torch.tensor([1.0]), torch.tensor([4.0])
    graph = capture(network.eval(), (torch.zeros(2, 1, 2, 2),))
    how = Preprocessing(crop=(2, 2), mean=(0.0,), std=(1 / 255,))
    pixels = torch.tensor([1, 3, 5, 7], dtype=torch.uint8).view(1, 1, 2, 2)
    expected = math.log(2 / math.sqrt(5)) + (5 + (4 - 1) ** 2) / 8 - 0.5
    assert statistics_distance(graph, pixels, how) == pytest.approx(expected, rel=1e-5)


def test_same_seed_gives_the_same_pictures_and_another_seed_others(teacher: Graph) -> None:
    first = seeded(teacher, steps=3)
    assert torch.equal(first, seeded(teacher, steps=3))
    assert not torch.equal(first, seeded(teacher, seed=1, steps=3))


def test_the_graph_stays_as_it_is(teacher: Graph) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.tensors.items()}
    wanted = [parameter.requires_grad for parameter in teacher.parameters()]
    fingerprint, training = teacher.fingerprint, teacher.training
    seeded(teacher, steps=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.tensors.items())
    assert [parameter.requires_grad for parameter in teacher.parameters()] == wanted
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert (teacher.fingerprint, teacher.training) == (fingerprint, training)


def test_classes_that_no_procedural_picture_shows_are_there(teacher: Graph) -> None:
    start, made = (
        teacher(normalise(pixels, HOW)).argmax(dim=1).bincount(minlength=4)
        for pixels in (seeded(teacher, steps=0), seeded(teacher))
    )
    assert start.min() == 0
    assert made.min() > 0


def test_a_network_without_batch_norm_gets_procedural_pictures() -> None:
    generator = Generator().manual_seed(0)
    seed = int(torch.randint(2**31, (1,), generator=Generator().manual_seed(0)))
    small = replace(HOW, crop=(8, 8))
    made = invert(zoo.graph("flatten"), small, 5, generator)
    assert torch.equal(made, paint(5, (8, 8), 3, seed))


def test_a_gradient_that_is_no_number_leaves_the_picture(teacher: Graph) -> None:
    broken = teacher.copy()
    with torch.no_grad():
        broken.tensors["0.weight"].fill_(1e38)
    assert torch.equal(seeded(broken, count=4, steps=2), seeded(broken, count=4, steps=0))


def test_progress_rises_to_one_over_all_batches(
    teacher: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversion, "BATCH", 4)
    told: list[float] = []
    invert(teacher, HOW, 10, Generator().manual_seed(0), steps=2, progress=told.append)
    assert told == sorted(told)
    assert (len(told), told[-1]) == (6, 1.0)


def test_effort_takes_fewer_steps_then_fewer_pictures_then_none() -> None:
    assert effort(1_000_000, 640) == inversion.Effort(pictures=640, steps=40)
    assert effort(200_000_000, 640) == inversion.Effort(pictures=640, steps=31)
    assert effort(4_000_000_000, 640) == inversion.Effort(pictures=50, steps=20)
    assert effort(100_000_000_000, 640).pictures == 0


def opened() -> ImageData:
    return open_data("synthetic", preprocessing=HOW, outputs=4, seed=0)


def test_affordable_pictures_replace_procedural_ones_in_both_sets(
    teacher: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversion, "MOST_MACS", 20 * 50 * 1000)
    data = opened()
    made = synthesise(data, teacher, 1000, Generator().manual_seed(0))
    changed = [
        (new.pixels != old.pixels).flatten(1).any(1)
        for new, old in ((made.train, data.train), (made.validation, data.validation))
    ]
    assert [int(rows.sum()) for rows in changed] == [40, 10]
    assert [bool(rows[: rows.sum()].all()) for rows in changed] == [True, True]
    assert made.notes == (
        *data.notes,
        "50 pictures synthesised from the teacher's batch-norm statistics, 20 steps each, and 590 "
        "procedural ones",
    )


@pytest.mark.parametrize(
    ("name", "macs", "why"),
    [("flatten", 1, "no batch norm stores statistics"), ("chain", 10**12, "take too long")],
)
def test_where_nothing_can_be_synthesised_the_note_says_why(name: str, macs: int, why: str) -> None:
    data = opened()
    made = synthesise(data, zoo.graph(name), macs, Generator().manual_seed(0))
    assert torch.equal(made.train.pixels, data.train.pixels)
    assert made.notes[-1].startswith("640 pictures are procedural: ")
    assert why in made.notes[-1]
