"""The arms of every recipe, and what is compared.

Comes in: a recipe's name.  Goes out: arms in the order they run, teachers first, and comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.studies.recipes import early, gradually, teachers
from benchmarks.studies.recipes.bench import Ground, Outcome
from benchmarks.studies.recipes.records import RecipeName, Settings

Run = Callable[[Ground], Outcome]
Passes = Callable[[Settings], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One network of a seed.  ``teacher``: of full shapes, its values are kept for students."""

    name: str
    title: str
    run: Run
    teacher: bool = False
    passes: Passes = lambda settings: settings.epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether ``first`` is better than ``second``; ``idea`` is what the difference tells of."""

    first: str
    second: str
    idea: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    title: str
    arms: tuple[Arm, ...]
    questions: tuple[Question, ...]
    how: str  # for the page


DENSE = Arm(name="dense", title="dense teacher", run=teachers.dense, teacher=True)


def in_rounds(settings: Settings) -> float:
    """Passes of a teacher that is trained in rounds."""
    return teachers.rounds(settings) * teachers.round_epochs(settings)


PRUNE_THEN_DISTILL = Recipe(
    title="prune-then-distill",
    how=(
        "Widths are read off the pruned teacher. Students of those widths are fresh, or inherit "
        "channels of the dense teacher; all are trained alike, a fresh student's weights being "
        "drawn apart from its teacher's."
    ),
    arms=(
        DENSE,
        Arm(
            name="pruned",
            title="pruned teacher",
            run=teachers.pruned,
            teacher=True,
            passes=in_rounds,
        ),
        Arm(
            name="restarts",
            title="dense teacher with the restarts alone",
            run=teachers.restarted,
            teacher=True,
            passes=in_rounds,
        ),
        Arm(name="kd-pruned", title="fresh, KD from pruned", run=teachers.student("pruned")),
        Arm(name="kd-dense", title="fresh, KD from dense", run=teachers.student("dense")),
        Arm(
            name="kd-restarts",
            title="fresh, KD from dense with restarts",
            run=teachers.student("restarts"),
        ),
        Arm(name="ce", title="fresh, cross-entropy only", run=teachers.student(None)),
        Arm(name="uniform", title="uniform slim, KD from dense", run=teachers.uniform),
        Arm(
            name="inherit",
            title="kept channels by magnitude, KD from dense",
            run=teachers.inherited("magnitude"),
        ),
        Arm(
            name="inherit-random",
            title="kept channels at random, KD from dense",
            run=teachers.inherited("random"),
        ),
    ),
    questions=(
        Question(first="kd-pruned", second="kd-dense", idea="a pruned teacher"),
        Question(
            first="kd-pruned",
            second="kd-restarts",
            idea="pruning the teacher, beyond training it longer",
        ),
        Question(first="kd-restarts", second="kd-dense", idea="restarts of the teacher alone"),
        Question(first="kd-dense", second="ce", idea="a teacher"),
        Question(first="kd-dense", second="uniform", idea="widths read off the pruned teacher"),
        Question(first="inherit", second="kd-dense", idea="inheriting kept channels"),
        Question(
            first="inherit",
            second="inherit-random",
            idea="choosing inherited channels by magnitude",
        ),
    ),
)

EPSD = Recipe(
    title="epsd",
    how=(
        "All students keep initial values of the same fresh network, and train with the same "
        "self-distillation. The simple combination looks ahead as far with cross-entropy alone; "
        "the densities are those of EPSD's ranking of single weights."
    ),
    arms=(
        Arm(name="epsd", title="EPSD by units", run=early.looked_ahead),
        Arm(name="simple", title="simple combination", run=early.simple),
        Arm(name="densities", title="random units at EPSD's densities", run=early.random_units),
        Arm(name="uniform", title="uniform slim, random units", run=early.uniform),
    ),
    questions=(
        Question(
            first="epsd", second="simple", idea="looking ahead with the self-distillation loss"
        ),
        Question(
            first="epsd", second="densities", idea="choosing units, beyond the layers' densities"
        ),
        Question(first="epsd", second="uniform", idea="looking ahead at all"),
    ),
)

SDP = Recipe(
    title="sdp",
    how=(
        "Every arm starts from the same dense teacher of its seed. Gradual arms prune by magnitude "
        "on the cubic schedule; the one-shot control prunes by magnitude at once, one ranking over "
        "all groups, and then trains by Hinton's loss for as many passes."
    ),
    arms=(
        DENSE,
        Arm(
            name="cross-correlation",
            title="gradual, cross-correlation",
            run=gradually.held_to("cross-correlation"),
        ),
        Arm(name="kl", title="gradual, KL", run=gradually.held_to("kl")),
        Arm(name="cosine", title="gradual, cosine", run=gradually.held_to("cosine")),
        Arm(name="ce", title="gradual, cross-entropy only", run=gradually.by_labels),
        Arm(name="one-shot", title="one-shot, then KD", run=gradually.at_once),
    ),
    questions=tuple(
        Question(first=first, second=second, idea=f"{title}, against {against}")
        for second, against in (("ce", "no similarity"), ("one-shot", "one-shot pruning"))
        for first, title in (
            ("cross-correlation", "cross-correlation"),
            ("kl", "KL"),
            ("cosine", "cosine"),
            ("ce", "gradual pruning by cross-entropy"),
        )
        if first != second
    ),
)

RECIPES: Mapping[RecipeName, Recipe] = {
    "prune-then-distill": PRUNE_THEN_DISTILL,
    "epsd": EPSD,
    "sdp": SDP,
}
