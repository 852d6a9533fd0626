"""Which tensors of a lower precision lost most, by name.

Comes in: the fp32 file, the file made from it, a few inputs.  Goes out: ``TensorLoss`` values, the
worst first, a bounded number.  Knows nothing of accuracy.

int8: what rounding a tensor itself costs decides, as the error that comes in with its inputs grows
with depth and names the last layer every time.  Halves round everything alike, so there the error
that a tensor carries does.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.qdq_loss_debug import (
    collect_activations,
    create_activation_matching,
    create_weight_matching,
    modify_model_output_intermediate_tensors,
)
from onnxruntime.quantization.quant_utils import QUANT_INPUT_SUFFIX

from export.calibration import Batch, Feed, input_names, is_large
from export.deployables import TensorLoss
from export.prediction import Array

MOST = 5  # tensors named
INPUTS = 2  # samples looked at: every activation of both files is in memory


def worst_quantised(source: Path, quantised: Path, batch: Batch) -> tuple[TensorLoss, ...]:
    """Activations and weights of an int8 file by what their own rounding costs."""
    operators, levels = _operators(source), _levels(quantised)
    with _quiet():
        matched = create_activation_matching(
            _activations(quantised, batch), _activations(source, batch)
        )
        weights = create_weight_matching(str(source), str(quantised))
    found = []
    for name, one in matched.items():
        if "float" in one and name in levels:
            wanted = one["float"]
            # Not the tensor as it comes in the int8 file: there it may lie before a ReLU that
            # the rounding itself carries out.
            own = _error(wanted, [levels[name].round(part) for part in wanted])
            found.append(_loss(name, operators, own, _error(wanted, one["post_qdq"])))
    for name, one in weights.items():
        own = _error([one["float"]], [one["dequantized"]])
        found.append(_loss(name, operators, own, None))
    return _worst(found, lambda one: one.own_error)


def worst_halved(source: Path, twin: Path, batch: Batch) -> tuple[TensorLoss, ...]:
    """Activations by the error they carry; ``twin`` is the half file with rounded results."""
    operators = _operators(source)
    with _quiet():
        wanted, got = _activations(source, batch), _activations(twin, batch)
    found = [
        _loss(name, operators, None, _error(wanted[name], got[name]))
        for name in wanted.keys() & got.keys()
    ]
    return _worst(found, lambda one: one.relative_error)


def _activations(path: Path, batch: Batch) -> dict[str, list[Array]]:
    """Every float tensor of a file, flat, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "augmented.onnx")
        modify_model_output_intermediate_tensors(
            str(path), place, save_as_external_data=is_large(path)
        )
        few = tuple(one[:INPUTS] for one in batch)
        found: dict[str, list[Array]] = collect_activations(place, Feed(input_names(path), few))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Levels:
    """What the values of a tensor are rounded to."""

    scale: Array
    zero_point: Array

    def round(self, values: Array) -> Array:
        span, zero = np.iinfo(self.zero_point.dtype), self.zero_point.astype(np.int64)
        steps = np.clip(np.rint(values / self.scale) + zero, span.min, span.max)
        return (steps - zero) * self.scale


def _levels(quantised: Path) -> Mapping[str, _Levels]:
    """By activation, under its name in the fp32 file."""
    graph = onnx.load(str(quantised)).graph
    held = {one.name: one for one in graph.initializer}
    return {
        node.input[0].removesuffix(QUANT_INPUT_SUFFIX): _Levels(
            scale=onnx.numpy_helper.to_array(held[node.input[1]]),
            zero_point=onnx.numpy_helper.to_array(held[node.input[2]]),
        )
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }


def _operators(path: Path) -> Mapping[str, str]:
    """By tensor, the operator that gives it; of a weight or an input, one that takes it."""
    nodes = onnx.load(str(path), load_external_data=False).graph.node
    found = {name: node.op_type for node in reversed(nodes) for name in node.input}
    return found | {name: node.op_type for node in nodes for name in node.output}


def _error(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    """Norm of the difference over the norm of what was wanted; infinite where one is no number."""
    one = np.concatenate([part.ravel() for part in wanted]).astype(np.float64)
    other = np.concatenate([part.ravel() for part in got]).astype(np.float64)
    norm = float(np.linalg.norm(one))
    distance = float(np.linalg.norm(one - other))
    if not math.isfinite(distance):
        return math.inf
    return distance / norm if norm else 0.0


def _loss(
    name: str, operators: Mapping[str, str], own: float | None, carried: float | None
) -> TensorLoss:
    def said(error: float | None) -> float | None:
        return None if error is None or math.isinf(error) else error

    return TensorLoss(
        tensor=name,
        operator=operators.get(name, "unknown"),
        own_error=said(own),
        relative_error=said(carried),
        finite=not any(one is not None and math.isinf(one) for one in (own, carried)),
    )


def _worst(
    found: Iterable[TensorLoss], error: Callable[[TensorLoss], float | None]
) -> tuple[TensorLoss, ...]:
    def order(one: TensorLoss) -> tuple[bool, float, str]:
        return one.finite, -(error(one) or 0.0), one.tensor

    return tuple(sorted(found, key=order)[:MOST])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's lines about weights that have another name in the other file."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
