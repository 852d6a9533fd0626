"""Samples per second when all of them wait already: by batch, and by threads and streams.

In come two files and the settings; out come Rates.  Each setting is measured in windows, teacher
and student in turn in a random order, and the windows' medians are compared.  A stream is one
request at work: in ONNX Runtime a session of its own, called from a thread of its own; in OpenVINO
one of the runtime's own.  Threads x streams is the number of cores, the same for every setting.
Knows nothing of arrivals; ``load`` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from benchmarks.runtimes import runtime_for
from benchmarks.runtimes.openvino_cpu import OpenVinoCpu
from benchmarks.sessions import open_call
from benchmarks.statistics import percentile
from benchmarks.workloads import Workload

Clock = Callable[[], int]  # nanoseconds
FEWEST_WINDOWS = 3
WINDOW_S = 0.25
OVERTIME = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One subject in one setting; ``p99_s`` is of a whole batch, None where too few were run."""

    subject: Literal["teacher", "student"]
    workload: Workload  # its threads are those of one stream
    streams: int
    samples_per_s: float  # median over windows
    least: float
    most: float
    windows: int
    calls: int
    median_s: float
    slowest_s: float
    p99_s: float | None


class Engine(Protocol):
    """A loaded file with a number of streams."""

    def run_window(self, seconds: float, clock: Clock) -> tuple[float, list[float]]:
        """Keep all streams busy for ``seconds``: samples per second, seconds of every call."""
        ...


