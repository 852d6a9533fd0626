"""At which tensors the error of a lower precision enters, by name.

Comes in: the fp32 file, the file made from it, a few inputs.  Goes out: ``TensorLoss`` values, the
worst first, a bounded number.  Knows nothing of accuracy.

The error that a tensor carries grows with depth and would name the last layer every time; what
counts is how much more it is than that of the operator's inputs.  Weights have their share in it:
that of the operator which takes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.qdq_loss_debug import (
    collect_activations,
    modify_model_output_intermediate_tensors,
)
from onnxruntime.quantization.quant_utils import DEQUANT_OUTPUT_SUFFIX

from compressor.files import scratch_folder
from export.calibration import Batch, Feed, input_names, is_large
from export.deployables import TensorLoss
from export.prediction import Array

MOST = 5  # tensors named
INPUTS = 2  # samples looked at: every activation of both files is in memory


def worst_tensors(source: Path, lowered: Path, batch: Batch) -> tuple[TensorLoss, ...]:
    """The tensors of ``source`` at which most error enters in ``lowered``.

    A half file comes with rounded results (``half.round_results``).  What it has under another
    name, or not at all, is looked through.
    """
    wanted, got = _activations(source, batch), _activations(lowered, batch)
    # What a quantised tensor's readers see is its rounded form; under its own name it is as it was
    # before, and before a ReLU that the rounding carries out.
    seen = {name: got.get(name + DEQUANT_OUTPUT_SUFFIX, got.get(name)) for name in wanted}
    errors = {name: _error(wanted[name], one) for name, one in seen.items() if one is not None}
    nodes = onnx.load(str(source), load_external_data=False).graph.node
    entering: dict[str, float] = {}  # by tensor, the largest error among what it is made of
    losses = []
    for node in nodes:
        known = [errors.get(name, entering.get(name, 0.0)) for name in node.input]
        for name in node.output:
            entering[name] = max(known, default=0.0)
            if name in errors:
                losses.append(_loss(name, node.op_type, errors[name], entering[name]))

    def order(one: TensorLoss) -> tuple[bool, float, str]:
        return one.finite, -(one.added or 0.0), one.tensor

    return tuple(sorted((one for one in losses if one is not None), key=order)[:MOST])


def _loss(name: str, operator: str, error: float, entering: float) -> TensorLoss | None:
    """None where nothing is added, as behind what is not finite already."""
    if math.isinf(entering) or error <= entering:
        return None
    finite = math.isfinite(error)
    return TensorLoss(
        tensor=name,
        operator=operator,
        relative_error=error if finite else None,
        added=error - entering if finite else None,
        finite=finite,
    )


def _activations(path: Path, batch: Batch) -> Mapping[str, Sequence[Array]]:
    """Every float tensor of a file, flat, by its name."""
    with scratch_folder() as folder:
        place = str(folder / "augmented.onnx")
        modify_model_output_intermediate_tensors(
            str(path), place, save_as_external_data=is_large(path)
        )
        few = tuple(one[:INPUTS] for one in batch)
        found: Mapping[str, Sequence[Array]] = collect_activations(
            place, Feed(input_names(path), few)
        )
        return found


def _error(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    """Norm of the difference over the norm of what was wanted; infinite where one is no number."""
    one = np.concatenate([part.ravel() for part in wanted]).astype(np.float64)
    other = np.concatenate([part.ravel() for part in got]).astype(np.float64)
    norm = float(np.linalg.norm(one))
    distance = float(np.linalg.norm(one - other))
    if not math.isfinite(distance):
        return math.inf
    return distance / norm if norm else 0.0
