"""Tiny models through ONNX Runtime and torch: rows, raw samples, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.comparison import compare, decode_samples, row, skipped_row, write_samples
from benchmarks.runtimes import OnnxRuntimeCpu, TorchEager, runtime_for
from benchmarks.workloads import Workload, usual_workloads
from compressor.errors import LoadError, OptionError


def write_linear(path: Path, width: int) -> Path:
    weight = np.ones((width, 4), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_linear(tmp_path / "teacher.onnx", 8)


def test_comparison_gives_rows_and_raw_samples_for_both_runtimes(
    file: Path, tmp_path: Path
) -> None:
    module = torch.nn.Linear(8, 4).train()
    found = compare(
        file, file, module, module, (8,), workloads=usual_workloads(1, (2,)), seconds_each=0.15
    )
    places = [(one.workload.runtime, one.workload.device) for one in found.measured]
    assert places[:2] == [("onnxruntime", "cpu"), ("torch", "cpu")]
    assert len(found.measured) + len(found.skipped) == 3
    assert module.training
    paths = write_samples(found, tmp_path / "run" / "benchmarks")
    assert [path.name for path in paths][:2] == ["onnxruntime-b2.json", "torch-b2.json"]
    assert decode_samples(paths[0].read_bytes()) == found.measured[0].measurement.samples
    entry = json.loads(json.dumps(row(found.measured[0])))
    needed = {"runtime", "device", "precision", "batch", "threads", "teacher", "student"}
    assert needed | {"speedup", "interval", "verdict"} <= entry.keys()
    assert {"median_ms", "p90_ms", "p99_ms", "throughput_per_s"} <= entry["teacher"].keys()
    assert entry["samples"] == "benchmarks/onnxruntime-b2.json"


def test_missing_form_of_a_model_is_skipped_with_the_reason(file: Path) -> None:
    found = compare(file, file, None, None, (8,), workloads=(Workload(runtime="torch"),))
    assert found.measured == ()
    assert "not at hand" in skipped_row(found.skipped[0])["reason"]


def test_uninstalled_runtime_is_skipped_with_the_reason(file: Path) -> None:
    found = compare(file, file, None, None, (8,), workloads=(Workload(runtime="absent_runtime"),))
    assert "not installed" in found.skipped[0].reason


def test_unknown_device_is_refused() -> None:
    with pytest.raises(OptionError, match="no runtime onnxruntime on tpu"):
        runtime_for(Workload(runtime="onnxruntime", device="tpu"))


def test_missing_or_broken_onnx_file_is_refused_in_one_line(tmp_path: Path) -> None:
    runtime = OnnxRuntimeCpu(threads=1)
    with pytest.raises(LoadError, match="no such ONNX file"):
        runtime.prepare(tmp_path / "absent.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(LoadError, match="ONNX Runtime refuses") as caught:
        runtime.prepare(broken)
    assert "\n" not in str(caught.value)


def test_torch_runtime_puts_the_threads_back_and_leaves_the_module_alone() -> None:
    before, module = torch.get_num_threads(), torch.nn.Dropout(0.5).train()
    runtime = TorchEager(threads=1)
    with runtime.settings():
        assert torch.get_num_threads() == 1
        call = runtime.prepare(module)
        inputs = runtime.place(np.ones((2, 3), np.float32))
        assert torch.equal(call(inputs), inputs)
        assert call(inputs).is_inference()
    assert torch.get_num_threads() == before
    assert module.training


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_torch_runtime_on_cuda_returns_after_the_work_is_done() -> None:
    runtime = TorchEager(threads=1, device="cuda")
    with runtime.settings():
        call = runtime.prepare(torch.nn.Linear(8, 4))
        assert call(runtime.place(np.ones((2, 8), np.float32))).is_cuda


def test_workload_names_leave_out_what_is_usual() -> None:
    assert Workload(runtime="torch", batch=32).name == "torch-b32"
    assert Workload(runtime="torch", device="cuda", precision="bfloat16").name == (
        "torch-cuda-bfloat16-b1"
    )
