"""What a student is planned for: a runtime on the CPU, with a precision, threads and a batch.

Comes in: what was typed, as ``onnxruntime:int8``.  Goes out: a ``Target``, or an OptionError.
Knows nothing of measuring.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.workloads import Workload
from compressor.errors import OptionError

# Runtime -> precision -> what the runtime is asked for; int8 is in the file itself.
PRECISIONS: dict[str, dict[str, str]] = {
    "onnxruntime": {"fp32": "float32", "int8": "float32"},
    "openvino": {"fp32": "float32", "bf16": "bfloat16", "int8": "float32"},
    "torch": {"fp32": "float32"},
}


MOST_THREADS, MOST_BATCH = 1024, 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a student is to be fast.  Made by ``target_of``, which checks it."""

    runtime: str
    precision: str = "fp32"
    threads: int = 1
    batch: int = 1

    @property
    def name(self) -> str:
        """ "onnxruntime:int8", as it is typed."""
        return f"{self.runtime}:{self.precision}"

    @property
    def workload(self) -> Workload:
        return Workload(
            runtime=self.runtime,
            precision=PRECISIONS[self.runtime][self.precision],
            batch=self.batch,
            threads=self.threads,
        )


def target_of(
    runtime: str,
    precision: str = "fp32",
    *,
    threads: int = 1,
    batch: int = 1,
    option: str = "--runtime",
) -> Target:
    """Raises OptionError for what cannot be probed."""
    if runtime not in PRECISIONS:
        raise OptionError(f"{option} {runtime}: not one of {', '.join(PRECISIONS)}")
    if precision not in PRECISIONS[runtime]:
        raise OptionError(
            f"{runtime} is not measured in {precision}; take {' or '.join(PRECISIONS[runtime])}"
        )
    if not (1 <= threads <= MOST_THREADS and 1 <= batch <= MOST_BATCH):
        raise OptionError(
            f"{threads} threads and batch {batch}: both must be 1 or more, at most {MOST_THREADS} "
            f"and {MOST_BATCH}"
        )
    return Target(runtime=runtime, precision=precision, threads=threads, batch=batch)


def parse_target(text: str, *, threads: int) -> Target:
    """``RUNTIME`` or ``RUNTIME:PRECISION``, at batch 1.  Raises OptionError."""
    runtime, _, precision = text.partition(":")
    return target_of(runtime, precision or "fp32", threads=threads, option="--target")
