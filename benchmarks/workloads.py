"""What is measured: a runtime on a device, with a precision, a batch and a number of threads.

Plain values; knows nothing of clocks, models or the libraries that run them.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What ``Workload.facts`` tells, as files have it: equal values, equal setting."""

    runtime: str
    device: str
    precision: str
    batch: int
    threads: int


SETTING = Setting.__struct_fields__
# Precisions of files, below float32, as reports name them.
STORED = {"fp16": "float16", "bf16": "bfloat16", "int8": "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One setting in which teacher and student are timed."""

    runtime: str  # a name of `benchmarks.runtimes`: "onnxruntime", "openvino", "torch", ...
    device: str = "cpu"  # "cpu" or "cuda"
    precision: str = "float32"  # asked of the runtime where it has a choice
    stored: str = "fp32"  # precision of the ONNX file, as ``--precision`` names it
    batch: int = 1
    threads: int = 1

    @property
    def facts(self) -> dict[str, str | int]:
        """As files and reports say it: one precision, the file's where it is not float32."""
        return {
            "runtime": self.runtime,
            "device": self.device,
            "precision": STORED.get(self.stored, self.precision),
            "batch": self.batch,
            "threads": self.threads,
        }

    @property
    def name(self) -> str:
        """Stem of the raw sample file: ``onnxruntime-b1``, ``torch-cuda-b32``.

        What is usual (the CPU, float32) is left out, so the common names stay short.  Threads are
        never said: whoever measures several numbers of them adds the number.
        """
        usual = {"device": "cpu", "precision": "float32", "stored": "fp32"}
        words = [getattr(self, key) for key, word in usual.items() if getattr(self, key) != word]
        return "-".join((self.runtime, *words, f"b{self.batch}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A workload that was not measured, and why."""

    workload: Workload
    reason: str
    refused: bool = False  # by the runtime, for what the file is


def file_workload(
    runtime: str, stored: str, *, device: str = "cpu", batch: int = 1, threads: int = 1
) -> Workload:
    """A runtime with files of a precision.

    A file of bfloat16 is run in bfloat16 where there is the choice, all else in float32 around it.
    """
    return Workload(
        runtime=runtime,
        device=device,
        precision="bfloat16" if (runtime, stored) == ("openvino", "bf16") else "float32",
        stored=stored,
        batch=batch,
        threads=threads,
    )


def usual_workloads(
    threads: int, batches: tuple[int, ...] = (1, 32), stored: tuple[str, ...] = ()
) -> tuple[Workload, ...]:
    """ONNX Runtime, OpenVINO and torch on the CPU, then torch on CUDA, each at every batch.

    ``stored``: further precisions of the ONNX files, for what runs files on the CPU.
    """
    files = (("onnxruntime", "cpu"), ("openvino", "cpu"))
    places = [(*place, "fp32") for place in (*files, ("torch", "cpu"), ("torch", "cuda"))]
    places += [(*place, precision) for precision in stored for place in files]
    return tuple(
        file_workload(runtime, kept, device=device, batch=batch, threads=threads)
        for runtime, device, kept in places
        for batch in batches
    )
