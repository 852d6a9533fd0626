"""Lessons: what is asked of a network with one batch, and the loss of its answers.

In: images, an order.  Out: batches without end, and one differentiable number for each.  How a
teacher teaches is here; how a network teaches itself is in ``self_distillation``.  Knows nothing of
optimisers, devices or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from compressor.accumulation import InParts
from compressor.augmentation import Augmentation
from compressor.data import ImageData, inputs_of
from compressor.features import Observed
from compressor.graphs import Graph
from compressor.keeping import Snapshot
from compressor.objectives import Objective, Signals
from compressor.passes import Passes

# Inputs first: as many samples as the step learns from.  Then what else belongs to each of them.
Lesson = tuple[Tensor | None, ...]
# Inputs -> (logits, values of the observed nodes)
Network = Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]]
# A copy of a graph on the run's device, in its memory layout.
Place = Callable[[Graph], Graph]


class Lessons(Protocol):
    """Where batches come from, and what is asked with one.  May remember what earlier ones taught,
    and what it remembers is all of its ``state``."""

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        """Lessons of the rows that ``passes`` gives, normalised, on the CPU, without end."""

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        """A scalar.  ``network`` is in training mode; the lesson is on its device."""

    def state(self) -> Snapshot:
        """Every process must call it, as what they remember of their shares is put together."""

    def restore(self, kept: Snapshot) -> None:
        """Remember that; tensors are on the network's device."""


MakeLessons = Callable[[Place], Lessons]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """Images with their labels, and what a fixed network says of them, if there is one."""

    objective: Objective
    teacher: InParts | None

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        images = data.train
        known = images.labels if data.train_with_labels else None
        for rows in passes:
            pixels = inputs_of(
                images, rows, data.preprocessing, generator=passes.generator, augment=augment
            )
            yield pixels, None if known is None else known[rows]

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        pixels, labels = lesson
        assert pixels is not None
        teacher_logits: Tensor | None = None
        teacher_features: tuple[Tensor, ...] = ()
        if self.teacher is not None:
            with torch.no_grad():
                teacher_logits, teacher_features = self.teacher(pixels)
        student_logits, student_features = network(pixels)
        return self.objective(
            Signals(
                student_logits=student_logits,
                teacher_logits=teacher_logits,
                labels=labels,
                student_features=student_features,
                teacher_features=teacher_features,
            )
        )

    def state(self) -> Snapshot:
        """The teacher is fixed; in what parts it is asked is not."""
        return Snapshot() if self.teacher is None else self.teacher.state()

    def restore(self, kept: Snapshot) -> None:
        if self.teacher is not None:
            self.teacher.restore(kept)


def taught_by(
    teacher: Graph | None,
    objective: Objective,
    observed: Sequence[str] = (),
    kept: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
) -> MakeLessons:
    """Lessons of a teacher in evaluation mode, whose observed values are cut to the ``kept`` rows;
    of labels alone where it is None."""

    def make(place: Place) -> Lessons:
        answers = (
            None if teacher is None else InParts(Observed(place(teacher).eval(), observed, kept))
        )
        return Taught(objective=objective, teacher=answers)

    return make
