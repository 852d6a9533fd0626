"""The machine and the packages that a set of figures belongs to.

Out comes a plain dictionary for ``report.json``.  No host name, user name or path is taken.  Knows
nothing of models; asks the operating system, so it is called once, at the edge.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

FLAGS = ("avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16")
ARM_FLAGS = ("asimd", "asimddp", "sve", "sve2", "i8mm", "bf16")
PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy", "timm")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")


def parse_cpuinfo(text: str) -> tuple[str | None, tuple[str, ...]]:
    """Model name and the flags of interest from the text of ``/proc/cpuinfo``."""
    model, found = None, set()
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name" and model is None:
            model = value
        if key in ("flags", "Features"):
            found |= set(value.split())
    return model, tuple(flag for flag in FLAGS + ARM_FLAGS if flag in found)


def available_cores() -> int:
    """Cores this process may use: physical ones, bounded by its affinity mask."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical


def describe(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Processor, memory, system, Python, packages and load, as far as they can be read."""
    variables = os.environ if variables is None else variables
    cpuinfo = Path("/proc/cpuinfo")
    model, flags = parse_cpuinfo(cpuinfo.read_text() if cpuinfo.is_file() else "")
    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "flags": list(flags),
        "cores": available_cores(),
        "logical_cores": psutil.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": packages,
        "thread_variables": {
            name: variables[name] for name in THREAD_VARIABLES if name in variables
        },
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
    }
