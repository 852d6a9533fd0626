"""Energy of a call, where the machine tells it.

In come two calls; out come joules for each, or the reason why there are none.  Meters: the
processor's package (RAPL, through Linux's powercap folder) and NVIDIA's own counter (NVML,
millijoules since the driver was loaded).  Both count the whole package or card, whoever uses it:
the figure is an upper bound, and fair only in comparison, with teacher and student taking turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

POWERCAP = Path("/sys/class/powercap")
BLOCK_S = 0.3  # RAPL counts about once a millisecond, NVML once in 20 to 100


class Meter(Protocol):
    """A counter that only grows."""

    @property
    def name(self) -> str: ...

    def read(self) -> int: ...

    def joules_since(self, before: int) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rapl:
    """One processor package; its counter is in microjoules and starts anew at ``wrap``."""

    name: str
    folder: Path
    wrap: int

    def read(self) -> int:
        return int((self.folder / "energy_uj").read_text())

    def joules_since(self, before: int) -> float:
        return ((self.read() - before) % (self.wrap + 1)) / 1e6


class Nvml:
    """One NVIDIA card, in millijoules."""

    def __init__(self, number: int = 0) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._library = pynvml
        self._card = pynvml.nvmlDeviceGetHandleByIndex(number)
        self._name = str(pynvml.nvmlDeviceGetName(self._card))
        self.read()

    @property
    def name(self) -> str:
        return self._name

    def read(self) -> int:
        return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._card))

    def joules_since(self, before: int) -> float:
        return (self.read() - before) / 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules per call of each subject, by meter; empty with a reason where there is no meter."""

    joules: Mapping[str, Mapping[str, float]]  # subject -> meter -> joules of one call
    calls: Mapping[str, int]
    reason: str | None


def find_meters(device: str, powercap: Path = POWERCAP) -> tuple[tuple[Meter, ...], str | None]:
    """The meters of a device ("cpu" or "cuda"), or none and the reason."""
    if device == "cuda":
        try:
            return (Nvml(),), None
        except ImportError:
            return (), "not measurable here: nvidia-ml-py is not installed"
        except Exception as problem:  # pynvml's errors exist only where it does
            return (), f"not measurable here: {problem}"
    packages = sorted(powercap.glob("intel-rapl:?")) if powercap.is_dir() else []
    if not packages:
        return (), f"not measurable here: there is no energy counter in {powercap}"
    found: list[Meter] = []
    for folder in packages:
        try:
            (folder / "energy_uj").read_text()
            wrap = int((folder / "max_energy_range_uj").read_text())
            name = (folder / "name").read_text().strip()
        except PermissionError:
            return (), f"not measurable here: {folder.name}/energy_uj may be read by root alone"
        except (OSError, ValueError) as problem:
            return (), f"not measurable here: {folder.name}: {problem}"
        found.append(Rapl(name=name, folder=folder, wrap=wrap))
    return tuple(found), None


def measure(
    calls: Mapping[str, Callable[[], object]],
    meters: Sequence[Meter],
    *,
    seconds: float,
    seed: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Energy:
    """Blocks of calls in a random order until ``seconds`` are over; one block each at least."""
    generator = np.random.default_rng(seed)
    names = list(calls)
    spent = {name: dict.fromkeys([meter.name for meter in meters], 0.0) for name in names}
    counts = dict.fromkeys(names, 0)
    begin = clock()
    while not all(counts.values()) or (clock() - begin) / 1e9 < seconds:
        for place in generator.permutation(len(names)):
            name = names[place]
            before = [meter.read() for meter in meters]
            start = clock()
            while (clock() - start) / 1e9 < BLOCK_S:
                calls[name]()
                counts[name] += 1
            for meter, reading in zip(meters, before, strict=True):
                spent[name][meter.name] += meter.joules_since(reading)
    return Energy(
        joules={
            name: {meter: joules / counts[name] for meter, joules in found.items()}
            for name, found in spent.items()
        },
        calls=counts,
        reason=None,
    )
