"""Whether two sets of figures may be compared: were they measured in like environments?

In come two dictionaries of `benchmarks.environment`; out come the differences that change what a
clock shows, in words.  A kernel's patch level, the memory and the load do not count here; load is
told by each measurement's own status.  Knows nothing of files and figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.errors import OptionError

DECISIVE = {
    "cpu": "processor",
    "flags": "instruction sets",
    "cores": "cores",
    "logical_cores": "logical cores",
    "threads_per_core": "threads per core",
    "affinity": "cores the process may use",
    "quota_cores": "quota of the control group",
    "governor": "frequency governor",
    "turbo": "turbo",
    "virtual_machine": "virtual machine",
    "hypervisor": "hypervisor",
    "system": "operating system",
    "architecture": "architecture",
    "thread_variables": "variables that set threads",
}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs, as "processor: A in one, B in the other"; empty where figures compare.

    A key that only one of them has (an older format) is a difference: unknown is not alike.
    """
    found = []
    for key, words in DECISIVE.items():
        if key not in one and key not in other:
            continue
        first, second = (_plain(side.get(key, "unknown")) for side in (one, other))
        if first != second:
            found.append(f"{words}: {first} in one, {second} in the other")
    for package in RUNTIMES:
        first, second = (
            str((side.get("packages") or {}).get(package, "absent")) for side in (one, other)
        )
        if first != second:
            found.append(f"{package}: {first} in one, {second} in the other")
    return tuple(found)


def require_like(one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str]) -> None:
    """Raises OptionError that names the differences."""
    found = differences(one, other)
    if found:
        raise OptionError(
            f"{names[0]} and {names[1]} were measured in unlike environments and are not compared: "
            f"{'; '.join(found)}"
        )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)
