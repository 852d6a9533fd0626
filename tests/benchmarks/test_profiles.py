"""Kernels of real runtimes on small files, and turns by a clock that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.operations import read_operations
from benchmarks.profilers import (
    OnnxRuntimeProfiler,
    OpenVinoProfiler,
    Profiler,
    counting,
    later_mean,
    open_profiler,
    with_names,
)
from benchmarks.profiles import FEWEST_ROUNDS, WARMUP_ROUNDS, profile, take_turns
from benchmarks.workloads import Workload
from compressor.errors import LoadError, OptionError

SHAPE = (3, 8, 8)
INPUTS = np.ones((2, *SHAPE), np.float32)


def profiled(profiler: Profiler, rounds: int = 4) -> set[str]:
    for _ in range(2 * rounds):
        profiler.run(INPUTS)
    kernels = profiler.kernels(rounds)
    assert all(one.seconds >= 0 and one.covers for one in kernels)
    return {name for one in kernels for name in one.covers}


@pytest.mark.parametrize("place", [0, 1])
def test_every_operation_is_covered_by_a_kernel_of_onnx_runtime(
    pair: tuple[Path, Path], tmp_path: Path, place: int
) -> None:
    operations = read_operations(pair[place], SHAPE, 2)
    profiler = OnnxRuntimeProfiler(pair[place], operations, 1, tmp_path / "p")
    assert profiled(profiler) == {one.name for one in operations}


def test_every_product_is_covered_by_a_kernel_of_openvino(pair: tuple[Path, Path]) -> None:
    pytest.importorskip("openvino")
    operations = read_operations(pair[1], SHAPE, 2)
    workload = Workload(runtime="openvino", batch=2)
    covered = profiled(OpenVinoProfiler(pair[1], operations, INPUTS.shape, workload))
    assert {one.name for one in operations if one.macs} <= covered


def test_file_without_names_gets_them_in_a_copy(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert with_names(pair[0], tmp_path) == pair[0]
    model = onnx.load(str(pair[0]))
    for node in model.graph.node:
        node.name = ""
    bare = tmp_path / "bare.onnx"
    onnx.save(model, bare)
    operations = read_operations(bare, SHAPE, 2)
    profiler = OnnxRuntimeProfiler(bare, operations, 1, tmp_path / "p")
    assert profiled(profiler) == {one.name for one in operations}
    assert operations[0].name == "Conv_0"


def test_profile_knows_the_call_and_its_kernels(pair: tuple[Path, Path]) -> None:
    teacher, student = profile(
        *pair, INPUTS, workload=Workload(runtime="onnxruntime", batch=2), seconds=0.05
    )
    assert teacher.rounds == student.rounds >= FEWEST_ROUNDS
    assert teacher.macs > student.macs > 0
    for one in (teacher, student):
        assert 0 < one.kernels_s < 3 * one.profiled_call_s
        assert one.call_s > 0


def test_turns_are_random_and_only_their_second_call_counts() -> None:
    now, order = 0, []

    def call(name: int) -> None:
        nonlocal now
        order.append(name)
        now += 1_000_000_000 * (100 if order[-2:-1] != [name] else name + 1)

    times = take_turns(
        [lambda: call(0), lambda: call(1)], seconds=0.0, most=50, seed=3, clock=lambda: now
    )
    assert times == [[1.0] * FEWEST_ROUNDS, [2.0] * FEWEST_ROUNDS]
    turns = order[2 * WARMUP_ROUNDS :: 2]
    assert turns == order[2 * WARMUP_ROUNDS + 1 :: 2]
    assert len(set(zip(turns[::2], turns[1::2], strict=True))) == 2
    assert counting([9, 9, 1, 2, 3, 4], 2) == [2, 4]


def test_runtime_without_a_profiler_and_broken_file_are_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="kernels are timed in onnxruntime"):
        open_profiler(pair[0], (), INPUTS, Workload(runtime="torch"), tmp_path / "p")
    broken = tmp_path / "broken.onnx"
    onnx.save(onnx.ModelProto(), broken)
    with pytest.raises(LoadError, match=r"broken\.onnx"):
        profile(broken, pair[1], INPUTS, workload=Workload(runtime="onnxruntime"))


def test_warmup_is_taken_out_of_means_of_all_calls() -> None:
    times = [90.0, 30.0, 10.0, 12.0, 8.0, 10.0]
    means = [sum(times[: n + 1]) / (n + 1) for n in range(len(times))]
    assert later_mean(means, 4) == pytest.approx(10.0)
    assert later_mean(means, 6) == pytest.approx(sum(times) / 6)
    assert later_mean([50.0, 1.0], 1) == 0.0  # whole microseconds: never below
