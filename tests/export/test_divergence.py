"""The tensors that lose most are those that were made to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from export.calibration import Batch, minmax
from export.descriptions import Description
from export.divergence import MOST, worst_tensors
from export.half import FLOAT16, round_results, to_half
from export.onnx_files import save_onnx
from export.quantisation import Integers, to_int8

PLAIN = Description(architecture="tests:net", tool_version="0")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight layers; what the fourth gives is all small but one channel, a thousand times larger."""
    weights, text = [], []
    generator = np.random.default_rng(0)
    for layer in range(8):
        weight = generator.normal(size=(16, 16)).astype(np.float32) / 4
        if layer == 3:
            weight[:, 0] *= 1000
        if layer == 4:
            weight[0] /= 1000
        weights.append(onnx.numpy_helper.from_array(weight, f"weight_{layer}"))
        value = "input" if layer == 0 else f"value_{layer - 1}"
        gives = "logits" if layer == 7 else f"value_{layer}"
        text.append(f"{gives} = MatMul({value}, weight_{layer})")
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> '
        f"net (float[batch, 16] input) => (float[batch, 16] logits) {{ {' '.join(text)} }}"
    )
    model.graph.initializer.extend(weights)
    for place, node in enumerate(model.graph.node):
        node.name = f"node_{place}"
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


@pytest.fixture
def batch() -> Batch:
    return (np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32),)


def test_int8_names_where_an_outlier_costs_its_neighbours_and_not_the_last_layer(
    source: Path, batch: Batch, tmp_path: Path
) -> None:
    """One channel decides the steps of value_3; value_4 is made of the others."""
    model = to_int8(source, minmax, [batch], Integers(unsigned=True, reduce_range=False))
    written = save_onnx(model, tmp_path / "int8.onnx", PLAIN)
    losses = worst_tensors(source, written.path, batch)
    assert 1 <= len(losses) <= MOST
    assert (losses[0].tensor, losses[0].operator) == ("value_4", "MatMul")
    assert (losses[0].added or 0) > 10 * (losses[1].added or 0)


def test_halves_name_where_it_became_infinite_first(
    source: Path, batch: Batch, tmp_path: Path
) -> None:
    half = to_half(ir.load(source), FLOAT16, {}).model
    round_results(half)
    ir.save(half, tmp_path / "twin.onnx")
    with np.errstate(all="ignore"):
        losses = worst_tensors(source, tmp_path / "twin.onnx", (batch[0] * 300,))
    assert (losses[0].tensor, losses[0].finite, losses[0].added) == ("value_4", False, None)
    finite = worst_tensors(source, tmp_path / "twin.onnx", batch)
    assert all(loss.finite and (loss.relative_error or 1) < 0.02 for loss in finite)


def test_equal_files_have_no_worst_tensors(source: Path, batch: Batch) -> None:
    assert worst_tensors(source, source, batch) == ()
