"""What the cells of a study say: means over seeds, and paired differences of arms.

Comes in: cells.  Goes out: numbers with intervals, and the word for each.  Knows nothing of torch
or pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.studies.answers import Difference, difference
from benchmarks.studies.recipes.arms import Question, Recipe
from benchmarks.studies.recipes.records import Cell, Settings

EQUAL = 0.005  # of the dense network's parameters
WORDS = {1: "favourable", 0: "cannot be told from nothing", -1: "**unfavourable**"}
ONE_SEED = "one seed: cannot be told"  # whatever the test images say


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that a folder holds of one study."""

    recipe: Recipe
    settings: Settings
    cells: tuple[Cell, ...]

    @property
    def dense_params(self) -> int:
        """Parameters of the dense network."""
        return max((cell.dense_params for cell in self.cells), default=1)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({cell.seed for cell in self.cells}))

    def whole(self, arm: str) -> tuple[Cell, ...]:
        """The cells of an arm that came to their end, by seed."""
        found = (cell for cell in self.cells if cell.arm == arm and not cell.failed)
        return tuple(sorted(found, key=lambda cell: cell.seed))

    @property
    def students(self) -> tuple[Cell, ...]:
        arms = {arm.name for arm in self.recipe.arms if not arm.teacher}
        return tuple(cell for cell in self.cells if cell.arm in arms and not cell.failed)

    @property
    def apart(self) -> float:
        """The most by which students of one seed differ, as a share of the dense parameters."""
        by_seed = [[c.params for c in self.students if c.seed == seed] for seed in self.seeds]
        gaps = [max(params) - min(params) for params in by_seed if params]
        return max(gaps, default=0) / max(1, self.dense_params)

    @property
    def passes(self) -> tuple[float, float]:
        """Fewest and most passes of any student."""
        found = [cell.passes for cell in self.students] or [0.0]
        return min(found), max(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question with its paired difference over the seeds that both arms have."""

    question: Question
    by_seed: tuple[float, ...]
    top1: Difference

    @property
    def word(self) -> str:
        return WORDS[self.top1.sign] if len(self.by_seed) > 1 else ONE_SEED


def answered(results: Results) -> tuple[Answer, ...]:
    """Every question of the recipe of which both arms have a seed in common."""
    found = []
    for question in results.recipe.questions:
        pairs = paired(results, question)
        if pairs:
            top1 = difference([a.last.right for a, _ in pairs], [b.last.right for _, b in pairs])
            by_seed = tuple(a.last.top1 - b.last.top1 for a, b in pairs)
            found.append(Answer(question=question, by_seed=by_seed, top1=top1))
    return tuple(found)


def paired(results: Results, question: Question) -> list[tuple[Cell, Cell]]:
    """The cells of both arms, seed by seed."""
    second = {cell.seed: cell for cell in results.whole(question.second)}
    return [
        (cell, second[cell.seed]) for cell in results.whole(question.first) if cell.seed in second
    ]


def mean_and_spread(values: Sequence[float]) -> str:
    """Of shares, in points: "61.2 ± 0.8"; of one seed the value alone."""
    mean = f"{100 * float(np.mean(values)):.1f}"
    return f"{mean} \u00b1 {100 * float(np.std(values, ddof=1)):.1f}" if len(values) > 1 else mean


def in_points(values: Sequence[float]) -> str:
    """Of shares: "+1.20, -0.30"."""
    return ", ".join(f"{100 * one:+.2f}" for one in values)


def word_by_seed(values: Sequence[float]) -> str:
    """Of differences without an interval: what the signs of all seeds say."""
    if len(values) < 2:
        return ONE_SEED
    if min(values) > 0:
        return "favourable in every seed"
    return "**unfavourable in every seed**" if max(values) < 0 else "not of one sign"


def mean(cells: Sequence[Cell], of: Callable[[Cell], float]) -> float:
    return float(np.mean([of(cell) for cell in cells]))
