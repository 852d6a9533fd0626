"""Phases: the stretches that recipes are made of, as values.

A phase says what happens, by which functions, and who teaches.  ``execution`` carries phases out,
one function for each kind; nothing there asks for a recipe's name.  ``epochs`` of a phase are those
of its published schedule; a run's length is shared out in their proportion.  Knows nothing of
files or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compressor.choosing import Allocation, Way
from compressor.cutters import Cutter
from compressor.graphs import Graph
from compressor.lookahead import Preview, Saliency
from compressor.objectives import Objective
from compressor.optimisation import Optimisation
from compressor.pacing import Deadline, Epochs
from compressor.scoring import Batch, Criterion
from compressor.self_distillation import MakeSelfTaught
from compressor.stretches import Schedule
from compressor.tutors import Teach
from compressor.types import Analysis, Budget

Settings = Callable[[Graph], Optimisation]
Start = Literal["kept", "fresh"]
Teaching = Literal["dense", "pruned"]
# (there are labels, there is a teacher) -> what training minimises
MakeObjective = Callable[[bool, bool], Objective]
# the dense network -> who teaches, and the nodes that are observed
MakeTeach = Callable[[Graph], tuple[Teach, tuple[str, ...]]]
# (the dense network, its analysis, the budget, a sample) -> what goes at each step
MakeCutter = Callable[[Graph, Analysis, Budget, Sequence[Batch]], Cutter[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Score, plan, remove, prove.  Of several ``ways`` a short trial takes the best."""

    name: str = "prune"
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Refit the student's values in closed form to what its teacher does."""

    name: str = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrain:
    """Train a copy of the student by labels (without any, by the dense network's answers): it is
    the pruned teacher.  The student itself stays as it is."""

    name: str = "retrain"
    epochs: int
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneWeights:
    """Rounds of: the ``share`` of the living weights with the least magnitude goes, over all layers
    at once; the others are trained again, the learning rate from its beginning.  The result is the
    pruned teacher, of full shapes.  With a share of 0 it is trained as often, and loses nothing."""

    name: str = "prune weights"
    share: float
    rounds: int
    epochs: int  # of a round
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadWidths:
    """The student's widths are read off the sparse teacher: as many parameters as it has non-zeros.
    Inside a group the ``criterion`` says which units of the teacher stay.  Removed and proved."""

    name: str = "read widths"
    criterion: Criterion


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill:
    """Train the student from the kept channels or fresh, taught by the dense or pruned network.

    ``feature_weight`` above 0 adds the distance between both networks' values on kept units.
    """

    name: str = "distill"
    start: Start = "kept"
    teacher: Teaching = "dense"
    objective: MakeObjective
    feature_weight: float
    epochs: int
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAhead:
    """How far EPSD looks before it prunes: steps of gradient descent on the lessons of ``make`` (of
    so many passes), then the loss on ``batches`` further lessons of ``size`` images."""

    make: Callable[[int], MakeSelfTaught]
    saliency: Saliency
    steps: int
    learning_rate: float
    batches: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneUnitsEarly:
    """Units of the fresh network that self-distillation will miss least go; the others keep their
    initial values.  Removed and proved."""

    name: str = "prune early"
    look: LookAhead
    criterion: Callable[[Preview, Saliency], Criterion]
    allocation: Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneWeightsEarly:
    """The same for single weights, which are zero from then on."""

    name: str = "prune early"
    look: LookAhead


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfDistill:
    """Train the student by labels and by what it says itself."""

    name: str = "self-distil"
    make: Callable[[int], MakeSelfTaught]
    epochs: int
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneGradually:
    """Prune in ``steps`` while training: ``make_cutter`` says what goes and how it waits for the
    end, ``make_teach`` (of the dense network) what is trained for and which nodes that looks at.

    Units are removed and proved at the end; single weights stay zero.
    """

    name: str = "prune gradually"
    steps: int
    schedule: Schedule
    make_cutter: MakeCutter
    make_teach: MakeTeach
    epochs: int
    settings: Settings


Phase = (
    Prune
    | Repair
    | Retrain
    | PruneWeights
    | ReadWidths
    | Distill
    | PruneUnitsEarly
    | PruneWeightsEarly
    | SelfDistill
    | PruneGradually
)


def rounds_until(sparsity: float, share: float) -> int:
    """Rounds that each take ``share`` of what lives, until what is gone is nearest to ``sparsity``;
    at least one."""
    fewer = max(1, math.floor(math.log(1 - sparsity) / math.log(1 - share)))
    gone = [1 - (1 - share) ** count for count in (fewer, fewer + 1)]
    return fewer + (abs(gone[1] - sparsity) < abs(gone[0] - sparsity))


def published_epochs(phase: Phase) -> int:
    """Epochs of training in the published schedule of a phase; 0 where nothing is trained."""
    if isinstance(phase, PruneWeights):
        return phase.rounds * phase.epochs
    if isinstance(phase, Retrain | Distill | SelfDistill | PruneGradually):
        return phase.epochs
    return 0


def lengths(
    phases: Sequence[Phase], length: Deadline | Epochs | None
) -> tuple[Deadline | Epochs | None, ...]:
    """How long each phase trains; None where it does not.

    A deadline is shared out in proportion to the published epochs.  A number of epochs is that of
    the last training phase; the others have theirs in the same proportion, a round one at least.
    """
    wanted = [published_epochs(phase) for phase in phases]
    whole = sum(wanted)
    if length is None or not whole:
        return (None,) * len(phases)
    if isinstance(length, Deadline):
        shares = [length.seconds * epochs / whole for epochs in wanted]
        return tuple(Deadline(share) if share else None for share in shares)
    scale = length.count / next(epochs for epochs in reversed(wanted) if epochs)
    counts = [
        phase.rounds * max(1, round(scale * phase.epochs))
        if isinstance(phase, PruneWeights)
        else max(1, round(scale * epochs))
        for phase, epochs in zip(phases, wanted, strict=True)
    ]
    return tuple(
        Epochs(count) if epochs else None for count, epochs in zip(counts, wanted, strict=True)
    )
