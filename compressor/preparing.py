"""Preparing: all that a run knows before anything is removed.

Comes in: a teacher, the name of data.  Goes out: the captured graph and its analysis, then the data
and a sample of it: what the analysis alone refuses is refused before pictures are synthesised.
Nothing is written, no weight is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from compressor.analysis import analyze
from compressor.data import ImageData, open_data
from compressor.errors import OptionError
from compressor.evaluation import class_count, output_size, placed, require_finite, takes_pictures
from compressor.graphs import Graph
from compressor.inversion import synthesise
from compressor.keeping import KEEP_NOTHING, Keeper, Snapshot
from compressor.loading import Teacher, capture_teacher
from compressor.samples import sample_of, usual_sample
from compressor.scoring import Batch
from compressor.types import Analysis
from compressor.watching import Listener, Stopwatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Studied:
    graph: Graph
    analysis: Analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    data: ImageData
    sample: tuple[Batch, ...]  # of training images, for scoring and repair


def study(teacher: Teacher, *, listener: Listener, watch: Stopwatch) -> Studied:
    """Capture and analyse.

    Raises CaptureError, OptionError for what is no classifier of pictures.
    """
    with watch.timed("capture"):
        listener.stage("capture")
        graph = capture_teacher(teacher)
    _require_classifier(graph, teacher.source.name)
    for note in graph.notes:
        listener.note(note)
    with watch.timed("analysis"):
        listener.stage("analyze")
        return Studied(graph=graph, analysis=analyze(graph))


def prepare(
    teacher: Teacher,
    studied: Studied,
    data: str,
    test: str | None,
    *,
    sample: int | None,
    seed: int,
    device: str,
    listener: Listener,
    watch: Stopwatch,
    keeper: Keeper = KEEP_NOTHING,
) -> Prepared:
    """Open the data; without any, synthesise pictures of a trained teacher's, which the ``keeper``
    keeps: the rest takes seconds.

    Raises DataError and OptionError as its stages do, LoadError for a trained teacher whose answers
    are no numbers.
    """
    graph = studied.graph
    with watch.timed("data"):
        listener.stage("data")
        opened = open_data(
            data,
            test=test,
            preprocessing=teacher.preprocessing,
            outputs=output_size(graph),
            seed=seed,
        )
    for note in opened.notes:
        listener.note(note)
    if data == "synthetic" and teacher.source.trained:
        opened = _synthesised(opened, studied, seed, device, listener, watch, keeper)
    seen = tuple(sample_of(opened, sample or usual_sample(opened), seed))
    if teacher.source.trained:
        require_finite(placed(graph, device), seen[0][0], teacher.source.name)
    return Prepared(data=opened, sample=seen)


def _require_classifier(graph: Graph, name: str) -> None:
    """Pictures go in, and classes are chosen from what comes out: of the picture, or of its places.

    Raises OptionError.
    """
    otherwise = "in Python, capture, analyze, plan, remove and prove take any network"
    if not takes_pictures(graph):
        shapes = ", ".join(str(tuple(one.shape)) for one in graph.example_inputs)
        raise OptionError(f"{name}: takes {shapes}, not one batch of pictures; {otherwise}")
    classes = class_count(graph)
    if classes is None or classes < 2:
        raise OptionError(
            f"{name}: its (first) output is no choice among classes, which is what students are "
            f"trained and judged by here; {otherwise}"
        )


def _synthesised(
    opened: ImageData,
    studied: Studied,
    seed: int,
    device: str,
    listener: Listener,
    watch: Stopwatch,
    keeper: Keeper,
) -> ImageData:
    """Pictures of the teacher's own in place of procedural ones, where it has any."""
    found = keeper.find()
    if found is not None:
        return replace(
            opened,
            train=replace(opened.train, pixels=found.tensors["train"]),
            validation=replace(opened.validation, pixels=found.tensors["validation"]),
            foremost=found.facts["foremost"],
            notes=(*opened.notes, found.facts["note"]),
        )
    with watch.timed("synthesis"):
        listener.stage("synthesise pictures")
        made = synthesise(
            opened,
            placed(studied.graph, device),
            studied.analysis.model.macs,
            torch.Generator().manual_seed(seed),
            listener.working,
        )
    listener.note(made.notes[-1])
    pixels = {"train": made.train.pixels, "validation": made.validation.pixels}
    told = {"foremost": made.foremost, "note": made.notes[-1]}
    keeper.keep(Snapshot(tensors=pixels, facts=told))
    return made
