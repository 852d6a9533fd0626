"""How much memory a process needs for one file, beyond what its libraries take.

In come Starts; out comes a Memory: the peak of resident memory from loading the file to the last
call, less what was resident after all imports.  Knows nothing of how processes are started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.starts import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes, medians over processes."""

    processes: int
    baseline_bytes: int  # Python and libraries
    loaded_bytes: int  # beyond the baseline, when the file is loaded
    peak_bytes: int  # beyond the baseline, at the most


def summarize(starts: Sequence[Start]) -> Memory | None:
    """None where the system tells no process's own peak."""
    told = [
        (one.baseline_bytes, one.loaded_bytes, one.peak_bytes)
        for one in starts
        if None not in (one.baseline_bytes, one.loaded_bytes, one.peak_bytes)
    ]
    if not told:
        return None
    baseline, loaded, peak = np.array(told, dtype=np.int64).T
    return Memory(
        processes=len(told),
        baseline_bytes=int(np.median(baseline)),
        loaded_bytes=int(np.median(loaded - baseline)),
        peak_bytes=int(np.median(peak - baseline)),
    )
