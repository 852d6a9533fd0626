"""Pruning while training: a little goes, the rest recovers, again and again.

    whole -> cut -> student -> lessons, what is gone held -> put back into the whole -> cut -> ...

In: a graph, images, a cutter, who teaches, a length.  Out: a ``Gradual``: the trained graph in its
full shapes, what is gone, and the recovery after every step.  Knows nothing of what is cut (see
``cutters``) nor of files; seconds come from the clock given.

Every stretch is a run of ``distillation.learn`` with an optimiser of its own: momentum and other
averages begin anew after each cut.  The learning rate follows one course over the whole phase.  The
last weights of a stretch go on, unless they are measurably worse than those before them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic

import msgspec
import torch
from torch import Generator

from compressor.acceleration import Acceleration, Clock
from compressor.augmentation import Augmentation
from compressor.cutters import Cutter, G, Gone
from compressor.data import ImageData
from compressor.distillation import Distilled, learn
from compressor.evaluation import device_of
from compressor.graphs import Graph
from compressor.keeping import (
    KEEP_NOTHING,
    Keeper,
    Snapshot,
    joined,
    noise,
    part_of,
    put_values,
    restore_noise,
    values_of,
)
from compressor.loop import Progress, ignore
from compressor.optimisation import Optimisation
from compressor.pacing import Deadline, Epochs, forward
from compressor.stretches import (
    Schedule,
    cubic,
    part_of_course,
    require_rising,
    share_of_length,
    split,
    what_is_left,
)
from compressor.tutors import Teach


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One step of pruning and the stretch after it.  Metrics are validated accuracy, or agreement
    where there are no labels: ``cut`` right after the step, ``recovered`` after the stretch."""

    sparsity: float
    cut: float
    recovered: float
    seconds: float
    epochs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradual(Generic[G]):
    """A network pruned while it was trained.

    ``graph``: of full shapes, zero where something is gone; where activations are summed against
    activations a gone unit may still be non-zero in it, not in its ``mask``.  ``whole``: the same
    with what is gone at the value that it had when it went, for ``remove`` and ``prove``, to which
    a network of zeros would prove nothing.  Both give the same student.
    """

    graph: Graph
    whole: Graph
    gone: G
    accuracy: float | None
    agreement: float | None
    seconds: float
    epochs: float
    history: tuple[Recovery, ...]
    notes: tuple[str, ...]
    acceleration: Acceleration

    @property
    def metrics(self) -> dict[str, float]:
        """Shares by name, those that are known."""
        named = {"top1": self.accuracy, "agreement": self.agreement}
        return {name: value for name, value in named.items() if value is not None}


def prune_gradually(
    graph: Graph,
    data: ImageData,
    cutter: Cutter[G],
    teach: Teach,
    *,
    steps: int,
    schedule: Schedule = cubic,
    length: Deadline | Epochs,
    judge: Graph | None = None,
    generator: Generator | None = None,
    observed: tuple[str, ...] = (),
    optimisation: Optimisation | None = None,
    batch_size: int | None = None,
    augment: Augmentation | None = None,
    acceleration: Acceleration | None = None,
    device: str | None = None,
    keeper: Keeper = KEEP_NOTHING,
    progress: Callable[[Progress], None] = ignore,
    clock: Clock = time.monotonic,
) -> Gradual[G]:
    """Prune a copy of ``graph`` in ``steps``, training after each; the graph stays as it is.

    ``length`` is the whole phase's, scoring and validation included in a deadline, and is
    ``split`` over the stretches.  ``observed``: the nodes that ``teach`` compares.  ``judge`` and
    what else is not named here are as in ``learn``; the ``keeper`` is told of every cut and after
    every stretch, and goes with the stretch.  Raises OptionError for a schedule that does
    not rise to 1 and for too few epochs, BudgetError where the cutter cannot go that far.
    """
    clock = forward(clock)
    shares = require_rising(schedule(steps) if steps >= 1 else ())
    stretches = split(length, steps)
    settings = optimisation or Optimisation()
    reached: _Reached[G] = _Reached(
        whole=graph.copy().eval(),
        order=generator or torch.Generator().manual_seed(0),
        how=acceleration,
    )
    cuts = keeper.at("cuts")
    found = cuts.find()
    begin = clock() - (reached.restore(found, cutter) if found is not None else 0.0)
    for step in range(len(reached.history), steps):
        step_begin = clock()
        if not reached.cut:
            reached.gone = cutter(reached.whole, shares[step], reached.gone)
            reached.cut = True
            cuts.keep(reached.state(clock() - begin))
        gone = reached.gone
        assert gone is not None
        over = share_of_length(stretches[:step], length)
        until = share_of_length(stretches[: step + 1], length)
        learn_begin = clock()
        done = learn(
            gone.student(reached.whole),
            data,
            teach(reached.whole, gone),
            judge=judge,
            length=what_is_left(stretches[step:], length, learn_begin - begin),
            generator=reached.order,
            observed=observed,
            optimisation=replace(settings, course=part_of_course(settings.course, over, until)),
            batch_size=batch_size,
            augment=augment,
            acceleration=reached.how,
            device=device,
            hold=gone.hold,
            keeper=keeper.at(f"step-{step + 1}"),
            progress=_of_phase(progress, over, until),
            clock=clock,
        )
        before = max(0.0, done.seconds - (clock() - learn_begin))  # seconds of an earlier process
        begin, step_begin = begin - before, step_begin - before
        reached.take(done, clock() - step_begin, f"step {step + 1} of {steps}: ")
        cuts.keep(reached.state(clock() - begin))
    return reached.result(clock() - begin)


