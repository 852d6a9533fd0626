"""Distillation: a student learns to answer as its teacher does.  One visible loop.

In: two graphs, images, an objective and a length (a deadline or a number of epochs).  Out: a new
graph with the best weights that were validated, the starting point among them, so training never
makes a student worse.  Knows nothing of pruning, files or bars; seconds come from the clock given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from compressor.acceleration import PLAIN, Acceleration, Clock, choose, make_accelerator
from compressor.capture import Graph
from compressor.data import ImageData, batches, normalise
from compressor.errors import DataError, OptionError
from compressor.features import Observed
from compressor.objectives import Objective, Signals, logit_objective
from compressor.optimisation import (
    AveragedWeights,
    Optimisation,
    copy_values,
    make_optimiser,
    schedule,
    set_learning_rate,
)
from compressor.pacing import Deadline, Epochs, Pace
from compressor.validation import Validation, Validator, make_validator

Augment = Callable[[Tensor, torch.Generator], Tensor]

_LARGE_IMAGE = 96  # pixels of a side from which on batches are small
_FEWEST_STEPS = 8  # per epoch: small image sets get small batches
_CHECK_EVERY = 10  # steps between looks at the loss, which wait for the device
_MOST_RESTARTS = 2
_MEASURE_FROM_SECONDS = 60.0  # shorter runs are not worth a measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands.  ``metric``: the last validated accuracy or agreement, a share."""

    done_share: float
    images_per_s: float
    seconds_left: float
    loss: float
    metric: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """A trained student.  Accuracy and agreement are on the validation images."""

    graph: Graph
    accuracy: float | None
    agreement: float | None
    seconds: float
    epochs: float  # passes over the training images, in fractions
    images_per_s: float
    history: tuple[Validation, ...]  # the starting point first
    notes: tuple[str, ...]
    acceleration: Acceleration

    @property
    def metrics(self) -> dict[str, float]:
        """Shares by name, those that are known."""
        named = {"top1": self.accuracy, "agreement": self.agreement}
        return {name: value for name, value in named.items() if value is not None}


def ignore(progress: Progress) -> None:
    """For callers who do not watch."""


def distill(
    student: Graph,
    teacher: Graph | None,
    data: ImageData,
    *,
    length: Deadline | Epochs,
    generator: torch.Generator | None = None,
    objective: Objective | None = None,
    observed: tuple[str, ...] = (),
    optimisation: Optimisation | None = None,
    batch_size: int | None = None,
    augment: Augment | None = None,
    acceleration: Acceleration | None = None,
    device: str | None = None,
    progress: Callable[[Progress], None] = ignore,
    clock: Clock = time.monotonic,
) -> Distilled:
    """Train ``student`` on ``data``, taught by ``teacher``; both arguments stay as they are.

    ``objective`` (default: Hinton's, with labels where ``data.train_with_labels``) sees the values
    of the ``observed`` nodes.  ``generator`` orders and augments the images: same seed, one thread
    and ``Epochs`` give the same weights.  ``acceleration``: None measures what is fastest when the
    deadline leaves room, else float32.  ``device``: "cpu", or None for the best there is.

    A loss that is not finite, or a metric that collapses, sends training back to the best weights
    at a tenth of the learning rate; after two such returns it stops, with a note.  Raises DataError
    where there are too few images, OptionError where the objective lacks what it needs.
    """
    begin = clock()
    count = len(data.train.pixels)
    if count < 2:
        raise DataError(f"training needs at least 2 images and has {count}: give more")
    labelled = data.train_with_labels and data.train.labels is not None
    if teacher is None and not labelled:
        raise OptionError("there is neither a teacher nor labels to learn from: give one of them")
    batch = min(batch_size or fitting_batch(count, data.preprocessing.crop), count)
    first = normalise(data.train.pixels[:batch], data.preprocessing)
    how = acceleration or _measured(student, teacher, first, length, clock)
    run = _Run(
        student=student,
        teacher=teacher,
        data=data,
        labelled=labelled,
        objective=objective or default_objective(labelled=labelled, taught=teacher is not None),
        observed=observed,
        settings=optimisation or Optimisation(),
        batch=batch,
        augment=augment,
        how=how,
        accelerator=make_accelerator(how, device),
        generator=generator or torch.Generator().manual_seed(0),
        pace=Pace(length, begin=begin, clock=clock, steps_per_epoch=_steps(count, batch)),
        progress=progress,
    )
    return run.train()


