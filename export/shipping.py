"""Teacher and student become the files of a run folder, each checked after it was written.

Comes in: two graphs, real inputs, facts about the network.  Goes out: ``Deployable`` entries; on
disk ``onnx/*.onnx``, ``student.pt2`` and golden samples.  Knows nothing of plans, training or
clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressor.data import Images, batches
from compressor.errors import ParityError
from compressor.graphs import Graph, export_program
from compressor.types import Preprocessing
from export.deployables import Deployable, Metrics
from export.descriptions import Description
from export.onnx_files import write_onnx
from export.parity import check_parity
from export.prediction import Array, accuracy, predict, predict_batches
from export.programs import write_program
from export.verification import write_golden

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
) -> tuple[Deployable, ...]:
    """Write and check an ONNX file of each, ``student.pt2`` and golden answers to some samples.

    ``samples`` (n, channels, height, width) are preprocessed real inputs for parity.  Raises
    ParityError where a file answers otherwise than its graph; that file is not left behind.
    """
    found, answers = [], {}
    for subject in (teacher, student):
        program = export_program(subject.graph)
        if subject is student:
            write_program(program, folder / "student.pt2")
        path = folder / "onnx" / f"{subject.name}.onnx"
        written = write_onnx(program, path, subject.description, opset=opset)
        try:
            parity = check_parity(path, subject.graph, samples, threads=threads)
        except ParityError:
            path.unlink()
            raise
        file = path.relative_to(folder).as_posix()
        answers[file] = predict(path, samples[:GOLDEN_SAMPLES].numpy(), threads=threads)
        found.append(
            Deployable(
                file=file,
                precision="fp32",
                bytes=written.bytes,
                sha256=written.sha256,
                opset=written.opset,
                parity=parity,
            )
        )
    write_golden(folder, samples[:GOLDEN_SAMPLES].numpy(), answers)
    return tuple(found)


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
