"""Golden inputs in the runtimes that are here."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from torch import Tensor, nn
from torch.export import ExportedProgram

from compressor.errors import InputError
from export.descriptions import Description
from export.onnx_files import OnnxFile, write_onnx
from export.prediction import open_run, open_session, predict, run_session
from export.replays import Runtime, find_runtimes, replay
from export.twins import write_twin


@pytest.mark.parametrize("runtime", find_runtimes()[0], ids=lambda one: one.name)
def test_a_runtime_answers_alike_in_batches_and_one_by_one(
    runtime: Runtime, product: Path, pooled: OnnxFile, images: Tensor
) -> None:
    inputs = images.numpy()
    expected = predict(pooled.path, [inputs])
    for path in (pooled.path, write_twin(product / "onnx" / "student.onnx").path):
        found = replay(path, "net.onnx", inputs, [expected], 1e-4, runtime)
        assert (found.passed, found.samples, found.runtime) == (True, 11, runtime.name)
        other = replay(path, "net.onnx", inputs, [expected * 1.01], 1e-4, runtime)
        assert not other.passed


@pytest.mark.parametrize("runtime", find_runtimes()[0], ids=lambda one: one.name)
def test_every_output_is_compared(
    runtime: Runtime,
    make_net: Callable[[str], nn.Module],
    export_net: Callable[[nn.Module, Tensor], ExportedProgram],
    images: Tensor,
    tmp_path: Path,
) -> None:
    program = export_net(make_net("two outputs"), images[:2])
    description = Description(architecture="tests:net", tool_version="0.1")
    path = write_onnx(program, tmp_path / "net.onnx", description).path
    inputs = images.numpy()
    expected = open_run(path)((inputs,))
    assert [one.shape for one in expected] == [(11, 4), (11, 8)]
    assert replay(path, "net.onnx", inputs, expected, 1e-4, runtime).passed
    for place in (0, 1):
        other = [*expected]
        other[place] = other[place] * 1.01
        assert not replay(path, "net.onnx", inputs, other, 1e-4, runtime).passed
    with pytest.raises(InputError, match="2 outputs, golden ones are given for 1"):
        replay(path, "net.onnx", inputs, expected[:1], 1e-4, runtime)


@pytest.mark.parametrize("runtime", find_runtimes()[0], ids=lambda one: one.name)
def test_a_file_that_is_none_is_the_inputs_fault(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"net\.onnx: (ONNX Runtime refuses|OpenVINO cannot)"):
        runtime.answer(tmp_path / "net.onnx", np.zeros((1, 3), np.float32))


def test_what_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    found, lines = find_runtimes()
    assert [one.name for one in found] == ["ONNX Runtime CPU"]
    assert "openvino is not installed" in " ".join(lines)
    assert "ONNX Runtime CUDA: not in" in lines[0]
    cuda = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: cuda)
    assert [one.name for one in find_runtimes()[0]] == ["ONNX Runtime CPU", "ONNX Runtime CUDA"]


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is such a one"
)
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_not_here_does_not_fall_back(pooled: OnnxFile) -> None:
    with pytest.raises(InputError, match="CUDAExecutionProvider"):
        open_session(pooled.path, provider="CUDAExecutionProvider")


def test_a_fixed_batch_takes_whole_portions_only(product: Path) -> None:
    twin = write_twin(product / "onnx" / "student.onnx").path
    with pytest.raises(InputError, match="takes 1 samples at a time, not 0"):
        run_session(open_session(twin), (np.zeros((0, 3, 16, 16), np.float32),))