def by_batch(
    teacher: Path,
    student: Path,
    input_shape: tuple[int, ...],
    *,
    workload: Workload,
    batches: Sequence[int],
    seconds_each: float,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> tuple[Rate, ...]:
    """One stream, ``workload.threads`` threads, each batch for about ``seconds_each``.

    Batches in ascending order, until the fewest calls of the next would take `OVERTIME` times that.
    """
    found: list[Rate] = []
    for batch in sorted(batches):
        if found:
            sample_s = sum(one.median_s / one.workload.batch for one in found[-2:])
            if (FEWEST_WINDOWS + 1) * batch * sample_s > OVERTIME * seconds_each:
                break
        found += measure(
            (teacher, student),
            input_shape,
            replace(workload, batch=batch),
            streams=1,
            seconds=seconds_each,
            seed=seed,
            clock=clock,
        )
    return tuple(found)


def by_streams(
    teacher: Path,
    student: Path,
    input_shape: tuple[int, ...],
    *,
    workload: Workload,
    cores: int,
    seconds_each: float,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> tuple[Rate, ...]:
    """Every way to share ``cores`` out evenly: 1 x 4, 2 x 2, 4 x 1 (threads x streams)."""
    return tuple(
        rate
        for streams, threads in shares(cores)
        for rate in measure(
            (teacher, student),
            input_shape,
            replace(workload, threads=threads),
            streams=streams,
            seconds=seconds_each,
            seed=seed,
            clock=clock,
        )
    )


def shares(cores: int) -> tuple[tuple[int, int], ...]:
    """(streams, threads of each) for every divisor of ``cores``."""
    return tuple((n, cores // n) for n in range(1, cores + 1) if cores % n == 0)


def measure(
    pair: tuple[Path, Path],
    input_shape: tuple[int, ...],
    workload: Workload,
    *,
    streams: int,
    seconds: float,
    seed: int,
    clock: Clock,
) -> tuple[Rate, ...]:
    """Teacher's and student's Rate in one setting.  Raises LoadError as the runtime does."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((workload.batch, *input_shape), dtype=np.float32)
    with (
        open_engine(pair[0], inputs, workload, streams) as first,
        open_engine(pair[1], inputs, workload, streams) as second,
    ):
        engines = {"teacher": first, "student": second}
        return take_turns(engines, workload, streams=streams, seconds=seconds,
                          generator=generator, clock=clock)  # fmt: skip


def take_turns(
    engines: dict[str, Engine],
    workload: Workload,
    *,
    streams: int,
    seconds: float,
    generator: np.random.Generator,
    clock: Clock,
) -> tuple[Rate, ...]:
    """Windows in a random order until ``seconds`` are over; the first of each is a warm-up."""
    names = list(engines)
    window = min(WINDOW_S, seconds / (len(names) * (FEWEST_WINDOWS + 1)))
    for name in names:
        engines[name].run_window(window, clock)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    calls: dict[str, list[float]] = {name: [] for name in names}
    begin = clock()
    while len(speeds[names[0]]) < FEWEST_WINDOWS or (clock() - begin) / 1e9 < seconds:
        for place in generator.permutation(len(names)):
            speed, took = engines[names[place]].run_window(window, clock)
            speeds[names[place]].append(speed)
            calls[names[place]] += took
    return tuple(
        Rate(
            subject=name,  # type: ignore[arg-type]
            workload=workload,
            streams=streams,
            samples_per_s=float(np.median(speeds[name])),
            least=min(speeds[name]),
            most=max(speeds[name]),
            windows=len(speeds[name]),
            calls=len(calls[name]),
            median_s=float(np.median(calls[name])),
            slowest_s=max(calls[name]),
            p99_s=percentile(np.array(calls[name]), 0.99),
        )
        for name in names
    )


def best_batch(rates: Sequence[Rate], limit_s: float) -> Rate | None:
    """The most samples per second among the settings whose batches keep to ``limit_s``.

    What must keep to it is the p99; the slowest call where there are too few for one.
    """
    fit = [one for one in rates if (one.p99_s or one.slowest_s) <= limit_s]
    return max(fit, key=lambda one: one.samples_per_s, default=None)


@contextmanager
def open_engine(
    path: Path, inputs: np.ndarray, workload: Workload, streams: int
) -> Iterator[Engine]:
    """Load ``path`` with as many streams.  Several are known for ONNX Runtime and OpenVINO."""
    if workload.runtime == "openvino" and streams > 1:
        yield OpenVinoStreams(path, inputs, workload, streams)
        return
    if workload.runtime == "onnxruntime" and streams > 1:
        calls = [open_call(path, threads=workload.threads) for _ in range(streams)]
        yield Threads([lambda run=run: run(inputs) for run in calls], len(inputs))  # type: ignore[misc]
        return
    runtime = runtime_for(workload)
    with runtime.settings():
        run, placed = runtime.prepare(path), runtime.place(inputs)
        yield Threads([lambda: run(placed)], len(inputs))


class Threads:
    """One Python thread for each call; ONNX Runtime lets go of the interpreter while it works."""

    def __init__(self, calls: Sequence[Callable[[], object]], samples: int) -> None:
        self._calls = calls
        self._samples = samples

    def run_window(self, seconds: float, clock: Clock) -> tuple[float, list[float]]:
        times: list[list[float]] = [[] for _ in self._calls]
        errors: list[BaseException] = []
        together = threading.Barrier(len(self._calls))

        def work(place: int) -> None:
            try:
                together.wait()
                begin = clock()
                while True:
                    start = clock()
                    self._calls[place]()
                    end = clock()
                    times[place].append((end - start) / 1e9)
                    if (end - begin) / 1e9 >= seconds:
                        return
            except BaseException as problem:
                together.abort()
                errors.append(problem)

        if len(self._calls) == 1:
            work(0)
        else:
            threads = [threading.Thread(target=work, args=(n,)) for n in range(len(self._calls))]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        if errors:
            raise errors[0]
        # Each stream's own rate: they do not end together, and the last call of one may be alone.
        speed = sum(self._samples * len(one) / sum(one) for one in times)
        return speed, [took for one in times for took in one]


class OpenVinoStreams:
    """OpenVINO's queue of requests, as many as there are streams."""

    def __init__(self, path: Path, inputs: np.ndarray, workload: Workload, streams: int) -> None:
        import openvino

        core = openvino.Core()
        whole = OpenVinoCpu(threads=streams * workload.threads, precision=workload.precision)
        # As one stream is run, but for their number.
        settings = whole.properties() | {"NUM_STREAMS": streams}
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        self._queue = openvino.AsyncInferQueue(compiled, streams)
        self._inputs = inputs

    def run_window(self, seconds: float, clock: Clock) -> tuple[float, list[float]]:
        times: list[float] = []
        self._queue.set_callback(lambda request, start: times.append((clock() - start) / 1e9))
        begin = clock()
        while (clock() - begin) / 1e9 < seconds or not times:
            self._queue.start_async({0: self._inputs}, clock())
        self._queue.wait_all()
        return len(self._inputs) * len(times) / ((clock() - begin) / 1e9), times


def row(rate: Rate) -> dict[str, Any]:
    """An entry of ``throughput`` in ``report.json``."""
    return {
        **rate.workload.facts,
        "subject": rate.subject,
        "streams": rate.streams,
        "samples_per_s": rate.samples_per_s,
        "least": rate.least,
        "most": rate.most,
        "windows": rate.windows,
        "calls": rate.calls,
        "median_ms": 1e3 * rate.median_s,
        "slowest_ms": 1e3 * rate.slowest_s,
        "p99_ms": None if rate.p99_s is None else 1e3 * rate.p99_s,
    }
