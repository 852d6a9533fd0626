"""Judging: every network of a run measured on the same images, beside the teacher's answers.

Comes in: graphs, data.  Goes out: ``Measured`` values and ``Stage`` entries of the report.  Knows
nothing of phases or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from compressor.data import ImageData
from compressor.evaluation import accuracy, agreement, evaluate, placed
from compressor.graphs import Graph
from compressor.keeping import KEEP_NOTHING, Keeper, Snapshot
from compressor.samples import evaluation_images
from compressor.watching import Stopwatch

CLEARLY = 3.0  # standard errors above chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A network's answers on the evaluation images, as shares."""

    metrics: dict[str, float] | None  # None: no labels, or answers that mean nothing
    agreement: float | None  # None: the teacher's answers mean nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A network of the run after one of its stages: removed, repaired, distilled."""

    name: str
    metrics: dict[str, float] | None
    agreement: float | None


class Judge:
    """Measures students; with a teacher that is not ``trained`` there is nothing to agree with.

    ``keeper``: of the teacher's answers, which are asked for once.
    """

    def __init__(
        self,
        graph: Graph,
        data: ImageData,
        device: str,
        watch: Stopwatch,
        *,
        trained: bool = True,
        keeper: Keeper = KEEP_NOTHING,
    ) -> None:
        self._images = evaluation_images(data)
        self._preprocessing = data.preprocessing
        self._watch = watch
        self._device = device
        self._answers = self._kept_answers(graph, keeper) if trained else None
        self.teacher = Measured(metrics=None, agreement=None)
        if self._answers is not None:
            self.teacher = self._measured(self._answers)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is suspicious about the teacher: answers that are hardly better than by chance."""
        labels, answers = self._images.labels, self._answers
        if self.teacher.metrics is None or labels is None or answers is None:
            return ()
        reached, chance, count = self.teacher.metrics["top1"], 1 / answers.shape[1], len(labels)
        if reached > chance + CLEARLY * math.sqrt(chance * (1 - chance) / count):
            return ()
        return (
            f"the teacher is right on {reached:.1%} of {count} images, with {answers.shape[1]} "
            "classes hardly more than by chance: look at --mean, --std, --image-size and the order "
            "of the classes",
        )

    def stage(self, name: str, student: Graph) -> Stage:
        found = self._measured(self._answer(student))
        return Stage(name=name, metrics=found.metrics, agreement=found.agreement)

    def _kept_answers(self, graph: Graph, keeper: Keeper) -> Tensor:
        found = keeper.find()
        if found is None:
            found = Snapshot(tensors={"answers": self._answer(graph)})
            keeper.keep(found)
        return found.tensors["answers"]

    def _answer(self, graph: Graph) -> Tensor:
        with self._watch.timed("evaluation"):
            there = placed(graph, self._device)
            return evaluate(there, self._images, self._preprocessing, 64)

    def _measured(self, answers: Tensor) -> Measured:
        labels = self._images.labels
        known = labels is not None and answers.ndim == 2
        return Measured(
            metrics={"top1": accuracy(answers, labels)} if known and labels is not None else None,
            agreement=None if self._answers is None else agreement(answers, self._answers),
        )
