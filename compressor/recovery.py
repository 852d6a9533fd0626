"""Recovery: what a cut student gets back, measured on the way.

Comes in: the teacher's graph, the student just proved, data, a recipe.  Goes out: the trained
student and a ``Trail`` of what was done and measured.  Knows nothing of run folders or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch import Tensor

from compressor.data import ImageData, Images, augmentation_for, batches
from compressor.distillation import Distilled, default_objective, distill
from compressor.evaluation import accuracy, agreement, evaluate
from compressor.features import stage_nodes
from compressor.graphs import Graph
from compressor.objectives import Objective, with_features
from compressor.optimisation import REPAIRED_NORMED, REPAIRED_PLAIN, fitting_settings
from compressor.pacing import Deadline, Epochs
from compressor.recipes import Distill, Prune, Recipe
from compressor.refitting import choose_repair
from compressor.scoring import Batch
from compressor.watching import Listener, Stopwatch

LARGE_IMAGE = 96  # pixels of a side from which on fewer images are used where few are enough
PRUNING_STAGES = ("plan", "removal", "proof", "repair")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A network's answers on the evaluation images, as shares."""

    metrics: dict[str, float] | None  # None: no labels
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The student after a stage: removed, repaired, distilled."""

    name: str
    metrics: dict[str, float] | None
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What recovery did and measured on the way.  ``phases`` are entries of ``report.json``."""

    teacher: Measured
    stages: tuple[Stage, ...]
    phases: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def recover(
    graph: Graph,
    cut: Graph,
    data: ImageData,
    sample: Sequence[Batch],
    recipe: Recipe,
    *,
    length: Deadline | Epochs | None,
    seed: int,
    device: str,
    listener: Listener,
    watch: Stopwatch,
) -> tuple[Graph, Trail]:
    """Repair the student just ``cut`` from ``graph`` on the ``sample`` of the training images, then
    carry out the training phases; none where ``length`` is None.
    """
    judge = Judge(graph, data, device, watch)
    stages = [judge.stage("removed", cut)]
    with watch.timed("repair"):
        listener.stage("repair")
        placed = graph if device == "cpu" else graph.copy().to(device)
        seen = (given.to(device) for given, _ in sample)
        repaired = choose_repair(cut.copy().to(device), placed, seen, listener.working)
        student = _on_cpu(repaired.graph)
    listener.note(repaired.note)
    stages.append(judge.stage("repaired", student))
    phases: list[dict[str, Any]] = []
    notes: list[str] = [repaired.note]
    for phase in recipe.phases:
        if isinstance(phase, Prune):
            phases.append(_pruned(phase, stages[-1], watch))
        elif length is None:
            notes.append("no training was asked for: the student is as it was repaired")
        else:
            listener.stage("distill")
            with watch.timed("training"):
                found = _train(phase, student, graph, data, length, seed, device, listener)
            student = _on_cpu(found.graph)
            stages.append(judge.stage("distilled", student))
            phases.append(_distilled(phase, stages[-1], found))
            notes.extend(found.notes)
    return student, Trail(
        teacher=judge.teacher, stages=tuple(stages), phases=tuple(phases), notes=tuple(notes)
    )


def _pruned(phase: Prune, stage: Stage, watch: Stopwatch) -> dict[str, Any]:
    seconds = sum(watch.seconds.get(name, 0.0) for name in PRUNING_STAGES)
    return {"name": phase.name, "metrics": stage.metrics or {}, "seconds": round(seconds, 3)}


def _distilled(phase: Distill, stage: Stage, found: Distilled) -> dict[str, Any]:
    return {
        "name": phase.name,
        "metrics": stage.metrics or {},
        "seconds": round(found.seconds, 3),
        "epochs": round(found.epochs, 2),
        "images_per_s": round(found.images_per_s, 1),
        "validation": msgspec.to_builtins(found.history),
    }


def _train(
    phase: Distill,
    student: Graph,
    graph: Graph,
    data: ImageData,
    length: Deadline | Epochs,
    seed: int,
    device: str,
    listener: Listener,
) -> Distilled:
    objective: Objective | None = None
    observed = stage_nodes(student) if phase.feature_weight > 0 else ()
    if observed:
        logits = default_objective(labelled=_labelled(data), taught=True)
        objective = with_features(logits, weight=phase.feature_weight)
    return distill(
        student,
        graph,
        data,
        length=length,
        objective=objective,
        observed=observed,
        optimisation=fitting_settings(student, normed=REPAIRED_NORMED, plain=REPAIRED_PLAIN),
        generator=torch.Generator().manual_seed(seed),
        augment=augmentation_for(data),
        device=device,
        progress=listener.training,
    )


class Judge:
    """Measures students on the same images, against the teacher's answers there."""

    def __init__(self, graph: Graph, data: ImageData, device: str, watch: Stopwatch) -> None:
        self._images = evaluation_images(data)
        self._preprocessing = data.preprocessing
        self._watch = watch
        self._device = device
        self._answers = self._answer(graph)
        self.teacher = self._measured(self._answers)

    def stage(self, name: str, student: Graph) -> Stage:
        found = self._measured(self._answer(student))
        return Stage(name=name, metrics=found.metrics, agreement=found.agreement)

    def _answer(self, graph: Graph) -> Tensor:
        with self._watch.timed("evaluation"):
            placed = graph if self._device == "cpu" else graph.copy().to(self._device)
            return evaluate(placed, self._images, self._preprocessing, 64)

    def _measured(self, answers: Tensor) -> Measured:
        labels = self._images.labels
        known = labels is not None and answers.ndim == 2
        return Measured(
            metrics={"top1": accuracy(answers, labels)} if known and labels is not None else None,
            agreement=agreement(answers, self._answers),
        )


def evaluation_images(data: ImageData) -> Images:
    """The test images; without any, the validation images, of which only agreement is told."""
    return data.test if data.test is not None else data.validation


def sample_of(data: ImageData, count: int, seed: int) -> list[Batch]:
    """Training images without augmentation, the same for scoring and for repair.

    Drawn, not the first: folders list their classes one after the other; the foremost before the
    others.  Without labels where training may not use them.  (ResNet-56, half of the MACs gone,
    training images: repaired on 48 synthesised pictures and 80 procedural ones 78.7 %, on the 48
    alone 75.4 %, among 976 procedural ones 77.6 %, on 128 procedural ones 71.7 %.)
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(data.train), generator=generator)
    first = drawn < data.foremost
    taken = torch.cat([drawn[first], drawn[~first]])[:count]
    order = taken[torch.randperm(len(taken), generator=generator)] if data.foremost else taken
    labels = data.train.labels[order] if _labelled(data) and data.train.labels is not None else None
    images = Images(pixels=data.train.pixels[order], labels=labels)
    size = 16 if max(data.preprocessing.crop) >= LARGE_IMAGE else 64
    return list(batches(images, data.preprocessing, size))


def usual_sample(data: ImageData) -> int:
    """How many images scoring and repair look at where nobody says it."""
    return 128 if max(data.preprocessing.crop) >= LARGE_IMAGE else 1024


def _labelled(data: ImageData) -> bool:
    return data.train_with_labels and data.train.labels is not None


def _on_cpu(graph: Graph) -> Graph:
    moved: Graph = graph.to("cpu")
    return moved
