"""Each runtime that is here, on a tiny model; refusals; nothing that falls back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.runtimes import (
    CudaGraphs,
    OnnxRuntimeCpu,
    OnnxRuntimeGpu,
    OpenVinoCpu,
    TorchCompiled,
    TorchEager,
    form_of,
    known_runtimes,
    runtime_for,
    unavailable,
)
from benchmarks.runtimes.onnx_runtime import CPU, CUDA, require_provider
from benchmarks.workloads import Workload
from compressor.errors import LoadError, OptionError, SurroundingsError
from tests.benchmarks.small_files import write_linear

ROWS = np.arange(16, dtype=np.float32).reshape(2, 8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_linear(tmp_path / "model.onnx", 8)


def test_onnx_runtime_runs_the_file_and_says_where(file: Path) -> None:
    runtime = OnnxRuntimeCpu(threads=1)
    prepared = runtime.prepare(file)
    expected = np.repeat(ROWS.sum(axis=1, keepdims=True), 4, axis=1)
    (outputs,) = prepared(runtime.place(ROWS))
    (named,) = prepared(runtime.place({"x": ROWS}))
    assert np.array_equal(outputs, expected)
    assert np.array_equal(named, expected)
    assert prepared.ran_by == f"1 nodes by {CPU}"


def test_openvino_runs_in_the_precision_that_was_asked_for(file: Path) -> None:
    pytest.importorskip("openvino")
    runtime = OpenVinoCpu(threads=1)
    prepared = runtime.prepare(file)
    expected = np.repeat(ROWS.sum(axis=1, keepdims=True), 4, axis=1)
    assert np.array_equal(prepared(runtime.place(ROWS))[0], expected)
    assert np.array_equal(prepared(runtime.place({"x": ROWS}))[0], expected)
    assert prepared.ran_by.startswith("CPU in f32")


def test_openvino_that_would_take_another_precision_is_refused(file: Path) -> None:
    """x86 processors have no float16: OpenVINO would quietly compute in bfloat16 or float32."""
    openvino = pytest.importorskip("openvino")
    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has float16")
    with pytest.raises(SurroundingsError, match="not on CPU in f16"):
        OpenVinoCpu(threads=1, precision="float16").prepare(file)


@pytest.mark.parametrize("make", [OnnxRuntimeCpu, OpenVinoCpu])
def test_missing_or_broken_file_is_refused_in_one_line(
    make: type[OnnxRuntimeCpu] | type[OpenVinoCpu], tmp_path: Path
) -> None:
    if make is OpenVinoCpu:
        pytest.importorskip("openvino")
    runtime = make(threads=1)
    with pytest.raises(LoadError, match="no such ONNX file"):
        runtime.prepare(tmp_path / "absent.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(LoadError, match="refuses the file") as caught:
        runtime.prepare(broken)
    assert "\n" not in str(caught.value)


@dataclass
class Node:
    op_type: str


@dataclass
class Part:
    ep_name: str
    ops: tuple[str, ...]

    def get_nodes(self) -> list[Node]:
        return [Node(op) for op in self.ops]


@dataclass
class Session:
    """As much of a session as the check of providers looks at."""

    parts: tuple[Part, ...]
    providers: tuple[str, ...]

    def get_provider_graph_assignment_info(self) -> tuple[Part, ...]:
        return self.parts

    def get_providers(self) -> list[str]:
        return list(self.providers)


def test_node_that_fell_to_the_processor_is_named() -> None:
    parts = (Part(CUDA, ("Conv", "Relu")), Part(CPU, ("NonZero",)))
    with pytest.raises(SurroundingsError, match=f"NonZero on {CPU}"):
        require_provider(Session(parts, (CUDA, CPU)), Path("a.onnx"), CUDA)
    whole = Session(parts[:1], (CUDA, CPU))
    assert require_provider(whole, Path("a.onnx"), CUDA) == f"2 nodes by {CUDA}"


def test_provider_that_is_not_there_is_refused_whatever_the_nodes_say() -> None:
    with pytest.raises(SurroundingsError, match=f"not all of it would run on {CUDA}"):
        require_provider(Session((), (CPU,)), Path("a.onnx"), CUDA)


def test_torch_runtime_puts_the_threads_back_and_leaves_the_module_alone() -> None:
    before, module = torch.get_num_threads(), nn.Dropout(0.5).train()
    runtime = TorchEager(threads=1)
    with runtime.settings():
        assert torch.get_num_threads() == 1
        call = runtime.prepare(module)
        inputs = runtime.place(np.ones((2, 3), np.float32))
        assert torch.equal(call(inputs), inputs)
        assert call(inputs).is_inference()
    assert torch.get_num_threads() == before
    assert module.training


def test_torch_runs_a_program_from_its_file(tmp_path: Path) -> None:
    module = nn.Linear(8, 4)
    rows = torch.from_numpy(ROWS)
    program = torch.export.export(
        module, (rows,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    torch.export.save(program, tmp_path / "linear.pt2")
    runtime = TorchEager(threads=1)
    with runtime.settings():
        call = runtime.prepare(tmp_path / "linear.pt2")
        assert torch.equal(call(runtime.place({"input": ROWS})), module(rows))
        with pytest.raises(LoadError, match="no such program"):
            runtime.prepare(tmp_path / "absent.pt2")


@pytest.mark.slow
def test_compiled_module_answers_as_the_eager_one() -> None:
    workload = Workload(runtime="torch-compile")
    if unavailable(workload) is not None:
        pytest.skip(str(unavailable(workload)))
    module, runtime = nn.Sequential(nn.Linear(8, 4), nn.ReLU()), TorchCompiled(threads=1)
    with runtime.settings():
        call = runtime.prepare(module)
        assert torch.allclose(call(runtime.place(ROWS)), module(torch.from_numpy(ROWS)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("make", [TorchEager, TorchCompiled, CudaGraphs])
def test_torch_on_cuda_answers_as_the_processor(make: type[TorchEager]) -> None:
    module, runtime = nn.Linear(8, 4), make(threads=1, device="cuda")
    with runtime.settings():
        call, placed = runtime.prepare(module), runtime.place(ROWS)
        for _ in range(2):
            found = call(placed)
        assert found.is_cuda
        assert torch.allclose(found.cpu(), module(torch.from_numpy(ROWS)), atol=1e-5)


@pytest.mark.gpu
def test_onnx_runtime_on_cuda_answers_as_the_processor(file: Path) -> None:
    if unavailable(Workload(runtime="onnxruntime", device="cuda")) is not None:
        pytest.skip("needs onnxruntime-gpu and a CUDA device")
    runtime = OnnxRuntimeGpu(threads=1)
    prepared = runtime.prepare(file)
    (found,) = prepared(runtime.place(ROWS)).copy_outputs_to_cpu()
    assert np.allclose(found, np.repeat(ROWS.sum(axis=1, keepdims=True), 4, axis=1))


def test_unknown_runtime_or_device_is_refused_with_the_list() -> None:
    with pytest.raises(OptionError, match=r"no runtime onnxruntime on tpu; there are onnxruntime,"):
        runtime_for(Workload(runtime="onnxruntime", device="tpu"))
    with pytest.raises(OptionError, match="no runtime ort on cpu"):
        form_of(Workload(runtime="ort"))


def test_what_is_not_here_is_told_and_what_is_here_is_not() -> None:
    assert unavailable(Workload(runtime="onnxruntime")) is None
    assert unavailable(Workload(runtime="torch")) is None
    assert "not installed" in str(unavailable(Workload(runtime="absent_runtime")))
    said = str(unavailable(Workload(runtime="onnxruntime", precision="bfloat16")))
    assert said == "onnxruntime computes in the precision of the file: give a file in bfloat16"
    if not torch.cuda.is_available():
        assert "no CUDA device" in str(unavailable(Workload(runtime="cuda-graphs", device="cuda")))


@pytest.mark.parametrize("name", known_runtimes())
def test_every_known_runtime_can_be_made(name: str) -> None:
    runtime, _, device = name.partition("@")
    workload = Workload(runtime=runtime, device=device or "cpu", threads=2)
    made = runtime_for(workload)
    assert made.threads == 2  # type: ignore[attr-defined]
    assert form_of(workload) in ("onnx", "program")


def test_workload_names_leave_out_what_is_usual() -> None:
    assert Workload(runtime="torch", batch=32).name == "torch-b32"
    assert Workload(runtime="torch", device="cuda", precision="bfloat16").name == (
        "torch-cuda-bfloat16-b1"
    )
