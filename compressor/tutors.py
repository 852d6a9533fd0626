"""Tutors: who teaches a network that is pruned while it is trained, and what its parts are worth to
them.

Comes in: a whole graph, what is gone of it, an objective.  Goes out: lessons of a frozen teacher or
of the network's own whole, and scores by the same objective.  Knows nothing of steps or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.accumulation import InParts
from compressor.augmentation import Augmentation
from compressor.cutters import Gone, WeightScores
from compressor.data import ImageData
from compressor.features import Observed, observed_graph
from compressor.graphs import Graph
from compressor.keeping import Snapshot
from compressor.lessons import Lesson, Lessons, MakeLessons, Network, Place, Taught, taught_by
from compressor.objectives import Objective, Signals, kept_rows
from compressor.passes import Passes
from compressor.scoring import Criterion, ScoringLoss, loss_change
from compressor.sparsity import prunable_weights

# (the whole, what is gone) -> the lessons of the stretch that follows.
Teach = Callable[[Graph, Gone], MakeLessons]


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

    def draw(self, data: ImageData, passes: Passes, augment: Augmentation) -> Iterator[Lesson]:
        return self.taught.draw(data, passes, augment)

    def loss(self, network: Network, lesson: Lesson) -> Tensor:
        self.gone.put_back(observed_graph(network), self.whole)
        return self.taught.loss(network, lesson)

    def state(self) -> Snapshot:
        """What lives follows the student, what is gone is fixed."""
        return self.taught.state()

    def restore(self, kept: Snapshot) -> None:
        self.taught.restore(kept)


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