def default_objective(*, labelled: bool, taught: bool) -> Objective:
    """Hinton's loss at temperature 4, labels weighing a tenth; or what is there of the two."""
    alpha = 0.0 if not taught else 0.9 if labelled else 1.0
    return logit_objective(alpha=alpha, temperature=4.0)


def fitting_batch(count: int, crop: tuple[int, int]) -> int:
    """128 images, 32 large ones, fewer (not under 16) where an epoch would be a few steps."""
    most = 32 if max(crop) >= _LARGE_IMAGE else 128
    return max(min(most, count // _FEWEST_STEPS), min(16, count))


def _steps(count: int, batch: int) -> int:
    """Steps of one epoch; a last part under half a batch is left out."""
    return max(1, math.floor(count / batch + 0.5))


def _measured(
    student: Graph,
    teacher: Graph | None,
    pixels: Tensor,
    length: Deadline | Epochs,
    clock: Clock,
) -> Acceleration:
    if not isinstance(length, Deadline) or length.seconds < _MEASURE_FROM_SECONDS:
        return PLAIN
    return choose(student, teacher, pixels, seconds=min(10.0, 0.02 * length.seconds), clock=clock)


class _Run:
    """One run's networks and counters; ``train`` is the loop."""

    def __init__(
        self,
        *,
        student: Graph,
        teacher: Graph | None,
        data: ImageData,
        labelled: bool,
        objective: Objective,
        observed: tuple[str, ...],
        settings: Optimisation,
        batch: int,
        augment: Augment | None,
        how: Acceleration,
        accelerator: Accelerator,
        generator: torch.Generator,
        pace: Pace,
        progress: Callable[[Progress], None],
    ) -> None:
        self.data, self.labelled, self.objective, self.settings = (
            data,
            labelled,
            objective,
            settings,
        )
        self.batch, self.augment, self.how, self.pace = batch, augment, how, pace
        self.accelerator, self.progress = accelerator, progress
        self.generator = generator
        self.started_as = student
        self.learner = self._placed(student).train()
        self.model = Observed(self.learner, observed)
        self.optimiser = make_optimiser(self.learner, settings)
        self.model, self.stepper = accelerator.prepare(self.model, self.optimiser)
        self.teacher = None
        if teacher is not None:
            self.teacher = Observed(self._placed(teacher).eval(), observed, student.kept)
        self.averaged = AveragedWeights(self.learner, settings.average)
        self.best = self.averaged.graph.copy()
        self.steps, self.restarts, self.factor = 0, 0, 1.0
        self.loss = torch.zeros((), device=accelerator.device)
        self.history: list[Validation] = []
        self.notes: list[str] = [how.note] if how.note else []

    def _placed(self, graph: Graph) -> Graph:
        """A copy on the run's device, in the run's memory layout."""
        copied = graph.copy()
        copied.to(device=self.accelerator.device)
        copied.to(memory_format=self.how.memory_format)  # type: ignore[call-overload]
        return copied

    def train(self) -> Distilled:
        validator = self._make_validator()
        best = self._validate(validator, spent=0.0)
        self.pace.start()
        for pixels, labels in self._stream():
            spent = self._spent()
            if spent >= 1.0:
                break
            self._step(pixels, labels, spent)
            reason = self._broken() if self.steps % _CHECK_EVERY == 0 else None
            if reason is None and self.pace.validation_due(self._spent()):
                latest = self._validate(validator, spent=self._spent())
                reason = latest.diverged_from(best)
                best = self._keep_better(latest, best)
            if reason and not self._go_back(reason):
                return self._result(best)
            if self.steps % _CHECK_EVERY == 0:
                self._tell()
        if self.steps and self.pace.unvalidated and self._broken() is None:
            best = self._keep_better(self._validate(validator, spent=1.0), best)
        return self._result(best)

    def _make_validator(self) -> Validator:
        with self.accelerator.autocast():
            return make_validator(
                self.data.validation,
                self.data.preprocessing,
                self.teacher.graph if self.teacher is not None else None,
                use_labels=self.labelled,
                batch_size=self.batch,
                memory_format=self.how.memory_format,
                seconds=self.pace.validation_seconds,
                clock=self.pace.clock,
            )

    def _stream(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Training batches without end, on the device; every process draws its own."""
        place = self.accelerator.process_index
        generator = self.generator
        if place:
            generator = torch.Generator().manual_seed(generator.initial_seed() + place)
        while True:
            for pixels, labels in batches(
                self.data.train,
                self.data.preprocessing,
                self.batch,
                generator=generator,
                augment=self.augment,
            ):
                if 2 * len(pixels) < self.batch:
                    continue
                device = self.accelerator.device
                pixels = pixels.to(device=device, memory_format=self.how.memory_format)
                use = labels is not None and self.labelled
                yield pixels, labels.to(device) if labels is not None and use else None

    def _step(self, pixels: Tensor, labels: Tensor | None, spent: float) -> None:
        relative = self.settings.learning_rate * self.factor
        set_learning_rate(self.optimiser, relative * schedule(spent, self.settings.warmup))
        teacher_logits, teacher_features = None, ()
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
        self.pace.count(len(pixels) * self.accelerator.num_processes)

    def _validate(self, validator: Validator, *, spent: float) -> Validation:
        before = self.pace.seconds
        with self.accelerator.autocast():
            found = validator.validate(self.averaged.graph, done_share=spent, seconds=before)
        self.pace.validated(self.pace.seconds - before)
        self.history.append(found)
        return found

    def _keep_better(self, latest: Validation, best: Validation) -> Validation:
        if not math.isfinite(latest.loss) or not latest.better_than(best):
            return best
        copy_values(self.averaged.graph, self.best)
        return latest

    def _spent(self) -> float:
        """Share of the run that is over, the same in every process."""
        spent = self.pace.spent(self.steps)
        if self.accelerator.num_processes == 1:
            return spent
        shared = torch.tensor(spent, device=self.accelerator.device)
        return float(self.accelerator.reduce(shared, "mean"))

    def _broken(self) -> str | None:
        loss = self.loss
        if self.accelerator.num_processes > 1:
            loss = self.accelerator.reduce(loss, "mean")
        return None if math.isfinite(float(loss)) else "the loss is not finite"

    def _go_back(self, reason: str) -> bool:
        """To the best weights at a tenth of the learning rate; False: tried often enough."""
        where = f"{reason} at step {self.steps}"
        if self.restarts == _MOST_RESTARTS:
            self.notes.append(f"training stopped early: {where}; the best weights before it stand")
            return False
        self.restarts += 1
        self.factor *= 0.1
        self.notes.append(f"{where}: back to the best weights at a tenth of the learning rate")
        copy_values(self.best, self.learner)
        self.averaged.restart(self.learner)
        self.optimiser.state.clear()
        self.loss = torch.zeros_like(self.loss)
        return True

    def _tell(self) -> None:
        spent = self.pace.spent(self.steps)
        self.progress(
            Progress(
                done_share=min(spent, 1.0),
                images_per_s=self.pace.images_per_s,
                seconds_left=self.pace.seconds_left(self.steps),
                loss=float(self.loss),
                metric=self.history[-1].metric,
            )
        )

    def _result(self, best: Validation) -> Distilled:
        if best is self.history[0]:
            tried = f"{self.steps} steps gave nothing better" if self.steps else "no time to train"
            self.notes.append(f"the starting point was kept: {tried}")
        graph = self.started_as.copy().eval()
        copy_values(self.best, graph)
        return Distilled(
            graph=graph,
            accuracy=best.accuracy,
            agreement=best.agreement,
            seconds=self.pace.seconds,
            epochs=self.pace.images / len(self.data.train.pixels),
            images_per_s=self.pace.images_per_s,
            history=tuple(self.history),
            notes=tuple(self.notes),
            acceleration=self.how,
        )
