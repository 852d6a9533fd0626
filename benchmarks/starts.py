"""Fresh processes: a file, a workload and a limit become what its first calls took.

In come values; out come Starts, one for each process.  Processes of all subjects run in a random
order, one at a time, and none outlives its limit.  `benchmarks.fresh` is the program they run.
Knows nothing of what the figures mean.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import Workload
from compressor.errors import SurroundingsError

LIMIT_S = 120.0
PAGE = mmap.PAGESIZE
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One process.  Bytes are resident memory; None where the system does not tell."""

    import_s: float
    load_s: float
    calls_s: tuple[float, ...]
    baseline_bytes: int | None  # after all imports, before the file is loaded
    loaded_bytes: int | None
    peak_bytes: int | None  # from loading to the last call


def own_sources_first() -> dict[str, str]:
    """This process's variables, and this very package first: a fresh one must not find another."""
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *([known] if known else [])])}


def start(
    path: Path,
    *,
    workload: Workload,
    input_shape: tuple[int, ...],
    arena: bool = True,
    seconds: float = 0.3,
    limit_s: float = LIMIT_S,
) -> Start:
    """Run ``path`` in a process of its own until its calls took ``seconds``.

    Raises SurroundingsError where the process fails or outlives ``limit_s``.
    """
    task = {
        "path": str(path.resolve()),
        "runtime": workload.runtime,
        "workload": workload.facts,
        "input_shape": input_shape,
        "arena": arena,
        "seconds": seconds,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "benchmarks.fresh", json.dumps(task)],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
            env=own_sources_first(),
        )
    except subprocess.TimeoutExpired as late:
        raise SurroundingsError(
            f"{path.name}: a fresh process was not done after {limit_s:.0f} s"
        ) from late
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SurroundingsError(f"{path.name}: a fresh process failed: {last}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Start(**{**found, "calls_s": tuple(found["calls_s"])})


def take_turns(
    starters: Mapping[str, Callable[[], Start]], *, repeats: int, seed: int
) -> dict[str, tuple[Start, ...]]:
    """Every starter ``repeats`` times, in a random order in each round."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[Start]] = {name: [] for name in starters}
    names = list(starters)
    for _ in range(repeats):
        for place in generator.permutation(len(names)):
            found[names[place]].append(starters[names[place]]())
    return {name: tuple(starts) for name, starts in found.items()}


def drop_from_cache(path: Path) -> str | None:
    """Ask the system to forget the file's pages; the reason where it does not.

    No privilege is needed for one's own clean pages (posix_fadvise(2)); mincore(2) tells whether it
    was done.  A virtual machine's host may still hold them.
    """
    if not hasattr(os, "posix_fadvise"):
        return "this system cannot drop a file from its page cache"
    handle = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    left = cached_share(path)
    if left is None:
        return "this system does not tell which pages of a file it holds"
    return f"the system kept {left:.0%} of the file's pages" if left > 0.05 else None


def cached_share(path: Path) -> float | None:
    """Share of the file's pages in the page cache; None where that cannot be told."""
    size = path.stat().st_size
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError):
        return None
    with path.open("rb") as stream:
        seen = mmap.mmap(
            stream.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    pages = -(-size // PAGE)
    flags: Any = (ctypes.c_ubyte * pages)()
    view = (ctypes.c_char * size).from_buffer(seen)
    failed = mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), flags)
    del view
    seen.close()
    return None if failed else sum(one & 1 for one in flags) / pages
