"""The loop: one visible loop of steps, validations and returns to better weights.

In: a ``Training`` that begins or goes on, lessons, a validator.  Out: the same at its end.  Whoever
keeps how far it is (``Keeper``) is asked after every step.  Knows nothing of who teaches, files or
bars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from compressor.keeping import Due, Keeper, Snapshot, joined, part_of
from compressor.lessons import Lesson
from compressor.logbook import Logbook
from compressor.pacing import Pace
from compressor.passes import Passes
from compressor.training import Trainer
from compressor.validation import Validation, Validator

_CHECK_EVERY = 10  # steps between looks at the loss, which wait for the device
_MOST_RETURNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands.  ``metric``: the last validated accuracy or agreement, a share."""

    done_share: float
    images_per_s: float
    seconds_left: float
    loss: float
    metric: float
    note: str = ""  # what must be said by now; empty: nothing


def ignore(progress: Progress) -> None:
    """For callers who do not watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What moves on from step to step: together, all that the rest of a training depends on."""

    trainer: Trainer
    passes: Passes
    pace: Pace
    logbook: Logbook

    def state(self) -> Snapshot:
        return joined(
            {
                "trainer": self.trainer.state(),
                "passes": self.passes.state(),
                "pace": Snapshot(facts=self.pace.state()),
                "logbook": self.logbook.state(),
                "how": Snapshot(facts=msgspec.to_builtins(self.trainer.how)),
            }
        )

    def restore(self, kept: Snapshot) -> None:
        self.logbook.restore(part_of(kept, "logbook"))
        self.passes.restore(part_of(kept, "passes"))
        self.pace.restore(kept.facts["pace"])
        self.trainer.restore(part_of(kept, "trainer"))


def go_on(
    training: Training,
    stream: Iterator[Lesson],
    validator: Validator,
    keeper: Keeper,
    progress: Callable[[Progress], None],
) -> None:
    """Steps until the pace says stop; the logbook says which weights are kept.

    A training without a history begins, another one goes on.  Raises Stopped as the keeper does.
    """
    trainer, pace, logbook = training.trainer, training.pace, training.logbook
    if not logbook.history:  # else it goes on
        _validate(training, validator, 0.0)
        pace.start()
    while (spent := trainer.shared(pace.spent(trainer.steps))) < 1.0:
        lesson = next(stream)
        trainer.step(lesson, spent)
        pace.count(_images(lesson) * trainer.accelerator.num_processes)
        spent, looking = trainer.shared(pace.spent(trainer.steps)), _looking(trainer)
        reason = trainer.broken() if looking else None
        validated = reason is None and pace.validation_due(spent)
        if validated:
            reason = _judge(training, validator, spent)
        if reason:
            where = f"{reason} at step {trainer.steps}"
            if logbook.returns == _MOST_RETURNS:
                logbook.notes.append(f"training stopped early, the best weights stand: {where}")
                return
            logbook.returns += 1
            trainer.go_back()
            logbook.notes.append(f"{where}: back to the best weights, a tenth of the learning rate")
        if looking:
            progress(_progress(training))
        _keep(training, keeper, validated)
    if pace.unvalidated and trainer.broken() is None:
        _judge(training, validator, 1.0)
    if not logbook.compared and trainer.broken() is None:
        _compare_with_latest(training, validator)
    _keep(training, keeper, True)


def _compare_with_latest(training: Training, validator: Validator) -> None:
    """The weights of the last step are kept where they are better than all averages: in a short
    training these are still behind."""
    trainer, logbook = training.trainer, training.logbook
    logbook.compared = True
    trainer.averaged.restart(trainer.learner)
    found = _validate(training, validator, 1.0)
    if found.better_than(logbook.kept) and math.isfinite(found.loss):
        logbook.best = len(logbook.history) - 1
        trainer.keep()


def _keep(training: Training, keeper: Keeper, resting: bool) -> None:
    """Tell the keeper how far it is, if that is due: in all processes or in none."""
    due = Due(training.trainer.highest(keeper.due(resting=resting)))
    if due:
        keeper.keep(training.state(), last=due is Due.LAST)


def _images(lesson: Lesson) -> int:
    assert lesson[0] is not None
    return len(lesson[0])


def _looking(trainer: Trainer) -> bool:
    return trainer.steps % _CHECK_EVERY == 0


def _validate(training: Training, validator: Validator, spent: float) -> Validation:
    trainer, before = training.trainer, training.pace.seconds
    with trainer.accelerator.autocast():
        found = trainer.agreed(
            validator.validate(trainer.averaged.graph, done_share=spent, seconds=before)
        )
    training.pace.validated(training.pace.seconds - before)
    training.logbook.history.append(found)
    return found


def _judge(training: Training, validator: Validator, spent: float) -> str | None:
    """Validate, and keep the weights where they may stand; why training cannot go on, or None."""
    reason = _validate(training, validator, spent).diverged_from(training.logbook.kept)
    training.logbook.rise()
    if reason is None and training.logbook.take_latest():
        training.trainer.keep()
    return reason


def _progress(training: Training) -> Progress:
    trainer, pace = training.trainer, training.pace
    return Progress(
        done_share=min(pace.spent(trainer.steps), 1.0),
        images_per_s=pace.images_per_s,
        seconds_left=pace.seconds_left(trainer.steps),
        loss=float(trainer.loss),
        metric=training.logbook.history[-1].metric,
        note=trainer.note,
    )
