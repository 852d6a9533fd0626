"""Names of precisions, and options that no file would heed."""

from __future__ import annotations

import pytest

from compressor.errors import OptionError
from export.precisions import (
    BF16,
    FP16,
    FP32,
    INT8,
    inputs_of,
    network_of,
    precisions_of,
    wanted_of,
)


def test_fp32_is_always_made_and_first_and_each_once() -> None:
    assert precisions_of(["int8", "fp16", "int8"]) == (FP32, FP16, INT8)
    assert precisions_of(["fp32"]) == (FP32,)


@pytest.mark.parametrize("precision", [FP32, FP16, BF16, INT8], ids=lambda one: one.name)
def test_a_file_is_of_its_network(precision: object) -> None:
    assert isinstance(precision, type(FP32))
    assert network_of(precision.file("teacher")) == "teacher"
    assert precision.file("student") == (
        "onnx/student.onnx" if precision == FP32 else f"onnx/student-{precision.name}.onnx"
    )


@pytest.mark.parametrize(
    ("precision", "calibration", "max_drop", "said"),
    [
        ("fp8", None, None, "--precision fp8: not one of fp32, fp16, bf16, int8"),
        ("fp32,", None, None, "--precision : not one of"),
        ("int8", "mean", None, "--calibration mean: not one of minmax, entropy, percentile"),
        ("fp16", "entropy", None, "--calibration entropy is for int8"),
        ("fp32", None, 2.0, "--max-drop 2 is for what others lose"),
        ("int8", None, -1.0, "--max-drop -1: give points"),
        ("int8", None, float("nan"), "--max-drop nan: give points"),
    ],
)
def test_what_cannot_be_met_is_refused(
    precision: str, calibration: str | None, max_drop: float | None, said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        wanted_of(precision, calibration, max_drop)


def test_a_run_depends_on_what_its_files_depend_on() -> None:
    assert inputs_of(wanted_of("fp32", None, None)) == {}
    assert inputs_of(wanted_of("fp16", None, None)).keys() == {"precisions", "max_drop"}
    assert inputs_of(wanted_of("int8", "entropy", None))["calibration"] == "entropy"
