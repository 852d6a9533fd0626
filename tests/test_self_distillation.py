"""How a network teaches itself: the losses in closed form, what is drawn, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
from torch import Generator, Tensor

from compressor.acceleration import Acceleration
from compressor.augmentation import no_augmentation, shift
from compressor.data import ImageData, normalise
from compressor.distillation import learn
from compressor.errors import DataError, OptionError
from compressor.features import Observed
from compressor.graphs import Graph
from compressor.lessons import Lesson, Network
from compressor.objectives import label_loss, logit_divergence
from compressor.pacing import Epochs
from compressor.passes import Passes
from compressor.self_distillation import (
    SELF_DISTILLATIONS,
    MakeSelfTaught,
    Partners,
    SelfTaught,
    class_wise,
    class_wise_terms,
    labels_only,
    last_batch,
    last_batch_terms,
    past_predictions,
    past_terms,
)
from tests.test_distillation import FAST, same, small_graph, some_data, values

KINDS = tuple(SELF_DISTILLATIONS)


def unplaced(graph: Graph) -> Graph:
    return graph


def made(name: str, passes: int = 1) -> SelfTaught:
    return SELF_DISTILLATIONS[name](passes)(unplaced)


def drawn(lessons: SelfTaught, count: int, size: int = 16, seed: int = 0) -> list[Lesson]:
    passes = Passes(len(some_data().train), size, Generator().manual_seed(seed))
    stream = lessons.draw(some_data(), passes, no_augmentation)
    return list(islice(stream, count))


def always(logits: Tensor) -> Network:
    """A network that says the same of any ``len(logits)`` inputs."""
    return lambda pixels: (logits[: len(pixels)], ())


def rows_of(data: ImageData, pixels: Tensor) -> list[int]:
    """Which training images these are, found by their pixels."""
    everything = normalise(data.train.pixels, data.preprocessing).flatten(1)
    return [int((everything == one.flatten()).all(dim=1).nonzero()[0]) for one in pixels]


# -- losses ------------------------------------------------------------------------------------


def test_class_wise_loss_of_two_classes_has_the_closed_form() -> None:
    # At temperature 2 the partner says (3/4, 1/4), the image (1/2, 1/2).
    partner = torch.tensor([[2.0 * math.log(3.0), 0.0]], requires_grad=True)
    logits, labels = torch.zeros(1, 2, requires_grad=True), torch.tensor([0])
    found = class_wise_terms(logits, labels, partner, temperature=2.0, weight=3.0)
    apart = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(found.labels.detach()) == pytest.approx(math.log(2.0))
    assert float(found.added.detach()) == pytest.approx(3.0 * 4.0 * apart)
    assert float(found.total.detach()) == pytest.approx(math.log(2.0) + 12.0 * apart)
    found.total.backward()
    assert partner.grad is None


def test_past_loss_is_the_cross_entropy_with_the_mixed_target() -> None:
    generator = Generator().manual_seed(1)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    past = torch.randn(4, 3, generator=generator, dtype=torch.float64).softmax(-1)
    labels = torch.tensor([0, 2, 1, 1])
    target = 0.3 * torch.nn.functional.one_hot(labels, 3) + 0.7 * past
    found = past_terms(logits, labels, past, 0.7)
    expected = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(found.total, expected)
    found.total.backward()
    assert logits.grad is not None
    # The gradient is that of any cross-entropy: what is said less what is wanted.
    torch.testing.assert_close(logits.grad, (logits.softmax(-1).detach() - target) / 4)


def test_past_loss_of_a_one_hot_past_is_the_cross_entropy() -> None:
    logits = torch.randn(4, 3, generator=Generator().manual_seed(2))
    labels = torch.tensor([0, 2, 1, 1])
    found = past_terms(logits, labels, torch.nn.functional.one_hot(labels, 3), 0.8)
    assert float(found.added) == pytest.approx(0.0, abs=1e-6)
    assert float(found.total) == pytest.approx(float(label_loss(logits, labels)))


def test_last_batch_loss_compares_the_last_samples_with_what_they_were() -> None:
    generator = Generator().manual_seed(3)
    logits, old = torch.randn(5, 3, generator=generator), torch.randn(2, 3, generator=generator)
    labels = torch.tensor([0, 2, 1, 1, 0])
    found = last_batch_terms(logits, labels, old, temperature=3.0, alpha=0.5)
    assert torch.equal(found.labels, label_loss(logits, labels))
    assert torch.equal(found.added, 0.5 * logit_divergence(logits[3:], old, 3.0))
    first = last_batch_terms(logits, labels, None, temperature=3.0, alpha=0.5)
    assert torch.equal(first.total, first.labels)


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_answers_are_compared_in_float32(name: str) -> None:
    lessons = made(name)
    network = always(torch.randn(32, 2, generator=Generator().manual_seed(4)).bfloat16())
    for lesson in drawn(lessons, 2):
        found = lessons.terms(network, lesson)
        assert found.labels.dtype == found.added.dtype == torch.float32


# -- what is drawn -----------------------------------------------------------------------------


def test_partners_are_other_images_of_the_class_and_all_of_them_come() -> None:
    labels = torch.tensor([2, 0, 2, 1, 2, 0, 2])
    partners, generator = Partners(labels), Generator().manual_seed(0)
    rows = torch.arange(7).repeat(200)
    found = partners.draw(rows, generator)
    assert torch.equal(labels[found], labels[rows])
    alone = rows == 3
    assert bool((found[alone] == 3).all())
    assert bool((found[~alone] != rows[~alone]).all())
    assert {(int(a), int(b)) for a, b in zip(rows, found, strict=True)} == {
        (a, b) for a in range(7) for b in range(7) if labels[a] == labels[b] and (a != b or a == 3)
    }


def test_class_wise_lessons_have_a_partner_of_the_class_for_every_image() -> None:
    data = some_data()
    for pixels, labels, others in drawn(made("cs-kd"), 9):
        assert pixels is not None
        assert others is not None
        assert labels is not None
        assert data.train.labels is not None
        anchors, partners = rows_of(data, pixels), rows_of(data, others)
        assert torch.equal(data.train.labels[anchors], labels)
        assert torch.equal(data.train.labels[partners], labels)
        assert not any(a == b for a, b in zip(anchors, partners, strict=True))


def test_the_second_half_of_a_lesson_is_the_lesson_before_augmented_anew() -> None:
    found = drawn(made("dlb"), 10)
    assert found[0][2:] == (None, None)
    for before, now in pairwise(found):
        assert before[0] is not None
        assert before[1] is not None
        assert now[2] is not None
        assert now[3] is not None
        assert torch.equal(before[0], now[2])
        assert torch.equal(before[1], now[3])
    passes = Passes(len(some_data().train), 16, Generator().manual_seed(0))
    stream = made("dlb").draw(some_data(), passes, shift(2))
    first, second = islice(stream, 2)
    assert first[0] is not None
    assert second[2] is not None
    assert not torch.equal(first[0], second[2])


def test_old_answers_are_those_of_the_step_before() -> None:
    lessons = last_batch()(unplaced)
    generator = Generator().manual_seed(5)
    said = [torch.randn(n, 2, generator=generator) for n in (16, 32, 32)]
    found = [
        lessons.terms(always(logits), lesson)
        for logits, lesson in zip(said, drawn(lessons, 3), strict=True)
    ]
    assert float(found[0].added) == 0.0
    torch.testing.assert_close(found[1].added, 0.5 * logit_divergence(said[1][16:], said[0], 3.0))
    expected = 0.5 * logit_divergence(said[2][16:], said[1][:16], 3.0)
    torch.testing.assert_close(found[2].added, expected)


def test_the_past_is_one_hot_in_the_first_pass_and_weighs_more_in_every_one() -> None:
    data, lessons = some_data(), past_predictions(4, alpha=0.8)(unplaced)
    flat, sure = torch.zeros(64, 2), torch.tensor([[3.0, 0.0]]).repeat(64, 1)
    found = drawn(lessons, 12, size=64)  # two lessons a pass, six passes
    added = [
        lessons.terms(always(flat if place < 2 else sure), lesson).added
        for place, lesson in enumerate(found)
    ]
    assert added[0] == pytest.approx(0.0, abs=1e-6)
    assert added[1] == pytest.approx(0.0, abs=1e-6)
    past = torch.full((64, 2), 0.5)  # what was said in the first pass
    for place in range(2, 12):
        _, labels, rows, _ = found[place]
        assert labels is not None
        assert rows is not None
        assert data.train.labels is not None
        assert torch.equal(data.train.labels[rows], labels)
        alpha = 0.8 * min((place // 2 + 1) / 4, 1.0)
        torch.testing.assert_close(added[place], past_terms(sure, labels, past, alpha).added)
        if place % 2:
            past = sure.softmax(-1)


def test_foreseen_answers_stand_for_the_past() -> None:
    before, now = torch.randn(2, 32, 2, generator=Generator().manual_seed(6))
    lessons = last_batch()(unplaced)
    found = drawn(lessons, 4)
    lessons.terms(always(before), found[0])
    lessons.foresee(always(before), found[1:])
    expected = 0.5 * logit_divergence(now[16:], before[:16], 3.0)
    for lesson in found[1:]:
        torch.testing.assert_close(lessons.terms(always(now), lesson).added, expected)
    remembered = past_predictions(1, alpha=0.8)(unplaced)
    lesson = drawn(remembered, 1)[0]
    remembered.foresee(always(before), [lesson])
    assert lesson[1] is not None
    torch.testing.assert_close(
        remembered.terms(always(now), lesson).total,
        past_terms(now[:16], lesson[1], before[:16].softmax(-1), 0.8).total,
    )


@pytest.mark.parametrize("name", KINDS)
def test_lessons_are_those_of_the_seed(name: str) -> None:
    first, again, other = (drawn(made(name), 9, seed=seed) for seed in (1, 1, 2))
    pairs = [(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)]
    assert all(b is None if a is None else b is not None and torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first[0][1], other[0][1])  # type: ignore[arg-type]


# -- learning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_fresh_network_teaches_itself(name: str) -> None:
    student = small_graph(2)
    before = values(student)
    found = learn(
        student,
        some_data(),
        SELF_DISTILLATIONS[name](15),
        length=Epochs(15),
        optimisation=FAST,
        generator=Generator().manual_seed(3),
    )
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    assert found.epochs == pytest.approx(15.0)
    assert same(values(student), before)


@pytest.mark.parametrize("name", KINDS)
def test_bf16_reaches_every_weight(name: str) -> None:
    found = learn(
        small_graph(2),
        some_data(),
        SELF_DISTILLATIONS[name](2),
        length=Epochs(2),
        optimisation=FAST,
        acceleration=Acceleration(mixed_precision="bf16", channels_last=True),
    )
    assert found.history[-1].loss < found.history[0].loss
    network = Observed(small_graph(2).train(), ())
    lessons = made(name)
    with torch.autocast("cpu", torch.bfloat16):
        for lesson in drawn(lessons, 2):
            loss = lessons.loss(network, lesson)
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.graph.parameters())


@pytest.mark.parametrize("make", [class_wise(), past_predictions(1), last_batch()])
def test_labels_alone_are_the_cross_entropy_of_the_same_lesson(make: MakeSelfTaught) -> None:
    both, alone = make(unplaced), labels_only(make)(unplaced)
    network = Observed(small_graph(2).train(), ())
    for lesson in drawn(alone, 3):
        expected = both.terms(network, lesson)
        assert torch.equal(alone.loss(network, lesson), expected.labels)
    assert float(expected.total.detach()) == pytest.approx(
        float((expected.labels + expected.added).detach())
    )


@pytest.mark.parametrize("name", KINDS)
def test_images_without_labels_are_refused_in_one_line(name: str) -> None:
    unlabelled = some_data(labels=False)
    hidden = replace(some_data(), train=replace(some_data().train, labels=None))
    for data in (unlabelled, hidden):
        passes = Passes(len(data.train), 16, Generator().manual_seed(0))
        with pytest.raises(DataError, match="needs labelled training images") as refused:
            next(made(name).draw(data, passes, no_augmentation))
        assert "\n" not in str(refused.value)


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(OptionError, match="above 0"):
        class_wise(temperature=0.0)
    with pytest.raises(OptionError, match="0 or more"):
        last_batch(alpha=-1.0)
    with pytest.raises(OptionError, match="at least 1"):
        past_predictions(0)
