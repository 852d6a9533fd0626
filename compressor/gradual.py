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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

import torch
from torch import Generator, Tensor

from compressor.acceleration import Acceleration, Clock
from compressor.accumulation import InParts
from compressor.augmentation import Augmentation
from compressor.cutters import Cutter, G, Gone, WeightScores
from compressor.data import ImageData
from compressor.distillation import Distilled, Progress, ignore, learn
from compressor.errors import OptionError
from compressor.features import Observed, observed_graph
from compressor.graphs import Graph
from compressor.lessons import Lesson, Lessons, MakeLessons, Network, Place, Taught, taught_by
from compressor.objectives import Objective, Signals, kept_rows
from compressor.optimisation import Course, Optimisation
from compressor.pacing import Deadline, Epochs, forward
from compressor.scoring import Criterion, ScoringLoss, loss_change
from compressor.sparsity import prunable_weights

LAST_STRETCH = 0.3  # of the length, at the least, goes to the network as it will be

# N steps -> the share of the final sparsity after each, rising to 1.
Schedule = Callable[[int], tuple[float, ...]]
# (the whole, what is gone) -> the lessons of the stretch that follows.
Teach = Callable[[Graph, Gone], MakeLessons]


# -- schedules ---------------------------------------------------------------------------------


def cubic(steps: int) -> tuple[float, ...]:
    """``1 - (1 - t / N)^3``: much at first, while there is much to spare."""
    return tuple(1.0 - (1.0 - t / steps) ** 3 for t in range(1, steps + 1))


def linear(steps: int) -> tuple[float, ...]:
    """``t / N``: the same at every step."""
    return tuple(t / steps for t in range(1, steps + 1))


