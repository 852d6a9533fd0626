"""All further measurements in a row, on two small files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import deep
from benchmarks.profilers import open_profiler
from benchmarks.workloads import Workload
from compressor.errors import LoadError, OptionError, SurroundingsError

QUICK = deep.Settings(threads=1, profile_seconds=0.1, energy_seconds=0.1, full_seconds=3.0)


@pytest.mark.slow
def test_every_key_is_there_and_plain(pair: tuple[Path, Path]) -> None:
    stages: list[str] = []
    found = deep.measure(*pair, (3, 8, 8), QUICK, progress=stages.append)
    found = json.loads(json.dumps(found))
    keys = {"layers", "explanation", "cold_start", "memory", "energy", "throughput", "load"}
    assert set(found) == keys
    assert (found["throughput"], found["load"]) == (None, None)
    assert stages == ["where the time goes", "fresh processes", "energy"]
    (layers,) = [one for one in found["layers"] if one["runtime"] == "onnxruntime"]
    assert {"conv1", "conv2", "fc"} <= {one["name"] for one in layers["rows"]}
    (told,) = [one for one in found["explanation"] if one["runtime"] == "onnxruntime"]
    assert "MACs" in told["sentences"][0]
    assert set(found["cold_start"]["warm"]) == {"teacher", "student"}
    assert (found["cold_start"]["cold"] is None) == (found["cold_start"]["cold_reason"] is not None)
    assert (found["memory"]["arena"] is None) == (found["memory"]["reason"] is not None)
    assert (found["energy"]["joules"] is None) == (found["energy"]["reason"] is not None)


@pytest.mark.slow
def test_load_and_throughput_come_on_request(pair: tuple[Path, Path]) -> None:
    settings = replace(QUICK, full=True, slo_ms=50.0)
    found = json.loads(json.dumps(deep.measure(*pair, (3, 8, 8), settings)))
    load, throughput = found["load"], found["throughput"]
    assert len(load["trials"]) == 2 * len(deep.LOADS)
    assert {one["subject"] for one in load["goodput"]} == {"teacher", "student"}
    assert {one["batch"] for one in throughput["batches"]} <= set(deep.BATCHES)
    assert all(one["samples_per_s"] for one in throughput["best_batch"] if one["batch"])


def test_openvino_tells_what_it_refuses_and_not_where_its_source_lies(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    broken = tmp_path / "student.onnx"
    broken.write_bytes(b"no network")
    inputs = np.zeros((1, 3, 8, 8), np.float32)
    workload = Workload(runtime="openvino")
    with pytest.raises(LoadError, match=r"^student\.onnx: OpenVINO refuses the file: ") as told:
        open_profiler(broken, (), inputs, workload, tmp_path / "profile")
    assert "Exception from" not in str(told.value)


def test_limit_without_load_or_below_zero_is_refused() -> None:
    with pytest.raises(OptionError, match="does nothing without --full-benchmark"):
        deep.Settings(threads=1, slo_ms=5.0)
    with pytest.raises(OptionError, match="--slo-ms -1: give milliseconds above 0"):
        deep.Settings(threads=1, full=True, slo_ms=-1.0)


def test_a_fresh_process_that_fails_is_a_reason_without_folders(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **_: object) -> None:
        raise SurroundingsError(f"{path}: a fresh process was not done after 120 s")

    monkeypatch.setattr(deep.starts, "start", fail)
    found = deep.fresh_or_reason(pair, (3, 8, 8), Workload(runtime="onnxruntime"), QUICK)
    assert found["cold_start"] is None
    assert found["memory"]["reason"].endswith("a fresh process was not done after 120 s")
    assert str(pair[0].parent) not in found["memory"]["reason"]
