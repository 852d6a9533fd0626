"""The machine and the packages that a set of figures belongs to.

Out comes a plain dictionary for ``report.json``.  No host name, user name or path is taken.  What
cannot be read is None: unknown, not absent.  Knows nothing of models; asks the operating system, so
it is called once, at the edge.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

FLAGS = (
    "avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni",
    "amx_tile", "amx_int8", "amx_bf16",
)  # fmt: skip
ARM_FLAGS = ("asimd", "asimddp", "sve", "sve2", "i8mm", "bf16")
PACKAGES = (
    "torch", "torchvision", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "onnxscript",
    "numpy", "scipy", "timm",
)  # fmt: skip
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY",
    "OMP_PROC_BIND", "KMP_AFFINITY", "KMP_BLOCKTIME", "ONEDNN_MAX_CPU_ISA", "MALLOC_ARENA_MAX",
)  # fmt: skip
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")
TURBO_OFF = (
    Path("/sys/devices/system/cpu/intel_pstate/no_turbo"),  # "1": off
    Path("/sys/devices/system/cpu/cpufreq/boost"),  # "0": off
)
QUOTA = Path("/sys/fs/cgroup/cpu.max")
QUOTA_OF_OLD = tuple(Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))


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


def cpuinfo_value(text: str, key: str) -> str | None:
    """The first value of a key in the text of ``/proc/cpuinfo``."""
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == key:
            return value
    return None


def available_cores() -> int:
    """Cores this process may use: physical ones, bounded by its affinity mask."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical


def parse_quota(text: str) -> float | None:
    """Cores that ``cpu.max`` grants: "150000 100000" is 1.5, "max 100000" is no limit (None)."""
    quota, _, period = text.strip().partition(" ")
    given = quota.isdecimal() and period.isdecimal() and float(period) > 0
    return round(float(quota) / float(period), 3) if given else None


def quota() -> float | None:
    """Cores that the control group grants; None where there is no limit or it cannot be read."""
    if QUOTA.is_file():
        return parse_quota(QUOTA.read_text())
    if all(path.is_file() for path in QUOTA_OF_OLD):
        return parse_quota(" ".join(path.read_text().strip() for path in QUOTA_OF_OLD))
    return None


def turbo() -> bool | None:
    """Whether the processor may run above its nominal clock; None where nothing says so."""
    for path, on in zip(TURBO_OFF, ("0", "1"), strict=True):
        said = _read(path)
        if said is not None:
            return said == on
    return None


def describe(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Processor, memory, system, Python, packages and load, as far as they can be read."""
    variables = os.environ if variables is None else variables
    text = _read(Path("/proc/cpuinfo")) or ""
    model, flags = parse_cpuinfo(text)
    every_flag = (cpuinfo_value(text, "flags") or "").split()
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    limits = [_read(FREQUENCY / f"cpuinfo_{end}_freq") for end in ("min", "max")]
    logical, physical = psutil.cpu_count() or 1, psutil.cpu_count(logical=False)
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "flags": list(flags),
        "microcode": cpuinfo_value(text, "microcode"),
        "cores": available_cores(),
        "logical_cores": logical,
        "threads_per_core": logical // physical if physical else None,
        "affinity": affinity,
        "quota_cores": quota(),
        "governor": _read(FREQUENCY / "scaling_governor"),
        "turbo": turbo(),
        "clock_mhz": [round(int(one) / 1000) for one in limits if one and one.isdigit()] or None,
        "virtual_machine": "hypervisor" in every_flag if every_flag else None,
        "hypervisor": _read(Path("/sys/hypervisor/type")),
        "container": Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": installed(),
        "thread_variables": {
            name: variables[name] for name in THREAD_VARIABLES if name in variables
        },
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
    }


def installed() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
