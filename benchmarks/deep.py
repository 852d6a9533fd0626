"""All that is measured beyond latency: why, cold start, memory, energy; on request, load.

In come two files, a workload and how much time there is; out comes a dictionary whose keys go into
``report.json`` (docs/design.md, section 6).  Cheap measurements are always made, dear ones where
``full`` asks for them.  What cannot be measured here is said in its place, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cold_start, energy, load, memory, starts, throughput
from benchmarks.explanations import PROFILED, Pair, explain_all, reason_against
from benchmarks.runtimes import runtime_for
from benchmarks.workers import without_folders
from benchmarks.workloads import Workload
from compressor.errors import OptionError, SurroundingsError

FP32 = "fp32"
BATCHES = (1, 2, 4, 8, 16, 32)
LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)  # shares of what the faster of the two could serve
COLD = "cold"  # prefix of subjects whose file was dropped from the page cache before


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to measure and for how long; seconds are rough, and each part makes its fewest runs."""

    threads: int
    full: bool = False  # throughput and load too
    slo_ms: float | None = None  # p99 that load must keep; needs ``full``
    cores: int | None = None  # shared out among streams; ``threads`` where None
    processes: int = 3  # fresh ones for each file
    profile_seconds: float = 2.0  # of each runtime, shared by the precisions
    energy_seconds: float = 3.0
    full_seconds: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_limit(self.full, self.slo_ms)


def require_limit(full: bool, slo_ms: float | None) -> None:
    """Raises OptionError for a limit that is none, or would do nothing."""
    if slo_ms is None:
        return
    if not 0 < slo_ms < float("inf"):
        raise OptionError(f"--slo-ms {slo_ms:g}: give milliseconds above 0")
    if not full:
        raise OptionError("--slo-ms does nothing without --full-benchmark; give both")


