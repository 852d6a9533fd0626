"""Distillation: a student learns to answer as its teacher does.

In: two graphs, images, an objective and a length (a deadline or a number of epochs).  Out: a new
graph with the last validated weights that are not measurably worse than any before them, the
starting point among them.  A ``Keeper`` is told in its midst how far it is, and a training that was
stopped goes on from there.  Knows nothing of pruning, files or bars; seconds come from the clock
given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec
import torch
from torch import Tensor

from compressor.acceleration import PLAIN, Acceleration, Clock, choose, make_accelerator
from compressor.augmentation import Augmentation
from compressor.data import ImageData, augmentation_for, normalise
from compressor.errors import DataError, OptionError
from compressor.graphs import Graph, Rows
from compressor.keeping import KEEP_NOTHING, Keeper, Snapshot, part_of
from compressor.lessons import MakeLessons, taught_by
from compressor.logbook import Logbook
from compressor.loop import Progress, Training, go_on, ignore
from compressor.objectives import Objective, logit_objective
from compressor.optimisation import Optimisation, copy_values
from compressor.pacing import Deadline, Epochs, Pace, forward
from compressor.passes import Passes
from compressor.processes import process_count
from compressor.samples import is_labelled
from compressor.training import Hold, Trainer, hold_nothing
from compressor.validation import MOST_IMAGES, Validation, Validator, make_validator

_LARGE_IMAGE = 96  # pixels of a side from which on batches are small
_FEWEST_STEPS = 8  # per epoch: small image sets get small batches
_MEASURE_FROM_SECONDS = 60.0  # shorter runs are not worth a measurement


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
    augment: Augmentation | None = None,
    acceleration: Acceleration | None = None,
    device: str | None = None,
    hold: Hold = hold_nothing,
    keeper: Keeper = KEEP_NOTHING,
    progress: Callable[[Progress], None] = ignore,
    clock: Clock = time.monotonic,
) -> Distilled:
    """Train ``student`` on ``data``, taught by ``teacher``; both arguments stay as they are.

    ``objective`` (default: Hinton's, with labels where ``data.train_with_labels``) sees the values
    of the ``observed`` nodes.  The rest is as in ``learn``.  Raises OptionError where the objective
    lacks what it needs.
    """
    labelled = is_labelled(data)
    if teacher is None and not labelled:
        raise OptionError("there is neither a teacher nor labels to learn from: give one of them")
    logits = objective or default_objective(labelled=labelled, taught=teacher is not None)
    return learn(
        student,
        data,
        taught_by(teacher, logits, observed, _kept_of(student, teacher)),
        judge=teacher,
        length=length,
        generator=generator,
        observed=observed,
        optimisation=optimisation,
        batch_size=batch_size,
        augment=augment,
        acceleration=acceleration,
        device=device,
        hold=hold,
        keeper=keeper,
        progress=progress,
        clock=clock,
    )


def learn(
    student: Graph,
    data: ImageData,
    make_lessons: MakeLessons,
    *,
    judge: Graph | None = None,
    length: Deadline | Epochs,
    generator: torch.Generator | None = None,
    observed: tuple[str, ...] = (),
    optimisation: Optimisation | None = None,
    batch_size: int | None = None,
    augment: Augmentation | None = None,
    acceleration: Acceleration | None = None,
    device: str | None = None,
    hold: Hold = hold_nothing,
    keeper: Keeper = KEEP_NOTHING,
    progress: Callable[[Progress], None] = ignore,
    clock: Clock = time.monotonic,
) -> Distilled:
    """Train a copy of ``student`` by lessons; the last validated weights come back that are not
    measurably worse than earlier ones (one-sided, 95 %), the starting point among these.

    ``judge``: whose answers the validation compares with, besides the labels.  ``hold`` is applied
    after every step.  ``augment``: None takes what suits the data.  ``generator`` orders and
    augments the images: same seed, one thread and ``Epochs`` give the same weights.
    ``acceleration``: None measures what is fastest when the deadline leaves room, else float32.
    ``device``: "cpu", or None for the best there is.  ``keeper``: what it finds is gone on from, in
    a call with the same arguments, with a deadline for the time that was left; then the same seed,
    one thread and ``Epochs`` still give the same weights.

    A batch that does not fit in memory is computed in parts from there on (``accumulation``), with
    a note.

    A loss that is not finite, or a metric that collapses, sends training back to the best weights
    at a tenth of the learning rate; after two such returns it stops, with a note.  Raises DataError
    where there are too few images, and Stopped where the keeper was asked to stop.
    """
    clock = forward(clock)
    begin = clock()
    count = len(data.train.pixels)
    if count < 2:
        raise DataError(f"training needs at least 2 images and has {count}: give more")
    batch = min(batch_size or fitting_batch(count, data.preprocessing.crop), count)
    first = normalise(data.train.pixels[:batch], data.preprocessing)
    found = keeper.find()
    how = acceleration or (_as_before(found) if found else None)
    how = how or _fastest(student, judge, first, length, clock)
    trainer = Trainer(
        student,
        make_lessons,
        observed=observed,
        settings=optimisation or Optimisation(),
        how=how,
        accelerator=make_accelerator(how, device),
        hold=hold,
    )
    order = generator or torch.Generator().manual_seed(0)
    training = Training(
        trainer=trainer,
        passes=Passes(count, batch, order),
        pace=Pace(length, begin=begin, clock=clock, steps_per_epoch=_steps(count, batch)),
        logbook=Logbook(notes=[how.note] if how.note else []),
    )
    validator = _make_validator(training, data, judge, batch, found)
    if found is not None:
        training.restore(found)
    stream = trainer.draw(data, training.passes, augment or augmentation_for(data))
    with keeper.patient():
        go_on(training, stream, validator, keeper, progress)
    logbook, pace = training.logbook, training.pace
    best, notes = logbook.kept, logbook.notes
    if logbook.best == 0:
        tried = (
            f"{trainer.steps} steps gave nothing better" if trainer.steps else "no time to train"
        )
        notes.append(f"the starting point was kept: {tried}")
    if trainer.note:
        notes.append(trainer.note)
    trained = student.copy().eval()
    copy_values(trainer.best, trained)
    return Distilled(
        graph=trained,
        accuracy=best.accuracy,
        agreement=best.agreement,
        seconds=pace.seconds,
        epochs=pace.images / count,
        images_per_s=pace.images_per_s,
        history=tuple(logbook.history),
        notes=tuple(notes),
        acceleration=replace(how, part_size=trainer.part_size),
    )


def _kept_of(student: Graph, teacher: Graph | None) -> Mapping[str, Mapping[int, Rows]]:
    """The rows of the teacher's nodes that the student has; all, where it was cut alike."""
    return {} if teacher is not None and teacher.kept == student.kept else student.kept


def _as_before(kept: Snapshot) -> Acceleration:
    return msgspec.convert(kept.facts["how"], Acceleration)


def _make_validator(
    training: Training, data: ImageData, judge: Graph | None, batch: int, found: Snapshot | None
) -> Validator:
    """On as many images as in the training that is gone on with, if it is."""
    trainer, most = training.trainer, MOST_IMAGES
    if found is not None:
        most = part_of(found, "logbook").facts["history"][0]["images"]
    with trainer.accelerator.autocast():
        return make_validator(
            data.validation,
            data.preprocessing,
            trainer.placed(judge).eval() if judge is not None else None,
            use_labels=data.train_with_labels,
            batch_size=batch,
            memory_format=trainer.how.memory_format,
            seconds=training.pace.validation_seconds if found is None else None,
            most=most,
            clock=training.pace.clock,
        )


def default_objective(*, labelled: bool, taught: bool) -> Objective:
    """Hinton's loss at temperature 4, labels weighing a tenth; or what is there of the two."""
    alpha = 0.0 if not taught else 0.9 if labelled else 1.0
    return logit_objective(alpha=alpha, temperature=4.0)


def fitting_batch(count: int, crop: tuple[int, int]) -> int:
    """128 images, 32 large ones, fewer (not under 16) where an epoch would be a few steps."""
    most = 32 if max(crop) >= _LARGE_IMAGE else 128
    return max(min(most, count // _FEWEST_STEPS), min(16, count))


def _steps(count: int, batch: int) -> int:
    """Steps of one epoch; a last partial batch is left out."""
    return max(1, count // batch)


def _fastest(
    student: Graph,
    teacher: Graph | None,
    pixels: Tensor,
    length: Deadline | Epochs,
    clock: Clock,
) -> Acceleration:
    if not isinstance(length, Deadline) or length.seconds < _MEASURE_FROM_SECONDS:
        return PLAIN
    if process_count() > 1:  # they would measure apart; a launcher says what all compute in
        return PLAIN
    return choose(student, teacher, pixels, seconds=min(10.0, 0.02 * length.seconds), clock=clock)
