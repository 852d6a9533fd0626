"""Samples per second: of made-up calls by a made-up clock, and of small files for real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.throughput import (
    OpenVinoStreams,
    Rate,
    Threads,
    best_batch,
    by_batch,
    by_streams,
    row,
    shares,
    take_turns,
)
from benchmarks.workloads import Workload

WORKLOAD = Workload(runtime="onnxruntime", batch=4)


def test_samples_per_second_are_batch_over_time() -> None:
    now = 0

    def call(milliseconds: int) -> None:
        nonlocal now
        now += milliseconds * 1_000_000

    engines = {
        "teacher": Threads([lambda: call(20)], 4),
        "student": Threads([lambda: call(5)], 4),
    }
    teacher, student = take_turns(
        engines,  # type: ignore[arg-type]
        WORKLOAD,
        streams=1,
        seconds=40.0,
        generator=np.random.default_rng(0),
        clock=lambda: now,
    )
    assert (teacher.samples_per_s, student.samples_per_s) == pytest.approx((200, 800))
    assert student.p99_s == pytest.approx(0.005)
    assert teacher.windows == student.windows >= 3


def test_an_error_in_a_stream_reaches_the_caller_and_ends_the_others() -> None:
    def fails() -> None:
        raise RuntimeError("broken stream")

    with pytest.raises(RuntimeError, match="broken stream"):
        Threads([fails, lambda: None], 1).run_window(0.01, _clock())


def _clock() -> object:
    import time

    return time.perf_counter_ns


def test_cores_are_shared_out_evenly() -> None:
    assert shares(1) == ((1, 1),)
    assert shares(4) == ((1, 4), (2, 2), (4, 1))
    assert all(streams * threads == 6 for streams, threads in shares(6))


def rate(batch: int, speed: float, p99: float | None, slowest: float) -> Rate:
    return Rate(
        subject="student",
        workload=Workload(runtime="onnxruntime", batch=batch),
        streams=1,
        samples_per_s=speed,
        least=speed,
        most=speed,
        windows=3,
        calls=400,
        median_s=slowest / 2,
        slowest_s=slowest,
        p99_s=p99,
    )


def test_best_batch_keeps_the_limit_by_p99_or_else_by_the_slowest_call() -> None:
    rates = [rate(1, 100, 0.01, 0.5), rate(8, 300, None, 0.04), rate(32, 500, None, 0.2)]
    assert best_batch(rates, 0.05) == rates[1]
    assert best_batch(rates, 0.02) == rates[0]
    assert best_batch(rates, 0.001) is None
    assert best_batch(rates, 1.0) == rates[2]


def test_batches_that_would_take_far_too_long_are_left_out(pair: tuple[Path, Path]) -> None:
    found = by_batch(*pair, (3, 8, 8), workload=WORKLOAD, batches=(1, 1_000_000), seconds_each=0.02)
    assert [one.workload.batch for one in found] == [1, 1]
    assert json.loads(json.dumps(row(found[0])))["samples_per_s"] > 0


def test_streams_of_onnx_runtime_work_at_the_same_time(pair: tuple[Path, Path]) -> None:
    found = by_streams(*pair, (3, 8, 8), workload=WORKLOAD, cores=2, seconds_each=0.05)
    seen = [(one.streams, one.workload.threads, one.subject) for one in found]
    assert seen == [(s, t, n) for s, t in ((1, 2), (2, 1)) for n in ("teacher", "student")]
    assert all(one.samples_per_s > 0 and one.calls >= one.streams for one in found)


def test_streams_of_openvino_run_every_request(pair: tuple[Path, Path]) -> None:
    pytest.importorskip("openvino")
    inputs = np.ones((4, 3, 8, 8), np.float32)
    engine = OpenVinoStreams(pair[1], inputs, Workload(runtime="openvino", batch=4), 2)
    speed, times = engine.run_window(0.02, _clock())  # type: ignore[arg-type]
    assert speed > 0
    assert all(took > 0 for took in times)
