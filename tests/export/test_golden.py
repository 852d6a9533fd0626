"""Golden samples on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import FolderError
from export.golden import read_golden, write_golden


def test_they_come_back_with_a_tolerance_for_every_file(tmp_path: Path) -> None:
    inputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    outputs = {"onnx/b.onnx": inputs * 2, "a.onnx": inputs * 3}
    write_golden(tmp_path, inputs, outputs, tolerance=0.1, tolerances={"a.onnx": 0.5})
    found = read_golden(tmp_path)
    assert np.array_equal(found.inputs, inputs)
    assert {file: out.tolist() for file, out in found.outputs.items()} == {
        file: out.tolist() for file, out in outputs.items()
    }
    assert found.tolerances == {"a.onnx": 0.5, "onnx/b.onnx": 0.1}


def test_equal_arrays_have_equal_bytes_in_any_order(tmp_path: Path) -> None:
    one = np.ones((2, 3), np.float32)
    first = write_golden(tmp_path, one, {"a": one, "b": one}).read_bytes()
    assert write_golden(tmp_path, one, {"b": one, "a": one}).read_bytes() == first


def test_what_is_torn_is_refused(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(b"PK torn")
    with pytest.raises(FolderError, match=r"golden\.npz cannot be read"):
        read_golden(tmp_path)
