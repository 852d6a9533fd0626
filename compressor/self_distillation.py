"""Self-distillation: a network is held to what it says elsewhere, or said before; nobody teaches.

In: labelled images, an order.  Out: ``Lessons`` of three kinds, each with its way of drawing
batches and, under it, its loss as a pure function.

    cs-kd  another picture of the class: Yun et al., CVPR 2020, arXiv 2003.13964
    ps-kd  the same picture a pass ago: Kim et al., ICCV 2021, arXiv 2006.12000
    dlb    the same picture in the last batch: Shen et al., CVPR 2022, arXiv 2203.16172

Defaults are those of the authors' code: of CS-KD for CIFAR-100 (for CUB it weighs 3), of DLB as its
default run is named.  Knows nothing of optimisers, pruning or time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from compressor.augmentation import Augmentation
from compressor.data import ImageData, inputs_of
from compressor.errors import DataError, OptionError
from compressor.keeping import Snapshot
from compressor.lessons import Lesson, Lessons, Network, Place
from compressor.objectives import label_loss, logit_divergence
from compressor.passes import Passes
from compressor.processes import all_shares, own_share


@dataclass(frozen=True, slots=True)
class Terms:
    """``labels``: cross-entropy.  ``added``: what self-distillation adds to it."""

    labels: Tensor
    added: Tensor

    @property
    def total(self) -> Tensor:
        return self.labels + self.added


class SelfTaught(Lessons, Protocol):
    """Lessons that a network gives itself."""

    def terms(self, network: Network, lesson: Lesson) -> Terms:
        """The loss in its two parts."""

    def foresee(self, network: Network, coming: Sequence[Lesson]) -> None:
        """Ask now what ``coming`` lessons will want to know about the past.

        For who takes few steps: over a whole training the past comes by itself.
        """


MakeSelfTaught = Callable[[Place], SelfTaught]


# -- losses ------------------------------------------------------------------------------------


def class_wise_terms(
    logits: Tensor, labels: Tensor, partner_logits: Tensor, *, temperature: float, weight: float
) -> Terms:
    """``CE(z, y) + weight * T^2 * KL(softmax(z' / T) || softmax(z / T))``, z' the partners'."""
    apart = logit_divergence(logits, partner_logits.detach(), temperature)
    return Terms(label_loss(logits, labels), weight * apart)


def past_terms(logits: Tensor, labels: Tensor, past: Tensor, alpha: Tensor | float) -> Terms:
    """``CE(z, (1 - alpha) onehot(y) + alpha past)``; ``past`` are probabilities.

    What is added to the cross-entropy is ``alpha (CE(z, past) - CE(z, y))``: with a past that knows
    little, it takes back ``alpha`` of the cross-entropy's own gradient.
    """
    plain = label_loss(logits, labels)
    wide = _wide(logits)
    softened = -(past.detach().to(wide.dtype) * wide.log_softmax(-1)).sum(-1).mean()
    return Terms(plain, alpha * (softened - plain))


def last_batch_terms(
    logits: Tensor, labels: Tensor, old_logits: Tensor | None, *, temperature: float, alpha: float
) -> Terms:
    """``CE(z, y) + alpha T^2 KL(softmax(old / T) || softmax(z_again / T))``.

    ``old_logits`` are those of the last samples of ``logits``, as they were one step ago.
    """
    plain = label_loss(logits, labels)
    if old_logits is None:
        return Terms(plain, torch.zeros_like(plain))
    again = logits[-len(old_logits) :]
    return Terms(plain, alpha * logit_divergence(again, old_logits.detach(), temperature))


# -- lessons -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWise:
    """A lesson: images, their labels, for each another image of its class."""

    temperature: float
    weight: float

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        labels = _labels(data)
        partners = Partners(labels)
        for rows in passes:
            others = partners.draw(rows, passes.generator)
            yield (
                _inputs(data, rows, passes, augment),
                labels[rows],
                _inputs(data, others, passes, augment),
            )

    def terms(self, network: Network, lesson: Lesson) -> Terms:
        pixels, labels, others = lesson
        assert pixels is not None
        assert labels is not None
        assert others is not None
        # The partners go first: copies of a network on several devices share their buffers anew at
        # every forward, and may not do so between a forward and its backward.
        partner_logits = _asked(network, others)
        logits, _ = network(pixels)
        return class_wise_terms(
            logits, labels, partner_logits, temperature=self.temperature, weight=self.weight
        )

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        return self.terms(network, lesson).total

    def foresee(self, network: Network, coming: Sequence[Lesson]) -> None:
        """Nothing: a partner is asked in the same step."""

    def state(self) -> Snapshot:
        return Snapshot()

    def restore(self, kept: Snapshot) -> None:
        """There is nothing to remember: a partner is asked in the same step."""


class Partners:
    """For every image another one of its class; an image alone in its class is its own."""

    def __init__(self, labels: Tensor) -> None:
        self._by_class = torch.argsort(labels, stable=True)
        counts = torch.bincount(labels)
        first = counts.cumsum(0) - counts
        self._count, self._first = counts[labels], first[labels]
        self._position = torch.empty_like(self._by_class)
        self._position[self._by_class] = torch.arange(len(labels))
        self._position -= self._first

    def draw(self, rows: Tensor, generator: Generator) -> Tensor:
        """A partner for each of these rows, all others of its class equally likely."""
        count = self._count[rows]
        drawn = torch.randint(1 << 62, rows.shape, generator=generator)
        further = 1 + drawn % (count - 1).clamp(min=1)
        return self._by_class[self._first[rows] + (self._position[rows] + further) % count]


class PastPredictions:
    """A lesson: images, their labels, their rows, for each (number of the pass, number of images).

    The table of past probabilities (images x classes) lies where the network is, in every process.
    """

    def __init__(self, *, passes: int, alpha: float) -> None:
        self._passes, self._alpha = passes, alpha
        self._table: Tensor | None = None

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        labels = _labels(data)
        for rows in passes:
            place = torch.tensor([[passes.number, len(labels)]]).expand(len(rows), 2)
            yield _inputs(data, rows, passes, augment), labels[rows], rows, place

    def terms(self, network: Network, lesson: Lesson) -> Terms:
        pixels, labels, rows, place = lesson
        assert pixels is not None
        assert labels is not None
        assert rows is not None
        assert place is not None
        logits, _ = network(pixels)
        # alpha_t = alpha (t + 1) / passes, on the device: reading it here would wait for the device
        alpha = self._alpha * ((place[0, 0] + 1) / self._passes).clamp(max=1.0)
        found = past_terms(logits, labels, self._past(logits, labels, rows, place), alpha)
        self._remember(logits, rows, place)
        return found

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        return self.terms(network, lesson).total

    def foresee(self, network: Network, coming: Sequence[Lesson]) -> None:
        """What the network says now is the past of these lessons."""
        for pixels, _, rows, place in coming:
            assert pixels is not None
            assert rows is not None
            assert place is not None
            self._remember(_asked(network, pixels), rows, place)

    def state(self) -> Snapshot:
        return Snapshot(tensors={} if self._table is None else {"table": self._table})

    def restore(self, kept: Snapshot) -> None:
        self._table = kept.tensors.get("table")

    def _past(self, logits: Tensor, labels: Tensor, rows: Tensor, place: Tensor) -> Tensor:
        """Probabilities; the one-hot label of what was not predicted before."""
        past = self._table_for(logits, place)[rows]
        seen = past.sum(dim=-1, keepdim=True) > 0
        return torch.where(seen, past, functional.one_hot(labels, past.shape[-1]).to(past.dtype))

    def _remember(self, logits: Tensor, rows: Tensor, place: Tensor) -> None:
        found = all_shares(_wide(logits.detach()).softmax(-1))
        self._table_for(logits, place)[all_shares(rows)] = found

    def _table_for(self, logits: Tensor, place: Tensor) -> Tensor:
        if self._table is None:
            wide = _wide(logits.detach())
            self._table = wide.new_zeros(int(place[0, 1]), logits.shape[-1])
        return self._table


class LastBatch:
    """A lesson: images and their labels; those of the lesson before, augmented anew, and theirs.

    The first has nothing before it."""

    def __init__(self, *, temperature: float, alpha: float) -> None:
        self._temperature, self._alpha = temperature, alpha
        # Answers to the images of lessons, until the lesson after comes: one while training.
        self._old: deque[Tensor] = deque()

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        labels = _labels(data)
        for rows in passes:
            now, before = _inputs(data, rows, passes, augment), passes.before
            again = None if before is None else _inputs(data, before, passes, augment)
            yield now, labels[rows], again, None if before is None else labels[before]

    def terms(self, network: Network, lesson: Lesson) -> Terms:
        pixels, labels, again, labels_again = lesson
        assert pixels is not None
        assert labels is not None
        fresh, old = len(pixels), None
        if again is not None and labels_again is not None:
            pixels, labels = torch.cat([pixels, again]), torch.cat([labels, labels_again])
            old = self._old.popleft() if self._old else None
        logits, _ = network(pixels)
        if not self._old:  # else it was foreseen
            self._old.append(logits[:fresh].detach())
        return last_batch_terms(
            logits, labels, old, temperature=self._temperature, alpha=self._alpha
        )

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        return self.terms(network, lesson).total

    def foresee(self, network: Network, coming: Sequence[Lesson]) -> None:
        """What the network says now of these lessons, for the one after each."""
        for pixels, *_ in coming[:-1]:
            assert pixels is not None
            self._old.append(_asked(network, pixels))

    def state(self) -> Snapshot:
        old = {str(place): all_shares(answers) for place, answers in enumerate(self._old)}
        return Snapshot(tensors=old)

    def restore(self, kept: Snapshot) -> None:
        answers = (kept.tensors[str(place)] for place in range(len(kept.tensors)))
        self._old = deque(own_share(one) for one in answers)


@dataclass(frozen=True, slots=True)
class LabelsOnly:
    """The same lessons, of which the cross-entropy alone counts.

    All else is asked too, so that two runs that differ in this alone meet the same noise.
    """

    lessons: SelfTaught

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        return self.lessons.draw(data, passes, augment)

    def terms(self, network: Network, lesson: Lesson) -> Terms:
        found = self.lessons.terms(network, lesson)
        return Terms(found.labels, torch.zeros_like(found.added))

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        return self.lessons.terms(network, lesson).labels

    def foresee(self, network: Network, coming: Sequence[Lesson]) -> None:
        self.lessons.foresee(network, coming)

    def state(self) -> Snapshot:
        return self.lessons.state()

    def restore(self, kept: Snapshot) -> None:
        self.lessons.restore(kept)


# -- makers ------------------------------------------------------------------------------------


def class_wise(*, temperature: float = 4.0, weight: float = 1.0) -> MakeSelfTaught:
    """CS-KD."""
    _check(temperature, weight)
    return lambda place: ClassWise(temperature=temperature, weight=weight)


def past_predictions(passes: int, *, alpha: float = 0.8) -> MakeSelfTaught:
    """PS-KD; the past weighs ``alpha`` in the last of ``passes`` passes and after it.

    How long the training will be must be said: a run by the clock gives its best guess.
    """
    if passes < 1 or not 0.0 <= alpha <= 1.0:
        raise OptionError(
            f"PS-KD over {passes} passes with an alpha of {alpha:g}: give at least 1, and 0 to 1"
        )
    return lambda place: PastPredictions(passes=passes, alpha=alpha)


def last_batch(*, temperature: float = 3.0, alpha: float = 0.5) -> MakeSelfTaught:
    """DLB."""
    _check(temperature, alpha)
    return lambda place: LastBatch(temperature=temperature, alpha=alpha)


def labels_only(make: MakeSelfTaught) -> MakeSelfTaught:
    """The same batches without self-distillation."""
    return lambda place: LabelsOnly(make(place))


# By the names of the command line; each is given the passes that the training is expected to take.
SELF_DISTILLATIONS: dict[str, Callable[[int], MakeSelfTaught]] = {
    "cs-kd": lambda passes: class_wise(),
    "ps-kd": past_predictions,
    "dlb": lambda passes: last_batch(),
}


def _check(temperature: float, weight: float) -> None:
    if not (temperature > 0.0 and weight >= 0.0):
        raise OptionError(
            f"a temperature of {temperature:g} and a weight of {weight:g}: give a temperature "
            "above 0 and a weight of 0 or more"
        )


def _labels(data: ImageData) -> Tensor:
    labels = data.train.labels
    if labels is None or not data.train_with_labels:
        raise DataError(
            f"{data.name}: self-distillation needs labelled training images; give class folders, "
            "or a recipe with a teacher"
        )
    return labels


def _inputs(data: ImageData, rows: Tensor, passes: Passes, augment: Augmentation) -> Tensor:
    return inputs_of(
        data.train, rows, data.preprocessing, generator=passes.generator, augment=augment
    )


def _asked(network: Network, pixels: Tensor) -> Tensor:
    """Logits without gradient, from a network that stays in training mode."""
    with torch.no_grad():
        logits, _ = network(pixels)
    # Under autocast, weights cast without gradient must not serve the forward that needs one.
    torch.clear_autocast_cache()
    return logits


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
