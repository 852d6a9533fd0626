"""A teacher with all that its cells share, and how every network of the study is measured.

Comes in: a teacher, a data folder, settings.  Goes out: a ``Bench``; test answers, latencies and
ONNX files of networks.  Knows nothing of pruning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison import Model, compare
from benchmarks.dispatch import Effort
from benchmarks.studies.answers import Answers, answers_of
from benchmarks.studies.peers_records import (
    Latency,
    Network,
    Settings,
    TeacherRecord,
    key_of,
)
from benchmarks.workloads import Workload
from compressor.analysis import analyze
from compressor.data import ImageData, Images, open_data
from compressor.errors import DataError, SurroundingsError
from compressor.evaluation import evaluate, output_size
from compressor.graphs import Graph, export_program
from compressor.loading import Teacher, capture_teacher
from compressor.types import Analysis
from export.descriptions import Description
from export.onnx_files import write_onnx

DATA_SEED = 0  # of the split and of the images that are taken: the same for every cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A teacher with all that its cells share."""

    network: Network
    teacher: Teacher
    graph: Graph
    analysis: Analysis
    data: ImageData
    settings: Settings
    folder: Path

    @property
    def key(self) -> str:
        return key_of(self.settings, self.teacher.source.sha256)

    @property
    def clock(self) -> Callable[[], float]:
        """The processor's seconds, of all threads; the wall's where another device works."""
        return time.process_time if self.settings.device == "cpu" else time.perf_counter

    def placed(self, graph: Graph) -> Graph:
        """A copy on the study's device."""
        moved: Graph = graph.copy().to(self.settings.device)
        return moved


def open_bench(
    network: Network, teacher: Teacher, data: str, settings: Settings, folder: Path
) -> Bench:
    """Capture, analyse, open the data and take the stated number of images from it.

    Raises DataError where there are no labelled test images, or fewer images than stated.
    """
    graph = capture_teacher(teacher)
    opened = open_data(
        data, preprocessing=teacher.preprocessing, outputs=output_size(graph), seed=DATA_SEED
    )
    if opened.test is None or opened.test.labels is None:
        raise DataError(f"{data}: the study needs labelled test images: a test folder of classes")
    few = replace(
        opened,
        train=_take(opened.train, settings.train_images, "training"),
        validation=_take(opened.validation, settings.validation_images, "validation"),
    )
    return Bench(
        network=network,
        teacher=teacher,
        graph=graph,
        analysis=analyze(graph),
        data=few,
        settings=settings,
        folder=folder,
    )


def describe_teacher(bench: Bench) -> TeacherRecord:
    """What the dense network answers and costs; writes its ONNX file."""
    write_file(bench, bench.graph, bench.network.name)
    return TeacherRecord(
        network=bench.network.name,
        key=bench.key,
        sha256=bench.teacher.source.sha256,
        macs=bench.analysis.model.macs,
        params=bench.analysis.model.parameters,
        answers=answers(bench, bench.graph),
    )


def answers(bench: Bench, graph: Graph) -> Answers:
    """Scores the test images once."""
    test = bench.data.test
    assert test is not None
    assert test.labels is not None
    logits = evaluate(bench.placed(graph), test, bench.data.preprocessing)
    return answers_of(np.asarray(logits.argmax(dim=-1) == test.labels))


def timed(bench: Bench, first: Path, second: Path) -> Latency:
    """The second file against the first, batch 1 in ONNX Runtime on the CPU, in turn."""
    workload = Workload(runtime="onnxruntime", threads=bench.settings.threads)
    effort = Effort(seconds=bench.settings.bench_seconds)
    found = compare(
        Model.of_onnx(first), Model.of_onnx(second), workloads=(workload,), effort=effort
    )
    if not found.measured:
        raise SurroundingsError(f"{second.name}: {found.skipped[0].reason}")
    said = found.measured[0].summary
    return Latency(
        speedup=said.speedup.value,
        interval=said.speedup.interval,
        verdict=said.verdict,
        status=said.status,
        noise_floor=said.noise_floor,
    )


def onnx_file(bench: Bench, name: str) -> Path:
    return bench.folder / "onnx" / f"{name}.onnx"


def write_file(bench: Bench, graph: Graph, name: str) -> Path:
    """The graph as an ONNX file of the study folder."""
    facts = Description(architecture=bench.network.name, tool_version="study")
    return write_onnx(export_program(graph), onnx_file(bench, name), facts).path


def _take(images: Images, count: int, what: str) -> Images:
    if count > len(images):
        raise DataError(f"{count} {what} images were asked for and there are {len(images)}")
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(DATA_SEED))[:count]
    labels = images.labels[rows] if images.labels is not None else None
    return Images(pixels=images.pixels[rows], labels=labels)