def measure(
    teacher: Path,
    student: Path,
    input_shape: tuple[int, ...],
    settings: Settings,
    *,
    lower: Mapping[str, Pair] | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """The keys ``layers``, ``explanation``, ``cold_start``, ``memory``, ``energy``; ``throughput``
    and ``load`` are None unless ``settings.full``.

    ``teacher`` and ``student`` are the fp32 files, ``lower`` those of further precisions, which are
    explained alone.  ``input_shape`` is that of one input, without the batch.  Raises LoadError
    where a file cannot be run; a fresh process that fails is a reason, and so is a file of a
    precision that a runtime refuses.
    """
    workload = Workload(runtime="onnxruntime", threads=settings.threads)
    pair = (teacher, student)
    progress("where the time goes")
    found = explain_all(
        {FP32: pair, **(lower or {})},
        input_shape,
        threads=settings.threads,
        seconds=settings.profile_seconds,
        seed=settings.seed,
    )
    progress("fresh processes")
    found |= fresh_or_reason(pair, input_shape, workload, settings)
    progress("energy")
    found["energy"] = joules(pair, input_shape, workload, settings)
    found |= {"throughput": None, "load": None}
    if settings.full:
        share = settings.full_seconds / 2
        progress("throughput")
        found["throughput"] = rates(pair, input_shape, workload, settings, share)
        progress("load")
        found["load"] = loads(pair, input_shape, workload, settings, share)
    return found


def fresh_or_reason(
    pair: Pair, input_shape: tuple[int, ...], workload: Workload, settings: Settings
) -> dict[str, Any]:
    """``fresh_processes``; where one fails, the reason stands with ``memory``: a student that was
    trained for hours is not given up for it."""
    try:
        return fresh_processes(pair, input_shape, workload, settings.processes, settings.seed)
    except SurroundingsError as problem:
        reason = f"not measured: {without_folders(str(problem), pair)}"
        memory_row = {**workload.facts, "arena": None, "no_arena": None, "reason": reason}
        return {"cold_start": None, "memory": memory_row}


def fresh_processes(
    pair: Pair,
    input_shape: tuple[int, ...],
    workload: Workload,
    processes: int,
    seed: int,
) -> dict[str, Any]:
    """``cold_start`` and ``memory``: the same processes tell of both."""
    files = dict(zip(("teacher", "student"), pair, strict=True))
    begin = partial(starts.start, workload=workload, input_shape=input_shape)
    refusals = {name: starts.drop_from_cache(path) for name, path in files.items()}
    refusal = next((reason for reason in refusals.values() if reason is not None), None)
    usual: dict[str, Callable[[], starts.Start]] = {}
    once: dict[str, Callable[[], starts.Start]] = {}
    for name, path in files.items():
        usual[name] = partial(_warm, path, begin)
        once[f"{name} without arena"] = partial(begin, path, arena=False, seconds=0.1)
        if refusal is None:
            once[f"{COLD} {name}"] = partial(_cold, path, begin)
    ran = {
        **starts.take_turns(usual, repeats=processes, seed=seed),
        **starts.take_turns(once, repeats=1, seed=seed),
    }
    cold = {name: cold_start.summarize(ran[f"{COLD} {name}"]) for name in files if refusal is None}
    return {
        "cold_start": {
            **workload.facts,
            "warm": {name: cold_start.row(cold_start.summarize(ran[name])) for name in files},
            "cold": {name: cold_start.row(one) for name, one in cold.items()} or None,
            "cold_reason": refusal,
        },
        "memory": _memory_row(ran, workload, tuple(files)),
    }


def _warm(path: Path, begin: Callable[..., starts.Start]) -> starts.Start:
    """The file in the page cache for certain: a cold start before may have left it out."""
    path.read_bytes()
    return begin(path)


def _cold(path: Path, begin: Callable[..., starts.Start]) -> starts.Start:
    starts.drop_from_cache(path)
    return begin(path, seconds=0.1)


def _memory_row(
    ran: Mapping[str, tuple[starts.Start, ...]], workload: Workload, names: tuple[str, ...]
) -> dict[str, Any]:
    found = {
        arena: {name: memory.summarize(ran[f"{name}{suffix}"]) for name in names}
        for arena, suffix in (("arena", ""), ("no_arena", " without arena"))
    }
    told = all(one is not None for side in found.values() for one in side.values())
    return {
        **workload.facts,
        **{
            arena: {name: one and asdict(one) for name, one in side.items()} if told else None
            for arena, side in found.items()
        },
        "reason": None if told else "not measurable here: no process's own peak is told",
    }


def joules(
    pair: Pair, input_shape: tuple[int, ...], workload: Workload, settings: Settings
) -> dict[str, Any]:
    """``energy``: joules of a call by meter, or the reason why there are none."""
    meters, reason = energy.find_meters(workload.device)
    if reason is not None:
        return {**workload.facts, "joules": None, "calls": None, "reason": reason}
    with _calls(pair, input_shape, workload, settings.seed) as calls:
        found = energy.measure(calls, meters, seconds=settings.energy_seconds, seed=settings.seed)
    return {
        **workload.facts,
        "joules": {name: dict(one) for name, one in found.joules.items()},
        "calls": dict(found.calls),
        "reason": found.reason,
    }


@contextmanager
def _calls(
    pair: Pair, input_shape: tuple[int, ...], workload: Workload, seed: int
) -> Iterator[dict[str, Callable[[], object]]]:
    """Teacher and student loaded, each called with the same inputs."""
    runtime = runtime_for(workload)
    with runtime.settings():
        placed = runtime.place(_normal((workload.batch, *input_shape), seed))
        loaded = [runtime.prepare(path) for path in pair]
        yield {
            name: partial(run, placed)
            for name, run in zip(("teacher", "student"), loaded, strict=True)
        }


def _normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def rates(
    pair: Pair,
    input_shape: tuple[int, ...],
    workload: Workload,
    settings: Settings,
    seconds: float,
) -> dict[str, Any]:
    """``throughput``: by batch, by threads and streams, and the best batch under the limit."""
    cores = settings.cores or settings.threads
    runtimes = [
        replace(workload, runtime=name)
        for name in PROFILED
        if reason_against(replace(workload, runtime=name)) is None
    ]
    each = seconds / (len(runtimes) * (len(BATCHES) + len(throughput.shares(cores))))
    batches: list[throughput.Rate] = []
    streams: list[throughput.Rate] = []
    for one in runtimes:
        batches += throughput.by_batch(
            *pair, input_shape, workload=one, batches=BATCHES, seconds_each=each, seed=settings.seed
        )
        streams += throughput.by_streams(
            *pair, input_shape, workload=one, cores=cores, seconds_each=each, seed=settings.seed
        )
    return {
        "cores": cores,
        "batches": [throughput.row(one) for one in batches],
        "streams": [throughput.row(one) for one in streams],
        "limit_ms": settings.slo_ms,
        "best_batch": None if settings.slo_ms is None else _best(batches, settings.slo_ms),
    }


def _best(rates: list[throughput.Rate], limit_ms: float) -> list[dict[str, Any]]:
    """One entry for each runtime and subject; ``batch`` None where not even a batch of 1 keeps."""
    found = []
    for runtime, subject in dict.fromkeys((one.workload.runtime, one.subject) for one in rates):
        ours = [r for r in rates if (r.workload.runtime, r.subject) == (runtime, subject)]
        best = throughput.best_batch(ours, limit_ms / 1e3)
        found.append(
            {
                "runtime": runtime,
                "subject": subject,
                "batch": best and best.workload.batch,
                "samples_per_s": best and best.samples_per_s,
            }
        )
    return found


def loads(
    pair: Pair,
    input_shape: tuple[int, ...],
    workload: Workload,
    settings: Settings,
    seconds: float,
) -> dict[str, Any]:
    """``load``: both at the same rates of arrival, and the highest rate that keeps the limit."""
    with _calls(pair, input_shape, workload, settings.seed) as calls:
        alone = {name: load.service_s(call) for name, call in calls.items()}
        fastest = 1 / min(alone.values())
        sweeping = seconds if settings.slo_ms is None else seconds / 2
        trials = load.sweep(
            calls,
            rates=[share * fastest for share in LOADS],
            seconds_each=sweeping / (len(LOADS) * len(calls)),
            seed=settings.seed,
        )
        goodput: list[dict[str, Any]] = []
        searched: tuple[load.Trial, ...] = ()
        if settings.slo_ms is not None:
            found, searched = load.find_goodputs(
                calls,
                limit_s=settings.slo_ms / 1e3,
                seconds=seconds - sweeping,
                seed=settings.seed,
            )
            goodput = [load.goodput_row(one) for one in found]
    return {
        **workload.facts,
        "service_ms": {name: 1e3 * value for name, value in alone.items()},
        "trials": [load.trial_row(one) for one in trials],
        "slo_ms": settings.slo_ms,
        "goodput": goodput,
        "goodput_trials": [load.trial_row(one) for one in searched],
    }
