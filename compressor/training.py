"""The student while it is trained: its copy on the device, its optimiser, the best weights so far.

In: a graph, lessons.  Out: steps.  Knows nothing of time, validation or when to stop:
``loop`` holds the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from compressor.acceleration import Acceleration
from compressor.accumulation import InParts
from compressor.augmentation import Augmentation
from compressor.data import ImageData
from compressor.errors import FolderError
from compressor.features import Observed
from compressor.graphs import Graph
from compressor.keeping import (
    Snapshot,
    joined,
    noise,
    part_of,
    put_values,
    restore_noise,
    values_of,
)
from compressor.lessons import Lesson, MakeLessons
from compressor.optimisation import (
    AveragedWeights,
    Optimisation,
    copy_values,
    give_memory,
    memory_of,
    normalises_batches,
    set_learning_rate,
)
from compressor.passes import Passes
from compressor.processes import WholeBatchNorm, share_of
from compressor.validation import Validation

# What must hold again after every step: weights that stay zero.
Hold = Callable[[Graph], None]


def hold_nothing(graph: Graph) -> None:
    """Every weight may move."""


class Trainer:
    """Trains a copy of ``student`` by the lessons that ``make_lessons`` makes."""

    def __init__(
        self,
        student: Graph,
        make_lessons: MakeLessons,
        *,
        observed: Sequence[str],
        settings: Optimisation,
        how: Acceleration,
        accelerator: Accelerator,
        hold: Hold,
    ) -> None:
        self.accelerator, self.how, self.settings = accelerator, how, settings
        self.hold = hold
        self.learner = self.placed(student).train()
        self.optimiser = settings.make_optimiser(self.learner)
        self.model, self.stepper = accelerator.prepare(
            Observed(self.learner, observed), self.optimiser
        )
        self.parts = self._in_parts()
        self.network = self.model if self.parts is None else self.parts
        self.lessons = make_lessons(self.placed)
        self.averaged = AveragedWeights(self.learner, settings.average)
        self.best = self.averaged.graph.copy()
        self.steps = 0
        self.loss = torch.zeros((), device=accelerator.device)
        self._factor = 1.0

    def _in_parts(self) -> InParts | None:
        """None where several processes share a batch out: they must compute alike."""
        if self.accelerator.num_processes > 1:
            return None
        smallest = 2 if normalises_batches(self.learner) else 1
        return InParts(self.model, self.how.part_size, smallest=smallest)

    def placed(self, graph: Graph) -> Graph:
        """A copy on the run's device, in the run's memory layout."""
        copied = graph.copy()
        copied.to(device=self.accelerator.device)
        copied.to(memory_format=self.how.memory_format)
        return copied

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        """Lessons without end, on the device; all processes draw the same images, and each has its
        share of them."""
        for lesson in self.lessons.draw(data, passes, augment):
            yield tuple(self._moved(part) for part in lesson)

    def _moved(self, part: Tensor | None) -> Tensor | None:
        if part is None:
            return None
        part = share_of(part)
        picture = part.ndim == 4 and part.is_floating_point()
        layout = self.how.memory_format if picture else torch.preserve_format
        return part.to(device=self.accelerator.device, memory_format=layout)

    def step(self, lesson: Lesson, spent: float) -> None:
        """One step, with this share of the run spent."""
        set_learning_rate(self.optimiser, self._factor * self.settings.rate(self.steps, spent))
        with self.accelerator.autocast(), WholeBatchNorm():
            loss = self.lessons.loss(self.network, lesson)
        self.stepper.zero_grad()
        self.accelerator.backward(loss)
        if self.parts is not None:
            self.parts.backward()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.stepper.step()
        self.hold(self.learner)
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

    def highest(self, value: int) -> int:
        """The highest of a number over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        own = torch.tensor([value], device=self.accelerator.device)
        return int(self.accelerator.gather(own).max())

    def agreed(self, found: Validation) -> Validation:
        """The mean of what all processes validated: the last digits may differ."""
        return replace(
            found,
            loss=self.shared(found.loss),
            accuracy=None if found.accuracy is None else self.shared(found.accuracy),
            agreement=None if found.agreement is None else self.shared(found.agreement),
        )

    @property
    def part_size(self) -> int | None:
        """Images whose values are in memory at once; None: the whole batch's.  State of the run."""
        return None if self.parts is None else self.parts.size

    @property
    def note(self) -> str:
        """What must be said of how steps are computed; empty: nothing."""
        return "" if self.parts is None else self.parts.note

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

    def state(self) -> Snapshot:
        """All that the next step depends on, but for the lesson; see ``Lessons.state``."""
        counts = {
            "steps": self.steps,
            "averaged": self.averaged.steps,
            "factor": self._factor,
            "processes": self.accelerator.num_processes,
            "scaler": None if (scaler := self.accelerator.scaler) is None else scaler.state_dict(),
        }
        return joined(
            {
                "learner": values_of(self.learner),
                "averaged": values_of(self.averaged.graph),
                "best": values_of(self.best),
                "optimiser": memory_of(self.optimiser),
                "parts": Snapshot() if self.parts is None else self.parts.state(),
                "lessons": self.lessons.state(),
                "noise": noise(self.accelerator.device),
                "last": Snapshot(tensors={"loss": self.loss}, facts=counts),
            }
        )

    def restore(self, kept: Snapshot) -> None:
        """Go on from there, in a trainer that was made of the same student.

        Raises FolderError where another number of processes was at work: what some of them remember
        is in the order of their shares.
        """
        last = part_of(kept, "last")
        if last.facts["processes"] != self.accelerator.num_processes:
            raise FolderError(
                f"this training was begun by {last.facts['processes']} processes and goes on with "
                f"as many, not with {self.accelerator.num_processes}; start it so, or begin anew "
                "with --restart"
            )
        put_values(part_of(kept, "learner"), self.learner)
        put_values(part_of(kept, "averaged"), self.averaged.graph)
        put_values(part_of(kept, "best"), self.best)
        give_memory(part_of(kept, "optimiser"), self.optimiser)
        if self.parts is not None:
            self.parts.restore(part_of(kept, "parts"))
        there = self.accelerator.device
        lessons = part_of(kept, "lessons")
        tensors = {name: tensor.to(there) for name, tensor in lessons.tensors.items()}
        self.lessons.restore(Snapshot(tensors=tensors, facts=lessons.facts))
        self.loss = last.tensors["loss"].to(there)
        self.steps, self.averaged.steps = last.facts["steps"], last.facts["averaged"]
        self._factor = last.facts["factor"]
        if self.accelerator.scaler is not None:  # of the loss, in float16
            self.accelerator.scaler.load_state_dict(last.facts["scaler"])
        restore_noise(part_of(kept, "noise"), there)
