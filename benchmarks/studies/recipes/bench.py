"""What all cells of a study share, and what all cells of a seed do.

Comes in: settings, a data folder.  Goes out: a ``Bench`` (the network's graph, its analysis, the
images) and ``Ground``, a bench with a seed and its teachers.  Knows nothing of which arms there
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.studies.answers import Answers, answers_of
from benchmarks.studies.recipes.images import open_images
from benchmarks.studies.recipes.records import Point, Settings, network_file
from compressor.analysis import analyze
from compressor.data import ImageData
from compressor.errors import DataError
from compressor.evaluation import evaluate
from compressor.execution import Site, Standing, follow
from compressor.files import replacing
from compressor.folders import first_picture_size, list_images, parts_of
from compressor.graphs import Graph
from compressor.judging import Judge, Stage
from compressor.loading import Teacher, capture_teacher, fresh_start, untrained
from compressor.pacing import Epochs
from compressor.phases import Phase
from compressor.samples import sample_of
from compressor.sparsity import WeightMask
from compressor.types import Analysis, Budget, Plan
from compressor.watching import Silent, Stopwatch

STUDENT_SEEDS = 1000  # a student's fresh weights are not those that its teacher began with


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A network with fresh weights and the images of its study."""

    teacher: Teacher  # untrained
    graph: Graph
    analysis: Analysis
    data: ImageData
    settings: Settings
    folder: Path

    def answers(self, graph: Graph) -> Answers:
        """Scores the held-out images once."""
        test = self.data.test
        assert test is not None
        assert test.labels is not None
        placed = graph.copy().to(self.settings.device)
        logits = evaluate(placed, test, self.data.preprocessing)
        return answers_of(np.asarray(logits.argmax(dim=-1) == test.labels))


def open_bench(settings: Settings, data: Path, folder: Path) -> Bench:
    """Raises DataError where the images are not as stated."""
    pool = parts_of(data).get("train", data)
    classes = list_images(pool).classes
    if len(classes) < 2:
        raise DataError(f"{data}: the study needs a folder of pictures for each of 2 classes")
    teacher = untrained(
        settings.architecture, classes=len(classes), data_size=first_picture_size(pool)
    )
    graph = capture_teacher(teacher)
    return Bench(
        teacher=teacher,
        graph=graph,
        analysis=analyze(graph),
        data=open_images(
            data,
            teacher.preprocessing,
            train_images=settings.train_images,
            test_images=settings.test_images,
        ),
        settings=settings,
        folder=folder,
    )


class Recorder(Judge):
    """Writes down which held-out images every network of a cell has right."""

    def __init__(self, bench: Bench) -> None:
        self.stages: dict[str, Answers] = {}
        self._bench = bench

    def stage(self, name: str, student: Graph) -> Stage:
        self.stages[name] = self._bench.answers(student)
        return Stage(name=name, metrics={"top1": self.stages[name].top1}, agreement=None)


class Unscored(Judge):
    """For networks on the way, whose test answers nobody asks for."""

    def __init__(self) -> None:
        """Needs no images."""

    def stage(self, name: str, student: Graph) -> Stage:
        return Stage(name=name, metrics=None, agreement=None)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A bench with a seed.  The seed decides all fresh weights, the sample and the order."""

    bench: Bench
    seed: int

    @property
    def settings(self) -> Settings:
        return self.bench.settings

    @property
    def budget(self) -> Budget:
        return Budget(sparsity=self.settings.sparsity, multiple_of=1)

    def fresh(self, seed: int) -> Graph:
        return fresh_start(self.bench.teacher, self.bench.graph, seed)

    def site(self, dense: Graph, judge: Judge) -> Site:
        bench = self.bench
        return Site(
            graph=dense,
            fresh=partial(self.fresh, STUDENT_SEEDS + self.seed),
            analysis=bench.analysis,
            data=bench.data,
            sample=tuple(sample_of(bench.data, self.settings.sample, self.seed)),
            budget=self.budget,
            seed=self.seed,
            device=self.settings.device,
            judge=judge,
            listener=Silent(),
            watch=Stopwatch(),
        )

    def follow(
        self, phases: Sequence[Phase], site: Site, epochs: int, standing: Standing
    ) -> Standing:
        """Carry out phases of ``epochs`` passes, the last of them; whatever was done before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # dropout draws from torch's own generator
            return follow(phases, site, Epochs(epochs), replace(standing, done=0, phases=()))

    def keep(self, arm: str, graph: Graph, mask: WeightMask | None = None) -> None:
        """Write down a teacher's values, for this call and later ones."""
        values = {"tensors": dict(graph.tensors), "mask": dict(mask or {})}
        path = network_file(self.bench.folder, self.settings, self.seed, arm)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as place, torch.no_grad():
            torch.save({k: {n: t.detach() for n, t in v.items()} for k, v in values.items()}, place)

    def taken(self, arm: str) -> tuple[Graph, WeightMask]:
        """A teacher that was kept, and its living weights."""
        path = network_file(self.bench.folder, self.settings, self.seed, arm)
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        graph = self.bench.graph.copy()
        with torch.no_grad():
            for name, tensor in graph.tensors.items():
                tensor.copy_(values["tensors"][name])
        return graph, values["mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A network of an arm, its answers by stage the last one being its own.

    ``plan`` None: it has the dense network's shapes.
    """

    judge: Recorder
    passes: float
    plan: Plan | None = None
    curve: tuple[Point, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)
    note: str = ""


def passes_of(standing: Standing) -> float:
    """Passes over the training images that the phases of a standing say."""
    found = 0.0
    for phase in standing.phases:
        found += float(phase.get("epochs", 0.0))
        found += sum(float(each["epochs"]) for each in phase.get("rounds", ()))
    return found