@dataclass(slots=True, kw_only=True)
class _Reached(Generic[G]):
    """How far the pruning is, between stretches.  ``cut``: what is gone is that of the stretch that
    comes, not of the one before."""

    whole: Graph
    order: Generator
    how: Acceleration | None
    gone: G | None = None
    cut: bool = False
    history: list[Recovery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    accuracy: float | None = None
    agreement: float | None = None

    def take(self, done: Distilled, seconds: float, told: str) -> None:
        """A stretch is over; it took so long, the cut before it included."""
        assert self.gone is not None
        self.gone.put_back(done.graph, self.whole)
        self.how = replace(done.acceleration, note="")  # measured and told once
        self.history.append(_recovery(self.gone, done, seconds))
        self.notes += [f"{told}{note}" for note in done.notes]
        self.accuracy, self.agreement = done.accuracy, done.agreement
        self.cut = False

    def result(self, seconds: float) -> Gradual[G]:
        assert self.gone is not None
        assert self.how is not None
        return Gradual(
            graph=self.gone.zeroed(self.whole),
            whole=self.whole,
            gone=self.gone,
            accuracy=self.accuracy,
            agreement=self.agreement,
            seconds=seconds,
            epochs=sum(each.epochs for each in self.history),
            history=tuple(self.history),
            notes=(*self.gone.notes, *self.notes),
            acceleration=self.how,
        )

    def state(self, seconds: float) -> Snapshot:
        """``seconds``: since it began."""
        assert self.gone is not None
        told = {
            "seconds": seconds,
            "cut": self.cut,
            "how": msgspec.to_builtins(self.how),
            "history": msgspec.to_builtins(self.history),
            "notes": self.notes,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
        }
        return joined(
            {
                "whole": values_of(self.whole),
                "gone": self.gone.state(),
                "noise": noise(device_of(self.whole)),
                "told": Snapshot(tensors={"order": self.order.get_state()}, facts=told),
            }
        )

    def restore(self, kept: Snapshot, cutter: Cutter[G]) -> float:
        """Returns the seconds that it had taken."""
        put_values(part_of(kept, "whole"), self.whole)
        self.gone = cutter.again(self.whole, part_of(kept, "gone"))
        told = part_of(kept, "told")
        self.order.set_state(told.tensors["order"])
        self.cut, self.notes = told.facts["cut"], list(told.facts["notes"])
        self.how = msgspec.convert(told.facts["how"], Acceleration | None)
        self.history = msgspec.convert(told.facts["history"], list[Recovery])
        self.accuracy, self.agreement = told.facts["accuracy"], told.facts["agreement"]
        restore_noise(part_of(kept, "noise"), device_of(self.whole))
        return float(told.facts["seconds"])


def _recovery(gone: Gone, done: Distilled, seconds: float) -> Recovery:
    found = done.accuracy if done.accuracy is not None else done.agreement
    return Recovery(
        sparsity=gone.sparsity,
        cut=done.history[0].metric,
        recovered=found or 0.0,
        seconds=seconds,
        epochs=done.epochs,
    )


def _of_phase(
    progress: Callable[[Progress], None], begin: float, end: float
) -> Callable[[Progress], None]:
    """What a stretch says of itself, said of the phase."""

    def tell(seen: Progress) -> None:
        left = max(1.0 - seen.done_share, 1e-9) * (end - begin)
        progress(
            replace(
                seen,
                done_share=begin + seen.done_share * (end - begin),
                seconds_left=seen.seconds_left * (left + 1.0 - end) / left,
            )
        )

    return tell