def split(length: Deadline | Epochs, steps: int) -> tuple[Deadline | Epochs, ...]:
    """The stretch after each step: all alike but the last, which has at least ``LAST_STRETCH``.

    Raises OptionError where there are fewer epochs than stretches.
    """
    if steps == 1:
        return (length,)
    if isinstance(length, Deadline):
        each = min(1.0 / steps, (1.0 - LAST_STRETCH) / (steps - 1)) * length.seconds
        last = length.seconds - each * (steps - 1)
        return (*[Deadline(each)] * (steps - 1), Deadline(last))
    rest = int(length.count * (1.0 - LAST_STRETCH) + 1e-9)  # 10 * 0.7 is a hair under 7
    epochs = min(rest // (steps - 1), length.count // steps)
    if epochs < 1:
        raise OptionError(
            f"{length.count} epochs do not hold {steps} steps of pruning, one epoch after each and "
            f"{100 * LAST_STRETCH:g} % of them after the last: give more epochs, or fewer steps"
        )
    return (*[Epochs(epochs)] * (steps - 1), Epochs(length.count - epochs * (steps - 1)))


def most_steps(length: Deadline | Epochs, steps: int) -> int:
    """As many of ``steps`` as the length has room for, at least one."""
    for count in range(steps, 1, -1):
        try:
            split(length, count)
        except OptionError:
            continue
        return count
    return 1


# -- who teaches -------------------------------------------------------------------------------


def taught_by_another(
    teacher: Graph | None, objective: Objective, observed: Sequence[str] = ()
) -> Teach:
    """A frozen teacher of the whole's own structure, such as the network before pruning.

    Observed values of both are compared where the student lives.
    """

    def teach(whole: Graph, gone: Gone) -> MakeLessons:
        return taught_by(teacher, _of_living(objective, observed, gone), observed, gone.kept)

    return teach


def taught_by_itself(objective: Objective, observed: Sequence[str] = ()) -> Teach:
    """The student's own weights of this very step, without what is gone being gone.

    What lives has its current value, running statistics too; what is gone keeps the value that it
    had when it went.  Evaluated in evaluation mode, without gradients.
    """

    def teach(whole: Graph, gone: Gone) -> MakeLessons:
        def make(place: Place) -> Lessons:
            live = place(whole).eval()
            taught = Taught(
                objective=_of_living(objective, observed, gone),
                teacher=InParts(Observed(live, observed, gone.kept)),
            )
            return TaughtByItself(taught=taught, whole=live, gone=gone)

        return make

    return teach


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtByItself:
    """Lessons of the student's own whole, brought up to date before each."""

    taught: Taught
    whole: Graph
    gone: Gone

    def draw(
        self, data: ImageData, size: int, generator: Generator, augment: Augmentation
    ) -> Iterator[Lesson]:
        return self.taught.draw(data, size, generator, augment)

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        self.gone.put_back(observed_graph(network), self.whole)
        return self.taught.loss(network, lesson)


def _of_living(objective: Objective, observed: Sequence[str], gone: Gone) -> Objective:
    """The objective of what a masked student says where it lives."""
    kept = gone.kept_in_student
    if not kept:
        return objective

    def of_living(signals: Signals) -> Tensor:
        pairs = zip(observed, signals.student_features, strict=True)
        cut = tuple(kept_rows(value, kept.get(name, {})) for name, value in pairs)
        return objective(replace(signals, student_features=cut))

    return of_living


def weight_changes(
    teacher: Graph | None,
    objective: Objective,
    batches: Sequence[tuple[Tensor, Tensor | None]],
    observed: Sequence[str] = (),
) -> WeightScores:
    """``|weight * gradient|`` of a training objective for every prunable weight, summed over
    batches; see ``objective_change``."""

    def scores(graph: Graph) -> Mapping[str, Tensor]:
        working = graph.copy()
        weights = {n: w.requires_grad_(True) for n, w in prunable_weights(working).items()}
        lessons = taught_by(teacher, objective, observed)(Graph.copy)
        network = Observed(working, observed)
        found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for lesson in batches:
            loss = lessons.loss(network, lesson)
            slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                found[name] += (weight.detach() * slope).abs()
        return found

    return scores


def objective_change(
    teacher: Graph | None, objective: Objective, observed: Sequence[str] = ()
) -> Criterion:
    """``taylor`` of a training objective: which units hold up what the student is trained for.

    The distance from a teacher has no slope where both are equal: at a first step from the
    teacher's own weights, its answers and representation say (next to) nothing, labels decide.
    """

    def make_loss(working: Graph) -> ScoringLoss:
        lessons = taught_by(teacher, objective, observed)(Graph.copy)
        network = Observed(working, observed)
        return lambda inputs, labels: lessons.loss(network, (inputs, labels))

    return loss_change("objective", make_loss)


# -- the loop ----------------------------------------------------------------------------------


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
    progress: Callable[[Progress], None] = ignore,
    clock: Clock = time.monotonic,
) -> Gradual[G]:
    """Prune a copy of ``graph`` in ``steps``, training after each; the graph stays as it is.

    ``length`` is the whole phase's, scoring and validation included in a deadline, and is
    ``split`` over the stretches.  ``observed``: the nodes that ``teach`` compares.  ``judge`` and
    what else is not named here are as in ``learn``.  Raises OptionError for a schedule that does
    not rise to 1 and for too few epochs, BudgetError where the cutter cannot go that far.
    """
    clock = forward(clock)
    begin = clock()
    shares = _require_rising(schedule(steps) if steps >= 1 else ())
    stretches = split(length, steps)
    settings = optimisation or Optimisation()
    order = generator or torch.Generator().manual_seed(0)
    whole = graph.copy().eval()
    gone: G | None = None
    history: list[Recovery] = []
    notes: list[str] = []
    done: Distilled | None = None
    how = acceleration
    for step, due in enumerate(shares):
        step_begin = clock()
        gone = cutter(whole, due, gone)
        over, until = _share(stretches[:step], length), _share(stretches[: step + 1], length)
        done = learn(
            gone.student(whole),
            data,
            teach(whole, gone),
            judge=judge,
            length=_what_is_left(stretches[step:], length, clock() - begin),
            generator=order,
            observed=observed,
            optimisation=replace(settings, course=_part(settings.course, over, until)),
            batch_size=batch_size,
            augment=augment,
            acceleration=how,
            device=device,
            hold=gone.hold,
            progress=_of_phase(progress, over, until),
            clock=clock,
        )
        how = replace(done.acceleration, note="")  # measured and told once
        gone.put_back(done.graph, whole)
        history.append(_recovery(gone, done, clock() - step_begin))
        notes += [f"step {step + 1} of {steps}: {note}" for note in done.notes]
    assert gone is not None
    assert done is not None
    return Gradual(
        graph=gone.zeroed(whole),
        whole=whole,
        gone=gone,
        accuracy=done.accuracy,
        agreement=done.agreement,
        seconds=clock() - begin,
        epochs=sum(each.epochs for each in history),
        history=tuple(history),
        notes=(*gone.notes, *notes),
        acceleration=done.acceleration,
    )


def _require_rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(a < b for a, b in zip((0.0, *shares), shares, strict=False))
    if not shares or not rising or abs(shares[-1] - 1.0) > 1e-9:
        raise OptionError(
            f"a schedule of {len(shares)} steps must rise from above 0 to 1, the final sparsity"
        )
    return shares


def _recovery(gone: Gone, done: Distilled, seconds: float) -> Recovery:
    found = done.accuracy if done.accuracy is not None else done.agreement
    return Recovery(
        sparsity=gone.sparsity,
        cut=done.history[0].metric,
        recovered=found or 0.0,
        seconds=seconds,
        epochs=done.epochs,
    )


def _amount(length: Deadline | Epochs) -> float:
    return length.seconds if isinstance(length, Deadline) else float(length.count)


def _share(stretches: Sequence[Deadline | Epochs], length: Deadline | Epochs) -> float:
    return sum(_amount(stretch) for stretch in stretches) / _amount(length)


def _what_is_left(
    stretches: Sequence[Deadline | Epochs], length: Deadline | Epochs, spent: float
) -> Deadline | Epochs:
    """The next stretch; of a deadline its share of the seconds that are left."""
    if isinstance(length, Epochs):
        return stretches[0]
    share = _amount(stretches[0]) / sum(_amount(stretch) for stretch in stretches)
    return Deadline(max(share * (length.seconds - spent), 1e-3))  # late: cut, and train no more


def _part(course: Course, begin: float, end: float) -> Course:
    """One stretch of a course over the whole phase."""
    return lambda spent: course(begin + min(spent, 1.0) * (end - begin))


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
