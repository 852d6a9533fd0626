"""Ranges of activations by three methods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.calibrate import TensorsData

from compressor.errors import InputError
from export.calibration import METHODS, Batch, largest_values, minmax, percentile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["": 20]>
    net (float[batch, 50] input) => (float[batch, 50] logits)
    { positive = Relu(input)
      logits = Add(positive, positive) }
    """)
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


@pytest.fixture
def batches() -> list[Batch]:
    """400,000 values around 0, one of them far off."""
    values = np.random.default_rng(0).normal(size=(4, 2000, 50)).astype(np.float32)
    values[2, 3, 4] = 60
    return [(batch,) for batch in values]


def ends(found: TensorsData) -> tuple[float, float]:
    low, high = found["logits"].range_value
    return np.asarray(low).item(), np.asarray(high).item()


def test_minmax_is_the_extremes_of_all_batches(path: Path, batches: list[Batch]) -> None:
    low, high = ends(minmax(path, batches))
    everything = np.concatenate([batch for (batch,) in batches])
    assert (low, high) == (0.0, 120.0)
    found = largest_values(path, batches)
    assert found["input"] == pytest.approx(float(np.abs(everything).max()))


def test_entropy_and_percentile_leave_the_outlier_out(path: Path, batches: list[Batch]) -> None:
    high = {name: ends(method(path, batches))[1] for name, method in METHODS.items()}
    assert high["minmax"] == 120
    assert 2 < high["entropy"] < 60
    assert 2 < high["percentile"] < 60


def test_a_method_sees_one_batch_at_a_time(path: Path, batches: list[Batch]) -> None:
    def stream() -> Iterator[Batch]:
        yield from batches

    for method in METHODS.values():
        assert ends(method(path, stream())) == pytest.approx(ends(method(path, batches)))


def test_no_input_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="at least one input"):
        minmax(path, [])


def test_nothing_is_printed(
    path: Path, batches: list[Batch], capfd: pytest.CaptureFixture[str]
) -> None:
    percentile(path, batches)
    assert capfd.readouterr() == ("", "")
