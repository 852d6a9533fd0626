"""Teacher and student become the files of a run folder, each checked after it was written.

Comes in: two graphs, real inputs, facts about the network, precisions.  Goes out: ``Deployable``
entries; on disk ``onnx/*.onnx``, ``student.pt2`` and golden samples.  Knows nothing of plans,
training or clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressor.data import Images, batches
from compressor.errors import OptionError, ParityError
from compressor.graphs import Graph, export_program
from compressor.types import Preprocessing
from export.advice import advise
from export.deployables import Deployable
from export.descriptions import Description
from export.lowering import Examples, lower
from export.onnx_files import write_onnx
from export.parity import check_parity
from export.precisions import FP32, Precision
from export.prediction import Array, predict
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
    precisions: Sequence[Precision] = (FP32,),
    examples: Examples | None = None,
    opset: int | None = None,
    threads: int = 0,
) -> tuple[Deployable, ...]:
    """Write and check ONNX files of each, ``student.pt2`` and golden answers to some samples.

    The teacher comes in every precision too, as a benchmark compares like with like; fp32 is always
    made, and first.  ``samples`` (n, channels, height, width) are preprocessed real inputs for
    parity, ``examples`` those that lower precisions are fitted to.  Raises ParityError where a file
    answers otherwise than its graph; that file is not left behind.
    """
    lower_ones = [precision for precision in precisions if precision != FP32]
    if lower_ones and examples is None:
        raise OptionError(f"{lower_ones[0].name} needs examples of the network's inputs; give some")
    golden = samples[:GOLDEN_SAMPLES]
    found: list[Deployable] = []
    answers: dict[str, Array] = {}
    tolerances: dict[str, float] = {}
    for subject in (teacher, student):
        program = export_program(subject.graph)
        if subject is student:
            write_program(program, folder / "student.pt2")
        path = folder / FP32.file(subject.name)
        written = write_onnx(program, path, subject.description, opset=opset)
        try:
            parity = check_parity(path, subject.graph, samples, threads=threads)
        except ParityError:
            path.unlink()
            raise
        file = path.relative_to(folder).as_posix()
        answers[file] = predict(path, golden.numpy(), threads=threads)
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
        for precision in lower_ones:
            assert examples is not None
            lowered = lower(
                path,
                folder,
                precision.file(subject.name),
                precision,
                subject.description,
                examples,
                subject.graph,
                samples,
                golden,
                opset=opset,
                threads=threads,
            )
            found.append(lowered.deployable)
            if lowered.answers is not None:
                answers[lowered.deployable.file] = lowered.answers
                tolerances[lowered.deployable.file] = lowered.tolerance
    write_golden(folder, golden.numpy(), answers, tolerances=tolerances)
    return tuple(found)


def measure(
    folder: Path,
    files: Sequence[Deployable],
    images: Images,
    preprocessing: Preprocessing,
    samples: Tensor,
    *,
    max_drop: float,
    threads: int = 0,
) -> tuple[Deployable, ...]:
    """The files with what they can do on ``images``, and which of them are advised (``advise``)."""

    def inputs() -> Iterator[Array]:
        for pixels, _ in batches(images, preprocessing, 32):
            yield pixels.numpy()

    labels = None if images.labels is None else np.asarray(images.labels)
    with torch.no_grad():
        return advise(
            folder, files, inputs, labels, samples.numpy(), max_drop=max_drop, threads=threads
        )
