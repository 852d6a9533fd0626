"""An ONNX file that ONNX Runtime has no kernels for, run by something that has.

Comes in: a file.  Goes out: a callable, and the name of what it runs in: OpenVINO where it is
installed, else ONNX's own reference, in numpy and slow.  Knows nothing of torch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import InputError
from export.prediction import Array, Run, portions


def open_evaluator(path: Path) -> tuple[Run, str]:
    """The callable takes the file's inputs, in its order, and gives its outputs in float32."""
    if importlib.util.find_spec("openvino") is not None:
        return open_openvino(path), "openvino"
    return _in_reference(path), "onnx reference"


def open_openvino(path: Path) -> Run:
    """Raises InputError where OpenVINO cannot run the file.

    A file whose batch is fixed gets that many samples at a time.
    """
    import openvino

    try:
        # On some processors it would choose bf16 by itself.
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled: Any = openvino.Core().compile_model(path, "CPU", hint)
        batch = compiled.inputs[0].partial_shape[0]
    except (RuntimeError, IndexError) as error:
        raise _refusal(path, error) from error

    def run(inputs: tuple[Array, ...]) -> list[Array]:
        step = batch.get_length() if batch.is_static else len(inputs[0])
        try:
            parts = [
                [np.array(one) for one in compiled(list(part)).values()]
                for part in portions(inputs, step)
            ]
        except RuntimeError as error:
            raise _refusal(path, error) from error
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    return run


def _refusal(path: Path, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(f"{path.name}: OpenVINO cannot run it: {lines[-1]}")


def _in_reference(path: Path) -> Run:
    from onnx.reference import ReferenceEvaluator

    reference = ReferenceEvaluator(str(path))
    names = list(reference.input_names)

    def run(inputs: tuple[Array, ...]) -> list[Array]:
        found = reference.run(None, dict(zip(names, inputs, strict=True)))
        return [np.asarray(one) for one in found]

    return run
