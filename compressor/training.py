"""The student while it is trained: its copy on the device, its optimiser, the best weights so far.

In: graphs, batches, an objective.  Out: steps.  Knows nothing of time, validation or when to stop:
``distillation`` holds the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor

from compressor.acceleration import Acceleration
from compressor.augmentation import Augmentation
from compressor.data import ImageData, batches
from compressor.features import Observed
from compressor.graphs import Graph
from compressor.objectives import Objective, Signals
from compressor.optimisation import (
    AveragedWeights,
    Optimisation,
    copy_values,
    set_learning_rate,
)

Batch = tuple[Tensor, Tensor | None]


class Trainer:
    """Trains a copy of ``student``; ``teacher`` answers every batch, in evaluation mode."""

    def __init__(
        self,
        student: Graph,
        teacher: Graph | None,
        *,
        objective: Objective,
        observed: tuple[str, ...],
        settings: Optimisation,
        how: Acceleration,
        accelerator: Accelerator,
    ) -> None:
        self.accelerator, self.how, self.settings = accelerator, how, settings
        self.objective = objective
        self.learner = self._placed(student).train()
        self.optimiser = settings.make_optimiser(self.learner)
        self.model, self.stepper = accelerator.prepare(
            Observed(self.learner, observed), self.optimiser
        )
        self.teacher = None
        if teacher is not None:
            self.teacher = Observed(self._placed(teacher).eval(), observed, student.kept)
        self.averaged = AveragedWeights(self.learner, settings.average)
        self.best = self.averaged.graph.copy()
        self.steps = 0
        self.loss = torch.zeros((), device=accelerator.device)
        self._factor = 1.0

    def _placed(self, graph: Graph) -> Graph:
        """A copy on the run's device, in the run's memory layout."""
        copied = graph.copy()
        copied.to(device=self.accelerator.device)
        copied.to(memory_format=self.how.memory_format)
        return copied

    def batches(
        self, data: ImageData, size: int, generator: torch.Generator, augment: Augmentation
    ) -> Iterator[Batch]:
        """Training batches without end, on the device; every process draws its own."""
        place, device = self.accelerator.process_index, self.accelerator.device
        if place:
            generator = torch.Generator().manual_seed(generator.initial_seed() + place)
        while True:
            for pixels, labels in batches(
                data.train, data.preprocessing, size, generator=generator, augment=augment
            ):
                pixels = pixels.to(device=device, memory_format=self.how.memory_format)
                known = labels if data.train_with_labels else None
                yield pixels, known.to(device) if known is not None else None

    def step(self, pixels: Tensor, labels: Tensor | None, factor: float) -> None:
        """One step at ``factor`` (0 to 1) of the learning rate."""
        relative = self.settings.learning_rate * self._factor * factor
        set_learning_rate(self.optimiser, relative)
        teacher_logits: Tensor | None = None
        teacher_features: tuple[Tensor, ...] = ()
        if self.teacher is not None:
            with torch.no_grad(), self.accelerator.autocast():
                teacher_logits, teacher_features = self.teacher(pixels)
        student_logits, student_features = self.model(pixels)
        loss = self.objective(
            Signals(
                student_logits=student_logits,
                teacher_logits=teacher_logits,
                labels=labels,
                student_features=student_features,
                teacher_features=teacher_features,
            )
        )
        self.stepper.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.stepper.step()
        self.averaged.follow(self.learner)
        self.loss = loss.detach()
        self.steps += 1

    def shared(self, value: float) -> float:
        """The mean of a number over all processes, so that they decide alike."""
        if self.accelerator.num_processes == 1:
            return value
        return float(
            self.accelerator.reduce(torch.tensor(value, device=self.accelerator.device), "mean")
        )

    def broken(self) -> str | None:
        """What is wrong with the last step's loss, if anything; waits for the device."""
        return None if math.isfinite(self.shared(float(self.loss))) else "the loss is not finite"

    def keep(self) -> None:
        """The averaged weights are the best so far."""
        copy_values(self.averaged.graph, self.best)

    def go_back(self) -> None:
        """To the best weights, at a tenth of the learning rate."""
        self._factor *= 0.1
        copy_values(self.best, self.learner)
        self.averaged.restart(self.learner)
        self.optimiser.state.clear()
        self.loss = torch.zeros_like(self.loss)
