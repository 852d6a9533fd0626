"""Golden samples on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import FolderError
from export.golden import read_golden, write_golden


def test_they_come_back_with_a_tolerance_for_every_file(tmp_path: Path) -> None:
    inputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    outputs = {"onnx/b.onnx": [inputs * 2], "a.onnx": [inputs * 3, inputs * 4, inputs[:, 0]]}
    write_golden(tmp_path, inputs, outputs, tolerance=0.1, tolerances={"a.onnx": 0.5})
    found = read_golden(tmp_path)
    assert np.array_equal(found.inputs, inputs)
    assert {file: [one.tolist() for one in given] for file, given in found.outputs.items()} == {
        file: [one.tolist() for one in given] for file, given in outputs.items()
    }
    with np.load(tmp_path / "golden.npz") as held:
        assert "output/a.onnx/2" in held.files
    assert found.tolerances == {"a.onnx": 0.5, "onnx/b.onnx": 0.1}


def test_equal_arrays_have_equal_bytes_in_any_order(tmp_path: Path) -> None:
    one = np.ones((2, 3), np.float32)
    first = write_golden(tmp_path, one, {"a": [one], "b": [one]}).read_bytes()
    assert write_golden(tmp_path, one, {"b": [one], "a": [one]}).read_bytes() == first


@pytest.mark.parametrize("keys", [["output/a.onnx/1"], ["output/a.onnx", "output/a.onnx/2"]])
def test_an_output_without_those_before_it_is_refused(keys: list[str], tmp_path: Path) -> None:
    one = np.ones((2, 3), np.float32)
    held = {"input": one, "tolerance": np.asarray(0.1)} | dict.fromkeys(keys, one)
    np.savez(tmp_path / "golden.npz", **held)
    with pytest.raises(FolderError, match=r"golden\.npz cannot be read"):
        read_golden(tmp_path)


def test_what_is_torn_is_refused(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(b"PK torn")
    with pytest.raises(FolderError, match=r"golden\.npz cannot be read"):
        read_golden(tmp_path)
