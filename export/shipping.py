"""Teacher and student become the files of a run folder, each checked after it was written.

Comes in: two graphs, real inputs, facts about the network, precisions.  Goes out: ``Deployable``
entries; on disk ``onnx/*.onnx``, ``student.pt2`` and golden samples.  Knows nothing of plans,
training or clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.export import ExportedProgram

from compressor.data import Images, batches
from compressor.errors import OptionError, ParityError
from compressor.graphs import Graph, export_program
from compressor.types import Preprocessing
from export.advice import advise
from export.deployables import Deployable
from export.descriptions import Description
from export.golden import write_golden
from export.lowering import Examples, lower
from export.onnx_files import write_onnx
from export.parity import check_parity
from export.precisions import FP32, Precision
from export.prediction import Array, open_run
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
    precisions: Sequence[Precision] = (FP32,),
    examples: Examples | None = None,
    opset: int | None = None,
    threads: int = 0,
    static_batch: bool = False,
) -> tuple[Deployable, ...]:
    """Write and check ONNX files of each, ``student.pt2`` and golden answers to some samples.

    The teacher comes in every precision too, as a benchmark compares like with like; fp32 is always
    made, and first.  ``samples`` (n, channels, height, width) are preprocessed real inputs for
    parity, ``examples`` those that lower precisions are fitted to; ``static_batch``: the student
    also gets a twin whose batch is 1.  Raises ParityError where a file answers otherwise than its
    graph; that file is not left behind.
    """
    lower_ones = tuple(precision for precision in precisions if precision != FP32)
    if lower_ones and examples is None:
        raise OptionError(f"{lower_ones[0].name} needs examples of the network's inputs; give some")
    program = export_program(teacher.graph)
    found = list(ship_onnx(folder, teacher, program, samples, opset, threads))
    program = export_program(student.graph)
    write_program(program, folder / "student.pt2")
    found += ship_onnx(folder, student, program, samples, opset, threads, static_batch)
    tolerances = {}
    for subject, precision in product((teacher, student), lower_ones):
        assert examples is not None
        lowered = lower(
            folder,
            subject.name,
            precision,
            subject.description,
            examples,
            subject.graph,
            samples,
            opset=opset,
            threads=threads,
        )
        found.append(lowered.deployable)
        tolerances[lowered.deployable.file] = lowered.tolerance
    golden = samples[:GOLDEN_SAMPLES].numpy()
    runnable = [one for one in found if one.not_runnable is None]
    known = answers(folder, runnable, golden, threads)
    own = {file: tolerances[file] for file in known if file in tolerances}
    write_golden(folder, golden, known, tolerances=own)
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
    path = folder / FP32.file(subject.name)
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
                precision=FP32.name,
                bytes=one.bytes,
                sha256=one.sha256,
                opset=one.opset,
                parity=parity,
            )
        )
    return tuple(found)


def answers(
    folder: Path, files: Sequence[Deployable], inputs: Array, threads: int = 0
) -> dict[str, list[Array]]:
    """Every output of each file for golden ``inputs`` (samples, ...)."""
    return {one.file: open_run(folder / one.file, threads=threads)((inputs,)) for one in files}


def output_sizes(graph: Graph) -> list[tuple[int, ...]]:
    """Of each output of a network, after its batch."""
    (output,) = graph.program.graph.find_nodes(op="output")
    shapes = [node.meta.get("shape") for node in output.all_input_nodes]
    return [tuple(shape[1:]) for shape in shapes if isinstance(shape, tuple)]


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
    return advise(
        folder, files, inputs, labels, samples.numpy(), max_drop=max_drop, threads=threads
    )
