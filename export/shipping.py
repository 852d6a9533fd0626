"""Teacher and student become the files of a run folder, each checked after it was written.

Comes in: two graphs, real inputs, facts about the network.  Goes out: ``Deployable`` entries; on
disk ``onnx/*.onnx``, ``student.pt2`` and golden samples.  Knows nothing of plans, training or
clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from compressor.data import Images, batches
from compressor.errors import ParityError
from compressor.graphs import Graph, export_program
from compressor.types import Preprocessing
from export.deployables import Deployable, Metrics
from export.descriptions import Description
from export.golden import write_golden
from export.onnx_files import write_onnx
from export.parity import check_parity
from export.prediction import Array, accuracy, predict, predict_batches
from export.programs import write_program
from export.twins import write_twin

GOLDEN_SAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One network to ship: its graph and what its file says about itself."""

    name: str  # "teacher" or "student"
    graph: Graph
    description: Description


def ship(
    folder: Path,
    teacher: Subject,
    student: Subject,
    samples: Tensor,
    *,
    opset: int | None = None,
    threads: int = 0,
    static_batch: bool = False,
) -> tuple[Deployable, ...]:
    """Write and check an ONNX file of each, ``student.pt2`` and golden answers to some samples.

    ``samples`` (n, channels, height, width) are preprocessed real inputs for parity;
    ``static_batch``: the student also gets a twin whose batch is 1.  Raises ParityError where a
    file answers otherwise than its graph; that file is not left behind.
    """
    program = export_program(teacher.graph)
    found = list(ship_onnx(folder, teacher, program, samples, opset, threads))
    program = export_program(student.graph)
    write_program(program, folder / "student.pt2")
    found += ship_onnx(folder, student, program, samples, opset, threads, static_batch)
    golden = samples[:GOLDEN_SAMPLES].numpy()
    write_golden(folder, golden, answers(folder, found, golden, threads))
    return tuple(found)


def ship_onnx(
    folder: Path,
    subject: Subject,
    program: ExportedProgram,
    samples: Tensor,
    opset: int | None = None,
    threads: int = 0,
    static_batch: bool = False,
) -> tuple[Deployable, ...]:
    """Write and check ``onnx/<name>.onnx`` and, if wanted, its twin.  Raises as ``ship`` does."""
    path = folder / "onnx" / f"{subject.name}.onnx"
    written = [write_onnx(program, path, subject.description, opset=opset)]
    if static_batch:
        written.append(write_twin(path))
    found = []
    for one in written:
        try:
            parity = check_parity(one.path, subject.graph, samples, threads=threads)
        except ParityError:
            one.path.unlink()
            one.path.with_name(f"{one.path.name}.data").unlink(missing_ok=True)
            raise
        found.append(
            Deployable(
                file=one.path.relative_to(folder).as_posix(),
                precision="fp32",
                bytes=one.bytes,
                sha256=one.sha256,
                opset=one.opset,
                parity=parity,
            )
        )
    return tuple(found)


def answers(
    folder: Path, files: Sequence[Deployable], inputs: Array, threads: int = 0
) -> dict[str, Array]:
    """What each file answers to golden ``inputs`` (samples, ...)."""
    return {one.file: predict(folder / one.file, inputs, threads=threads) for one in files}


def measure_accuracy(
    path: Path, images: Images, preprocessing: Preprocessing, *, threads: int = 0
) -> Metrics | None:
    """Top-1 of the file itself in ONNX Runtime; None without labels."""
    if images.labels is None:
        return None

    def inputs() -> Iterator[Array]:
        for pixels, _ in batches(images, preprocessing, 32):
            yield pixels.numpy()

    with torch.no_grad():
        logits = predict_batches(path, inputs(), threads=threads)
    return Metrics(top1=accuracy(logits, np.asarray(images.labels)))
