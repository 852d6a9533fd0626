"""An ONNX file that ONNX Runtime has no kernels for, run by something that has.

Comes in: a file.  Goes out: a callable, and the name of what it runs in: OpenVINO where it is
installed, else ONNX's own reference, in numpy and slow.  Knows nothing of torch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from export.prediction import Array, Run


def open_evaluator(path: Path) -> tuple[Run, str]:
    """The callable takes the file's inputs, in its order, and gives its outputs in float32."""
    if importlib.util.find_spec("openvino") is not None:
        return _in_openvino(path), "openvino"
    return _in_reference(path), "onnx reference"


def _in_openvino(path: Path) -> Run:
    import openvino

    # Said, as it is otherwise chosen by what the processor can do.
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", hint)

    def run(inputs: tuple[Array, ...]) -> list[Array]:
        return [np.array(one) for one in compiled(list(inputs)).values()]

    return run


def _in_reference(path: Path) -> Run:
    from onnx.reference import ReferenceEvaluator

    reference = ReferenceEvaluator(str(path))
    names = list(reference.input_names)

    def run(inputs: tuple[Array, ...]) -> list[Array]:
        found = reference.run(None, dict(zip(names, inputs, strict=True)))
        return [np.asarray(one) for one in found]

    return run
