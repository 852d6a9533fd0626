"""What else went on while something was measured: load, steal, neighbours, switches.

Two looks at the operating system's counters make a Surroundings.  What the system does not count is
None, not zero.  Knows nothing of models and of what the figures mean for a verdict.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """One look."""

    wall_s: float
    own_cpu_s: float
    busy_s: float  # of all processors
    steal_s: float | None
    voluntary: int
    involuntary: int
    load: float
    runnable: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What happened between two looks."""

    cores: int  # logical ones of the machine
    load_start: float  # load average of one minute
    load_end: float
    runnable_start: int | None  # threads that run or wait for a core, this one among them
    runnable_end: int | None
    others_cores: float  # processors that others kept busy, on average
    steal_share: float | None  # of all processors' time, taken by the hypervisor
    voluntary_switches: int  # the process gave its core away: it waited for something
    involuntary_switches: int  # its core was taken away


def look() -> Counters:
    """Read the counters now."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    steal = getattr(times, "steal", None)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Counters(
        wall_s=time.monotonic(),
        own_cpu_s=time.process_time(),
        busy_s=counted - idle - (steal or 0.0),
        steal_s=steal,
        voluntary=usage.ru_nvcsw,
        involuntary=usage.ru_nivcsw,
        load=os.getloadavg()[0],
        runnable=_runnable(),
    )


def between(before: Counters, after: Counters) -> Surroundings:
    """What the counters say about the time between two looks."""
    wall = max(after.wall_s - before.wall_s, 1e-9)
    others = after.busy_s - before.busy_s - (after.own_cpu_s - before.own_cpu_s)
    steal, cores = None, psutil.cpu_count() or 1
    if before.steal_s is not None and after.steal_s is not None:
        steal = (after.steal_s - before.steal_s) / (wall * cores)
    return Surroundings(
        cores=cores,
        load_start=round(before.load, 2),
        load_end=round(after.load, 2),
        runnable_start=before.runnable,
        runnable_end=after.runnable,
        others_cores=round(max(others / wall, 0.0), 3),
        steal_share=None if steal is None else round(max(steal, 0.0), 5),
        voluntary_switches=after.voluntary - before.voluntary,
        involuntary_switches=after.involuntary - before.involuntary,
    )


def _runnable() -> int | None:
    if not STAT.is_file():
        return None
    for line in STAT.read_text().splitlines():
        if line.startswith("procs_running "):
            return int(line.split()[1])
    return None
