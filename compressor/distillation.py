"""Distillation: a student learns to answer as its teacher does.  One visible loop.

In: two graphs, images, an objective and a length (a deadline or a number of epochs).  Out: a new
graph with the last validated weights that are not measurably worse than any before them, the
starting point among them.  Knows nothing of pruning, files or bars; seconds come from the clock
given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.acceleration import PLAIN, Acceleration, Clock, choose, make_accelerator
from compressor.augmentation import Augmentation
from compressor.data import ImageData, augmentation_for, normalise
from compressor.errors import DataError, OptionError
from compressor.graphs import Graph, Rows
from compressor.lessons import Lesson, MakeLessons, taught_by
from compressor.objectives import Objective, logit_objective
from compressor.optimisation import Optimisation, copy_values
from compressor.pacing import Deadline, Epochs, Pace, forward
from compressor.processes import process_count
from compressor.samples import is_labelled
from compressor.training import Hold, Trainer, hold_nothing
from compressor.validation import Validation, Validator, make_validator

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
    note: str = ""  # what must be said by now; empty: nothing


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
    augment: Augmentation | None = None,
    acceleration: Acceleration | None = None,
    device: str | None = None,
    hold: Hold = hold_nothing,
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
    progress: Callable[[Progress], None] = ignore,
    clock: Clock = time.monotonic,
) -> Distilled:
    """Train a copy of ``student`` by lessons; the last validated weights come back that are not
    measurably worse than earlier ones (one-sided, 95 %), the starting point among these.

    ``judge``: whose answers the validation compares with, besides the labels.  ``hold`` is applied
    after every step.  ``augment``: None takes what suits the data.  ``generator`` orders and
    augments the images: same seed, one thread and ``Epochs`` give the same weights.
    ``acceleration``: None measures what is fastest when the deadline leaves room, else float32.
    ``device``: "cpu", or None for the best there is.

    A batch that does not fit in memory is computed in parts from there on (``accumulation``), with
    a note.

    A loss that is not finite, or a metric that collapses, sends training back to the best weights
    at a tenth of the learning rate; after two such returns it stops, with a note.  Raises DataError
    where there are too few images.
    """
    clock = forward(clock)
    begin = clock()
    count = len(data.train.pixels)
    if count < 2:
        raise DataError(f"training needs at least 2 images and has {count}: give more")
    batch = min(batch_size or fitting_batch(count, data.preprocessing.crop), count)
    first = normalise(data.train.pixels[:batch], data.preprocessing)
    how = acceleration or _fastest(student, judge, first, length, clock)
    trainer = Trainer(
        student,
        make_lessons,
        observed=observed,
        settings=optimisation or Optimisation(),
        how=how,
        accelerator=make_accelerator(how, device),
        hold=hold,
    )
    pace = Pace(length, begin=begin, clock=clock, steps_per_epoch=_steps(count, batch))
    validator = _make_validator(trainer, data, judge, batch, pace)
    journal = Journal(history=[], notes=[how.note] if how.note else [])
    order = generator or torch.Generator().manual_seed(0)
    stream = trainer.draw(data, batch, order, augment or augmentation_for(data))
    best = _learn(trainer, stream, validator, pace, journal, progress)
    if best is journal.history[0]:
        tried = (
            f"{trainer.steps} steps gave nothing better" if trainer.steps else "no time to train"
        )
        journal.notes.append(f"the starting point was kept: {tried}")
    if trainer.note:
        journal.notes.append(trainer.note)
    trained = student.copy().eval()
    copy_values(trainer.best, trained)
    return Distilled(
        graph=trained,
        accuracy=best.accuracy,
        agreement=best.agreement,
        seconds=pace.seconds,
        epochs=pace.images / count,
        images_per_s=pace.images_per_s,
        history=tuple(journal.history),
        notes=tuple(journal.notes),
        acceleration=replace(how, part_size=trainer.part_size),
    )


def _kept_of(student: Graph, teacher: Graph | None) -> Mapping[str, Mapping[int, Rows]]:
    """The rows of the teacher's nodes that the student has; all, where it was cut alike."""
    return {} if teacher is not None and teacher.kept == student.kept else student.kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a run writes down as it goes."""

    history: list[Validation]
    notes: list[str]


def _learn(
    trainer: Trainer,
    stream: Iterator[Lesson],
    validator: Validator,
    pace: Pace,
    journal: Journal,
    progress: Callable[[Progress], None],
) -> Validation:
    """The loop: steps until the pace says stop; gives the validation of what is kept."""
    best = peak = _validate(trainer, validator, pace, journal, 0.0)
    restarts = 0
    pace.start()
    for lesson in stream:
        spent = trainer.shared(pace.spent(trainer.steps))
        if spent >= 1.0:
            break
        trainer.step(lesson, trainer.settings.course(spent))
        pace.count(_images(lesson) * trainer.accelerator.num_processes)
        spent, looking = trainer.shared(pace.spent(trainer.steps)), _looking(trainer)
        reason = trainer.broken() if looking else None
        if reason is None and pace.validation_due(spent):
            latest = _validate(trainer, validator, pace, journal, spent)
            reason = latest.diverged_from(best)
            peak = latest if latest.better_than(peak) else peak
            best = best if reason else _kept(trainer, latest, best, peak)
        if reason:
            where = f"{reason} at step {trainer.steps}"
            if restarts == _MOST_RESTARTS:
                journal.notes.append(f"training stopped early, the best weights stand: {where}")
                return best
            restarts += 1
            trainer.go_back()
            journal.notes.append(f"{where}: back to the best weights, a tenth of the learning rate")
        if looking:
            progress(_progress(trainer, pace, journal))
    if pace.unvalidated and trainer.broken() is None:
        latest = _validate(trainer, validator, pace, journal, 1.0)
        if latest.diverged_from(best) is None:
            best = _kept(trainer, latest, best, latest if latest.better_than(peak) else peak)
    return best


def _images(lesson: Lesson) -> int:
    assert lesson[0] is not None
    return len(lesson[0])


def _looking(trainer: Trainer) -> bool:
    return trainer.steps % _CHECK_EVERY == 0


def _validate(
    trainer: Trainer, validator: Validator, pace: Pace, journal: Journal, spent: float
) -> Validation:
    before = pace.seconds
    with trainer.accelerator.autocast():
        found = trainer.agreed(
            validator.validate(trainer.averaged.graph, done_share=spent, seconds=before)
        )
    pace.validated(pace.seconds - before)
    journal.history.append(found)
    return found


def _kept(trainer: Trainer, latest: Validation, best: Validation, peak: Validation) -> Validation:
    """The latest weights, unless they are measurably worse than any were.

    Later averages have seen more, and of ten validations the highest is partly luck.  More than
    luck where a student was refitted to a teacher that knows the validation images by heart: it
    starts ahead there, and nothing that it learns shows.
    """
    if not math.isfinite(latest.loss) or latest.worse_than(peak):
        return best
    trainer.keep()
    return latest


def _progress(trainer: Trainer, pace: Pace, journal: Journal) -> Progress:
    return Progress(
        done_share=min(pace.spent(trainer.steps), 1.0),
        images_per_s=pace.images_per_s,
        seconds_left=pace.seconds_left(trainer.steps),
        loss=float(trainer.loss),
        metric=journal.history[-1].metric,
        note=trainer.note,
    )


def _make_validator(
    trainer: Trainer, data: ImageData, judge: Graph | None, batch: int, pace: Pace
) -> Validator:
    with trainer.accelerator.autocast():
        return make_validator(
            data.validation,
            data.preprocessing,
            trainer.placed(judge).eval() if judge is not None else None,
            use_labels=data.train_with_labels,
            batch_size=batch,
            memory_format=trainer.how.memory_format,
            seconds=pace.validation_seconds,
            clock=pace.clock,
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
