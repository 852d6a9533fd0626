"""Where a call's time goes: one file's kernels, timed by the runtime itself.

In come two files, a workload and a batch of inputs; out come two Profiles.  Teacher and student run
in turn, each once as it is and once under its runtime's profiler, in a random order: what disturbs
one disturbs all.  Profiling costs time, so a profile knows both.  Knows nothing of what a layer is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.kernels import Kernel
from benchmarks.operations import Operation, read_operations
from benchmarks.profilers import open_profiler, trimmed_mean
from benchmarks.runtimes import runtime_for
from benchmarks.workloads import Workload
from compressor.files import scratch_folder

WARMUP_ROUNDS = 5
FEWEST_ROUNDS = 10
MOST_EVENTS = 400_000  # ONNX Runtime stops writing at a million


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One file.  ``call_s`` is the whole call without a profiler, the kernels' sum is less or more.

    ``profiled_call_s``: the same with it; where it is much longer, kernels look slower than they
    are.
    """

    operations: tuple[Operation, ...]
    kernels: tuple[Kernel, ...]
    call_s: float
    profiled_call_s: float
    rounds: int
    contention: float = 1.0  # wall over process CPU time of the whole measurement

    @property
    def kernels_s(self) -> float:
        return sum(one.seconds for one in self.kernels)

    @property
    def macs(self) -> int:
        return sum(one.macs or 0 for one in self.operations)


def profile(
    teacher: Path,
    student: Path,
    inputs: np.ndarray,
    *,
    workload: Workload,
    seconds: float = 4.0,
    seed: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
    cpu_clock: Callable[[], int] = time.process_time_ns,
) -> tuple[Profile, Profile]:
    """Profile both files for about ``seconds``; at least `FEWEST_ROUNDS` rounds are made.

    Raises LoadError where a file cannot be run, OptionError for a runtime without a profiler here.
    """
    shape, batch = inputs.shape[1:], inputs.shape[0]
    paths = (teacher, student)
    operations = [read_operations(path, shape, batch) for path in paths]
    runtime = runtime_for(workload)
    with scratch_folder() as folder, runtime.settings():
        placed = runtime.place(inputs)
        plain = [runtime.prepare(path) for path in paths]
        profilers = [
            open_profiler(path, found, inputs, workload, folder / str(place))
            for place, (path, found) in enumerate(zip(paths, operations, strict=True))
        ]
        calls: list[Callable[[], object]] = [
            *(lambda run=run: run(placed) for run in plain),
            *(lambda one=one: one.run(inputs) for one in profilers),
        ]
        most = MOST_EVENTS // (2 * max(map(len, operations)))
        wall, cpu = clock(), cpu_clock()
        times = take_turns(calls, seconds=seconds, most=max(most, FEWEST_ROUNDS), seed=seed,
                           clock=clock)  # fmt: skip
        contention = (clock() - wall) / max(cpu_clock() - cpu, 1)
        found = [one.kernels(len(times[0])) for one in profilers]
    return tuple(  # type: ignore[return-value]
        Profile(
            operations=operations[place],
            kernels=found[place],
            call_s=trimmed_mean(times[place]),
            profiled_call_s=trimmed_mean(times[2 + place]),
            rounds=len(times[place]),
            contention=contention,
        )
        for place in (0, 1)
    )


def take_turns(
    calls: Sequence[Callable[[], object]],
    *,
    seconds: float,
    most: int,
    seed: int,
    clock: Callable[[], int],
) -> list[list[float]]:
    """Seconds of each call by rounds, in a random order within each; warm-up rounds left out.

    Each turn begins with a call that does not count: the one before left the caches full of its own
    weights.
    """
    for _ in range(WARMUP_ROUNDS):
        for call in calls:
            call()
    generator = np.random.default_rng(seed)
    times: list[list[float]] = [[] for _ in calls]
    begin = clock()
    while len(times[0]) < FEWEST_ROUNDS or (
        (clock() - begin) / 1e9 < seconds and len(times[0]) < most
    ):
        for place in generator.permutation(len(calls)):
            calls[place]()
            start = clock()
            calls[place]()
            times[place].append((clock() - start) / 1e9)
    return times
