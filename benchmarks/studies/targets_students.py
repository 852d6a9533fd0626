"""One network on one target: its staircases, its students, their files, and how fast these are.

Comes in: a ``Network``, a ``Target``, settings, the study's folder.  Goes out: ``Student`` and
``Timing`` records, and ONNX files.  Weights are random and untrained, groups are cut alike as far
as the target does not want otherwise: nothing here says what a student answers.  Knows nothing of
which cells there are, or of pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.comparison import Model, compare
from benchmarks.dispatch import Effort
from benchmarks.probe.choices import Chosen, choose_for
from benchmarks.probe.targets import Target
from benchmarks.studies.peers_records import Latency
from benchmarks.studies.targets_records import (
    DENSE,
    Network,
    Settings,
    Student,
    Timing,
    WayName,
    onnx_file,
)
from benchmarks.studies.targets_torch_pruning import cut_rounded
from compressor.analysis import analyze
from compressor.errors import SurroundingsError
from compressor.graphs import Graph, capture, export_program
from compressor.loading import Teacher, capture_teacher, untrained
from compressor.planning import plan_uniform
from compressor.removal import remove
from compressor.scoring import magnitude, score
from compressor.types import Analysis, Budget, Scores
from export.descriptions import Description
from export.onnx_files import write_onnx

MULTIPLE = 8
CALIBRATION = 4  # random inputs: time does not hang on ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network, captured once for all targets."""

    teacher: Teacher
    graph: Graph
    analysis: Analysis
    scores: Scores


def open_subject(network: Network, seed: int) -> Subject:
    teacher = untrained(network.architecture, seed=seed, image_size=network.size)
    graph = capture_teacher(teacher)
    analysis = analyze(graph)
    scores = score(graph, analysis, magnitude)
    return Subject(teacher=teacher, graph=graph, analysis=analysis, scores=scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which cells: a network on a target, and where their results lie.  ``key``: of the records."""

    network: Network
    target: Target
    settings: Settings
    folder: Path
    key: str

    def file(self, way: str) -> Path:
        return onnx_file(self.folder, self.network.name, self.target.name, way)


class Ground:
    """A place with its network, opened when it is first needed, and its staircases."""

    def __init__(self, place: Place, opened: Callable[[], Subject]) -> None:
        self.place = place
        self.subject = opened()

    @cached_property
    def chosen(self) -> Chosen:
        """Staircases, measured first where they are not known."""
        return choose_for(
            self.subject.graph,
            self.subject.analysis,
            self.place.target,
            minutes=self.place.settings.probe_minutes,
            announce=lambda text: print(text, flush=True),
        )


def make_student(ground: Ground, way: WayName) -> Student:
    """Cut the network, write its file, and say what its widths let expect."""
    subject, place = ground.subject, ground.place
    if way == "torch-pruning":
        assert subject.teacher.module is not None
        made = cut_rounded(
            subject.teacher.module,
            subject.graph,
            subject.analysis,
            place.settings.sparsity,
            ignored=place.network.ignored,
        )
        plan = made.plan
        student = capture(made.module.eval(), subject.graph.example_inputs)
    else:
        budget = Budget(place.settings.sparsity, "macs", multiple_of=MULTIPLE)
        expectation = ground.chosen.expectation() if way == "target" else None
        plan = plan_uniform(subject.analysis, subject.scores, budget, expectation)
        student = remove(subject.graph, subject.analysis, plan)
    _write(place, student, way)
    return Student(
        network=place.network.name,
        target=place.target.name,
        way=way,
        key=place.key,
        gone=1 - analyze(student).model.macs / subject.analysis.model.macs,
        expected=ground.chosen.expectation().speedup(plan),
        widths=tuple(group.width for group in plan.groups),
        warnings=plan.warnings,
    )


def time_pair(ground: Ground, first: str, second: str) -> Timing:
    """``first`` as the student, ``second`` in the teacher's place, in turn."""
    place = ground.place
    if DENSE in (first, second) and not place.file(DENSE).is_file():
        _write(place, ground.subject.graph, DENSE)
    found = compare(
        Model.of_onnx(place.file(second)),
        Model.of_onnx(place.file(first)),
        workloads=(place.target.workload,),
        effort=Effort(seconds=place.settings.seconds, seed=place.settings.seed),
    )
    if not found.measured:
        raise SurroundingsError(f"{first} beside {second}: {found.skipped[0].reason}")
    said = found.measured[0].summary
    return Timing(
        network=place.network.name,
        target=place.target.name,
        first=first,
        second=second,
        key=place.key,
        latency=Latency(
            speedup=said.speedup.value,
            interval=said.speedup.interval,
            verdict=said.verdict,
            status=said.status,
            noise_floor=said.noise_floor,
        ),
    )


def _write(place: Place, graph: Graph, way: str) -> None:
    facts = Description(architecture=place.network.name, tool_version="study")
    path = place.file(way)
    write_onnx(export_program(graph), path, facts)
    if place.target.precision == "int8":
        quantise(path, tuple(graph.example_inputs[0].shape[1:]))


def quantise(path: Path, shape: tuple[int, ...]) -> None:
    """The file in eight bits in its own place: static, per channel, calibrated on random inputs."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    quantize_static(
        str(path),
        str(path),
        _RandomInputs(shape),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


class _RandomInputs:
    """What ONNX Runtime's quantiser reads from."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._batches = _batches(shape)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _batches(shape: tuple[int, ...]) -> Iterator[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    for _ in range(CALIBRATION):
        yield {"input": generator.standard_normal((1, *shape), dtype=np.float32)}
