"""Every runtime and precision explained: the pieces are the whole, and hardly a kernel is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import explanations
from benchmarks.attribution import Explanation, explain
from benchmarks.explanations import explain_all, explanation_of
from benchmarks.profiles import Profile, profile
from benchmarks.workloads import file_workload
from tests.benchmarks.lowered_files import NETWORKS, PRECISIONS, SHAPES, write_pair

CLOCK_S = 2e-6  # OpenVINO's counters are whole microseconds: a kernel may take none
MOST_UNPLACED = 0.01  # of the kernels' time
WIDTHS = (32, 12)
MULTIPLY = {
    "residual": {"stem", "one", "two", "fc"},
    "depthwise": {"stem", "each", "down", "up", "last", "fc"},
    "heads": {"in", "one", "two"},
}


def check(found: Explanation, profiles: tuple[Profile, Profile], kind: str) -> None:
    """The laws of an explanation, whatever the runtime did to the files."""
    assert sum(one.seconds for one in found.pieces) == pytest.approx(found.missing_s, abs=1e-9)
    for side, one in zip(("teacher", "student"), profiles, strict=True):
        parts = [part for layer in found.layers if (part := getattr(layer, side))]
        unplaced = getattr(found, f"{side}_unplaced_s")
        placed = sum(part.seconds for part in parts)
        assert placed + unplaced == pytest.approx(one.kernels_s, abs=1e-9)
        assert unplaced <= MOST_UNPLACED * one.kernels_s
        assert sum(part.macs for part in parts) == one.macs > 0
    alone = [
        one.name
        for one in found.layers
        if not (one.teacher and one.student)
        and sum(part.seconds for part in (one.teacher, one.student) if part) > CLOCK_S
    ]
    assert alone == []
    assert {one.name for one in found.layers if one.teacher and one.teacher.macs} == MULTIPLY[kind]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("runtime", explanations.PROFILED)
def test_pieces_are_the_whole_and_every_kernel_has_its_layer(
    runtime: str, kind: str, precision: str, tmp_path: Path
) -> None:
    if (runtime, precision) == ("onnxruntime", "bf16"):
        pytest.skip("ONNX Runtime has no kernels of bfloat16 on the CPU")
    if runtime == "openvino":
        pytest.importorskip("openvino")
    pair = write_pair(tmp_path, kind, precision, WIDTHS)
    inputs = np.ones((1, *SHAPES[kind]), np.float32)
    workload = file_workload(runtime, precision)
    reason = explanations.reason_against(workload)
    if reason is not None:
        pytest.skip(reason)
    profiles = profile(*pair, inputs, workload=workload, seconds=0.02)
    found = explain(*profiles)
    check(found, profiles, kind)
    told = explanations.explanation_row(found, workload)
    assert told["precision"] == workload.facts["precision"]
    assert sum(one["ms"] for one in told["causes"]) == pytest.approx(told["missing_ms"], abs=1e-6)


def test_integers_run_in_integers_and_the_rest_is_told(tmp_path: Path) -> None:
    """A depthwise network keeps float32 islands: their conversions run on their own."""
    pair = write_pair(tmp_path, "depthwise", "int8", WIDTHS)
    inputs = np.ones((1, 3, 8, 8), np.float32)
    found = explanation_of(pair, inputs, file_workload("onnxruntime", "int8"), 0.02, 0)
    assert isinstance(found, Explanation)
    assert dict(found.types.student)["int8"] >= 5
    kinds = {one.kind: (one.teacher, one.student) for one in found.conversions}
    assert kinds["QuantizeLinear"][0] == kinds["QuantizeLinear"][1] >= 2  # the input, the gate
    assert kinds["DequantizeLinear"][0] >= 1
    assert all(one.student_s > 0 for one in found.conversions)


def test_halves_without_kernels_are_said_to_run_in_float32(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "residual", "fp16", WIDTHS)
    found = explain_all({"fp16": pair}, (3, 8, 8), threads=1, seconds=0.02)
    (told,) = [one for one in found["explanation"] if one["runtime"] == "onnxruntime"]
    assert told["precision"] == "float16"
    assert told["sentences"][0].startswith("ONNX Runtime, batch 1, float16, 1 thread: MACs")
    if "float16" not in told["types"]["student"]:  # as on x86
        assert any("None computes in float16" in one for one in told["sentences"])


def test_entries_are_for_every_runtime_and_precision_in_order(tmp_path: Path) -> None:
    pairs = {one: write_pair(tmp_path, "heads", one, WIDTHS) for one in ("fp32", "bf16", "int8")}
    found = json.loads(json.dumps(explain_all(pairs, (12,), threads=1, seconds=0.1)))
    told = [(one["runtime"], one["precision"]) for one in found["explanation"]]
    assert told == [
        (runtime, precision)
        for runtime in explanations.PROFILED
        for precision in ("float32", "bfloat16", "int8")
    ]
    refused = found["explanation"][1]
    assert "student-bf16.onnx" in refused["reason"] or "teacher-bf16.onnx" in refused["reason"]
    assert str(tmp_path) not in refused["reason"]
    explained = [one for one in found["explanation"] if "reason" not in one]
    assert len(found["layers"]) == len(explained)


def test_runtime_that_is_absent_is_an_entry_with_a_reason(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanations, "PROFILED", ("absent_runtime",))
    found = explain_all({"fp32": pair}, (3, 8, 8), threads=1, seconds=0.1)
    assert found["layers"] == []
    assert "not installed" in found["explanation"][0]["reason"]


def test_file_that_a_runtime_refuses_is_an_entry_with_a_reason(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "student.onnx"
    broken.write_bytes(b"no network")
    found = explain_all({"fp32": (pair[0], broken)}, (3, 8, 8), threads=1, seconds=0.1)
    assert found["layers"] == []
    assert [one["runtime"] for one in found["explanation"]] == ["onnxruntime", "openvino"]
    for one in found["explanation"]:
        assert "student.onnx" in one["reason"] or "not installed" in one["reason"]
        assert str(tmp_path) not in one["reason"]
