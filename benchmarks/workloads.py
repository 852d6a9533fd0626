"""What is measured: a runtime on a device, with a precision, a batch and a number of threads.

Plain values; knows nothing of clocks, models or the libraries that run them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One setting in which teacher and student are timed."""

    runtime: str  # a name of `benchmarks.runtimes`: "onnxruntime", "openvino", "torch", ...
    device: str = "cpu"  # "cpu" or "cuda"
    precision: str = "float32"  # asked of the runtime where it has a choice
    batch: int = 1
    threads: int = 1

    @property
    def name(self) -> str:
        """Stem of the raw sample file: ``onnxruntime-b1``, ``torch-cuda-b32``.

        What is usual (the CPU, float32) is left out, so the common names stay short.  Threads are
        never said: whoever measures several numbers of them adds the number.
        """
        unusual = (self.device != "cpu", self.device), (self.precision != "float32", self.precision)
        return "-".join((self.runtime, *(word for said, word in unusual if said), f"b{self.batch}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A workload that was not measured, and why."""

    workload: Workload
    reason: str


def usual_workloads(threads: int, batches: tuple[int, ...] = (1, 32)) -> tuple[Workload, ...]:
    """ONNX Runtime, OpenVINO and torch on the CPU, then torch on CUDA, each at every batch."""
    places = (("onnxruntime", "cpu"), ("openvino", "cpu"), ("torch", "cpu"), ("torch", "cuda"))
    return tuple(
        Workload(runtime=runtime, device=device, batch=batch, threads=threads)
        for runtime, device in places
        for batch in batches
    )
