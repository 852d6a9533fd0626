"""One file in one fresh process: the program that `cold_start` and `memory` start.

    python -m benchmarks.fresh '{"path": "student.onnx", "runtime": "onnxruntime", ...}'

In comes a Task as JSON in the one argument; out goes one line of JSON on standard output.  Nothing
but the standard library is imported before the clock has seen the runtime's own import.  Linux
tells the peak of this process alone (VmHWM, proc(5)); a process's own account elsewhere includes
the one that started it, so there it stays unknown.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
FORGET_PEAK = Path("/proc/self/clear_refs")  # writing 5 sets VmHWM to what is resident now


def main(argument: str) -> dict[str, Any]:
    """Import, load, run until ``seconds`` are over; times in seconds, memory in bytes."""
    task = json.loads(argument)
    begin = time.perf_counter()
    importlib.import_module(task["runtime"])
    imported = time.perf_counter()
    run, inputs = _prepared_later(task)
    baseline = _resident("VmRSS")
    peaks = _forget_peak()
    start = time.perf_counter()
    call = run()
    loaded = time.perf_counter()
    resident = _resident("VmRSS")
    calls: list[float] = []
    while not calls or (time.perf_counter() - loaded < task["seconds"] and len(calls) < 1000):
        before = time.perf_counter()
        call(inputs)
        calls.append(time.perf_counter() - before)
    return {
        "import_s": imported - begin,
        "load_s": loaded - start,
        "calls_s": calls,
        "baseline_bytes": baseline,
        "loaded_bytes": resident,
        "peak_bytes": _resident("VmHWM") if peaks else None,
    }


def _prepared_later(task: dict[str, Any]) -> tuple[Any, Any]:
    """A function that loads the file, and the inputs; what both need is imported here."""
    import numpy as np

    from benchmarks.runtimes import runtime_for
    from benchmarks.workloads import Workload

    workload = Workload(**task["workload"])
    generator = np.random.default_rng(0)
    shape = (workload.batch, *task["input_shape"])
    runtime = runtime_for(workload)
    inputs = runtime.place(generator.standard_normal(shape, dtype=np.float32))
    path = Path(task["path"])
    if task["arena"]:
        return lambda: runtime.prepare(path), inputs
    from benchmarks.sessions import open_call

    return lambda: open_call(path, threads=workload.threads, arena=False), inputs


def _resident(name: str) -> int | None:
    if not STATUS.is_file():
        return None
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None


def _forget_peak() -> bool:
    """Begin the peak anew after imports.  False where the system has no such account."""
    try:
        FORGET_PEAK.write_text("5")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])) + "\n")
