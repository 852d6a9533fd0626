"""The loop: one visible loop of steps, validations and returns to better weights.

In: a ``Run`` that begins or goes on, lessons, a validator.  Out: the run at its end.  Whoever keeps
how far it is (``Keeper``) is asked after every step.  Knows nothing of who teaches, files or bars.
"""

from __future__ import annotations

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
    """Where a run stands.  ``metric``: the last validated accuracy or agreement, a share."""

    done_share: float
    images_per_s: float
    seconds_left: float
    loss: float
    metric: float


def ignore(progress: Progress) -> None:
    """For callers who do not watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What moves on while training: together, all that the rest of it depends on."""

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
    run: Run,
    stream: Iterator[Lesson],
    validator: Validator,
    keeper: Keeper,
    progress: Callable[[Progress], None],
) -> None:
    """Steps until the pace says stop; the logbook says which weights are kept.

    A run without a history begins, another one goes on.  Raises Stopped as the keeper does.
    """
    trainer, pace, logbook = run.trainer, run.pace, run.logbook
    if not logbook.history:  # else it goes on
        _validate(run, validator, 0.0)
        pace.start()
    while (spent := trainer.shared(pace.spent(trainer.steps))) < 1.0:
        lesson = next(stream)
        trainer.step(lesson, trainer.settings.course(spent))
        pace.count(_images(lesson) * trainer.accelerator.num_processes)
        spent, looking = trainer.shared(pace.spent(trainer.steps)), _looking(trainer)
        reason = trainer.broken() if looking else None
        validated = reason is None and pace.validation_due(spent)
        if validated:
            reason = _judge(run, validator, spent)
        if reason:
            where = f"{reason} at step {trainer.steps}"
            if logbook.returns == _MOST_RETURNS:
                logbook.notes.append(f"training stopped early, the best weights stand: {where}")
                return
            logbook.returns += 1
            trainer.go_back()
            logbook.notes.append(f"{where}: back to the best weights, a tenth of the learning rate")
        if looking:
            progress(_progress(run))
        _keep(run, keeper, validated)
    if pace.unvalidated and trainer.broken() is None:
        _judge(run, validator, 1.0)
    _keep(run, keeper, True)


def _keep(run: Run, keeper: Keeper, resting: bool) -> None:
    """Tell the keeper how far it is, if that is due: in all processes or in none."""
    due = Due(run.trainer.highest(keeper.due(resting=resting)))
    if due:
        keeper.keep(run.state(), last=due is Due.LAST)


def _images(lesson: Lesson) -> int:
    assert lesson[0] is not None
    return len(lesson[0])


def _looking(trainer: Trainer) -> bool:
    return trainer.steps % _CHECK_EVERY == 0


def _validate(run: Run, validator: Validator, spent: float) -> Validation:
    trainer, before = run.trainer, run.pace.seconds
    with trainer.accelerator.autocast():
        found = trainer.agreed(
            validator.validate(trainer.averaged.graph, done_share=spent, seconds=before)
        )
    run.pace.validated(run.pace.seconds - before)
    run.logbook.history.append(found)
    return found


def _judge(run: Run, validator: Validator, spent: float) -> str | None:
    """Validate, and keep the weights where they may stand; why training cannot go on, or None."""
    reason = _validate(run, validator, spent).diverged_from(run.logbook.kept)
    run.logbook.rise()
    if reason is None and run.logbook.take_latest():
        run.trainer.keep()
    return reason


def _progress(run: Run) -> Progress:
    trainer, pace = run.trainer, run.pace
    return Progress(
        done_share=min(pace.spent(trainer.steps), 1.0),
        images_per_s=pace.images_per_s,
        seconds_left=pace.seconds_left(trainer.steps),
        loss=float(trainer.loss),
        metric=run.logbook.history[-1].metric,
    )
