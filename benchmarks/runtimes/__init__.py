"""What runs a model: one small protocol, and a module for each library.

    protocol        a runtime prepares a model, places inputs, and holds settings while it is timed
    onnx_runtime    a file in ONNX Runtime: CPU, CUDA and TensorRT providers
    openvino_cpu    a file in OpenVINO on the CPU, in a stated inference precision
    torch_programs  a module or ``.pt2`` program in torch: eager, compiled, as a CUDA graph
    registry        workload -> runtime, or the reason why it cannot run here

Each library is imported where it is used.  Nothing falls back in silence: what really ran is looked
at when a model is prepared, and another answer than the one asked for is an error.
"""

from benchmarks.runtimes.onnx_runtime import OnnxRuntimeCpu, OnnxRuntimeGpu
from benchmarks.runtimes.openvino_cpu import OpenVinoCpu
from benchmarks.runtimes.protocol import Call, Feed, Prepared, Runtime
from benchmarks.runtimes.registry import form_of, known_runtimes, runtime_for, unavailable
from benchmarks.runtimes.torch_programs import CudaGraphs, TorchCompiled, TorchEager

__all__ = [
    "Call",
    "CudaGraphs",
    "Feed",
    "OnnxRuntimeCpu",
    "OnnxRuntimeGpu",
    "OpenVinoCpu",
    "Prepared",
    "Runtime",
    "TorchCompiled",
    "TorchEager",
    "form_of",
    "known_runtimes",
    "runtime_for",
    "unavailable",
]
