"""From a workload to what runs it, or to the reason why nothing here can.

One table: what is not in it does not exist.  Knows nothing of models.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.runtimes.onnx_runtime import CUDA, TENSORRT, OnnxRuntimeCpu, OnnxRuntimeGpu
from benchmarks.runtimes.openvino_cpu import HINTS, OpenVinoCpu
from benchmarks.runtimes.protocol import Runtime
from benchmarks.runtimes.torch_programs import CudaGraphs, TorchCompiled, TorchEager
from benchmarks.workloads import Workload
from compressor.errors import OptionError

Form = Literal["onnx", "program"]  # a .onnx file, or a .pt2 program


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A runtime on a device: the form it reads, how it is made, what it needs."""

    form: Form
    make: Callable[[Workload], Runtime]
    missing: Callable[[], str | None]
    precisions: tuple[str, ...] = ("float32",)  # float32: as the file or the program has it


def _lacks_package(package: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
        return None

    return missing


def _lacks_provider(provider: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = _lacks_package("onnxruntime")()
        if absent is not None:
            return absent
        import onnxruntime

        if provider not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {provider}: install onnxruntime-gpu"
        return None

    return missing


def _lacks_cuda() -> str | None:
    absent = _lacks_package("torch")()
    if absent is not None:
        return absent
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def _lacks_compiler() -> str | None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        return "torch.compile needs a C++ compiler on the CPU, and there is none"
    return _lacks_package("torch")()


def _onnx_gpu(provider: str) -> Callable[[Workload], Runtime]:
    return lambda workload: OnnxRuntimeGpu(threads=workload.threads, provider=provider)


ENTRIES: dict[tuple[str, str], Entry] = {
    ("onnxruntime", "cpu"): Entry(
        form="onnx",
        make=lambda workload: OnnxRuntimeCpu(threads=workload.threads),
        missing=_lacks_package("onnxruntime"),
    ),
    ("openvino", "cpu"): Entry(
        form="onnx",
        make=lambda workload: OpenVinoCpu(threads=workload.threads, precision=workload.precision),
        missing=_lacks_package("openvino"),
        precisions=tuple(HINTS),
    ),
    ("torch", "cpu"): Entry(
        form="program",
        make=lambda workload: TorchEager(threads=workload.threads),
        missing=_lacks_package("torch"),
    ),
    ("torch-compile", "cpu"): Entry(
        form="program",
        make=lambda workload: TorchCompiled(threads=workload.threads),
        missing=_lacks_compiler,
    ),
    ("onnxruntime", "cuda"): Entry(
        form="onnx", make=_onnx_gpu(CUDA), missing=_lacks_provider(CUDA)
    ),
    ("tensorrt", "cuda"): Entry(
        form="onnx", make=_onnx_gpu(TENSORRT), missing=_lacks_provider(TENSORRT)
    ),
    ("torch", "cuda"): Entry(
        form="program",
        make=lambda workload: TorchEager(threads=workload.threads, device="cuda"),
        missing=_lacks_cuda,
    ),
    ("torch-compile", "cuda"): Entry(
        form="program",
        make=lambda workload: TorchCompiled(threads=workload.threads, device="cuda"),
        missing=_lacks_cuda,
    ),
    ("cuda-graphs", "cuda"): Entry(
        form="program",
        make=lambda workload: CudaGraphs(threads=workload.threads),
        missing=_lacks_cuda,
    ),
}


def known_runtimes() -> tuple[str, ...]:
    """Every runtime as it is typed: ``openvino``, ``onnxruntime@cuda``."""
    return tuple(name if device == "cpu" else f"{name}@{device}" for name, device in ENTRIES)


def unavailable(workload: Workload) -> str | None:
    """Why this workload cannot run here; None where it can."""
    entry = ENTRIES.get((workload.runtime, workload.device))
    if entry is None:
        return f"the package {workload.runtime} is not installed, and nobody has written a runtime"
    if workload.precision not in entry.precisions:
        return (
            f"{workload.runtime} computes in the precision of the file: "
            f"give a file in {workload.precision}"
        )
    return entry.missing()


def runtime_for(workload: Workload) -> Runtime:
    """The runtime of a workload.  Raises OptionError where nobody has written one."""
    entry = ENTRIES.get((workload.runtime, workload.device))
    if entry is None:
        raise OptionError(
            f"no runtime {workload.runtime} on {workload.device}; "
            f"there are {', '.join(known_runtimes())}"
        )
    return entry.make(workload)


def form_of(workload: Workload) -> Form:
    """What the workload's runtime reads.  Raises OptionError as `runtime_for` does."""
    runtime_for(workload)
    return ENTRIES[workload.runtime, workload.device].form
