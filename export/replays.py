"""Golden inputs run again, in every runtime that is installed here.

Comes in: an ONNX file, inputs, the outputs it gave when it was written.  Goes out: how far each
runtime is from them; runtimes that are not here, by name and reason.  Knows nothing of torch and of
hashes.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from compressor.errors import InputError, first_line
from export.evaluators import open_openvino
from export.prediction import Array, open_session, relative_error, run_session


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """``answer`` gives every output of a file for inputs (samples, ...).

    It raises InputError where the runtime cannot run the file.
    """

    name: str
    answer: Callable[[Path, Array], list[Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One file run on the golden inputs in one runtime; errors are the largest of any output."""

    file: str
    runtime: str
    samples: int
    max_abs_error: float
    max_relative_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.max_relative_error <= self.tolerance


def find_runtimes() -> tuple[tuple[Runtime, ...], tuple[str, ...]]:
    """Runtimes that are here, the one that gave the golden answers first; a line for each other."""
    found = [REFERENCE]
    absent = []
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        found.append(Runtime(name="ONNX Runtime CUDA", answer=_answer_onnxruntime_cuda))
    else:
        absent.append("ONNX Runtime CUDA: not in the onnxruntime installed here (extra gpu)")
    absent.append("ONNX Runtime TensorRT: it chooses reduced precision (TF32) by itself")
    try:
        importlib.metadata.version("openvino")
        found.append(Runtime(name="OpenVINO CPU", answer=_answer_openvino))
    except importlib.metadata.PackageNotFoundError:
        absent.append("OpenVINO CPU: openvino is not installed (extra openvino)")
    return tuple(found), tuple(absent)


def replay(
    path: Path,
    file: str,
    inputs: Array,
    expected: Sequence[Array],
    tolerance: float,
    runtime: Runtime,
) -> Replay:
    """Run ``path`` in ``runtime`` and compare with the outputs ``expected``.  Raises InputError."""
    try:
        got = runtime.answer(path, inputs)
        if len(got) != len(expected):
            raise InputError(f"{len(got)} outputs, golden ones are given for {len(expected)}")
        errors = [_error_of(*pair) for pair in zip(expected, got, strict=True)]
    except InputError:
        raise
    except Exception as problem:  # runtimes have errors of their own for inputs that do not fit
        told = first_line(problem)[:200]
        raise InputError(f"it does not take the golden inputs ({told})") from problem
    return Replay(
        file=file,
        runtime=runtime.name,
        samples=len(inputs),
        max_abs_error=max(error for error, _ in errors),
        max_relative_error=max(relative for _, relative in errors),
        tolerance=tolerance,
    )


def _error_of(expected: Array, got: Array) -> tuple[float, float]:
    """Of one output, absolute and relative: outputs of one network may differ much in size."""
    return relative_error(expected, got, float(np.abs(expected).max(initial=0.0)))


def _answer_onnxruntime(path: Path, inputs: Array) -> list[Array]:
    return run_session(open_session(path), (inputs,))


REFERENCE = Runtime(name="ONNX Runtime CPU", answer=_answer_onnxruntime)


def _answer_onnxruntime_cuda(path: Path, inputs: Array) -> list[Array]:
    # TF32 keeps 10 bits of the fraction: other answers than those of fp32.
    session = open_session(path, provider="CUDAExecutionProvider", settings={"use_tf32": "0"})
    return run_session(session, (inputs,))


def _answer_openvino(path: Path, inputs: Array) -> list[Array]:
    return open_openvino(path)((inputs,))
