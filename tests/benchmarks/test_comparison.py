"""Tiny models through fresh processes: rows, raw samples, refusals, bounded lives."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import dispatch
from benchmarks.comparison import Model, compare, row, skipped_row, write_samples
from benchmarks.dispatch import Effort, Failure, Pair, measure
from benchmarks.measurements import Measurement
from benchmarks.raw_samples import calls
from benchmarks.sampling import Sample
from benchmarks.workers import Outcome, Source
from benchmarks.workloads import Workload, usual_workloads
from compressor.errors import OptionError
from compressor.reporting import plain
from tests.benchmarks.small_files import write_linear

ORT = Workload(runtime="onnxruntime", batch=2)
QUICK = Effort(seconds=0.3, processes=3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_linear(tmp_path / "teacher.onnx", 8)


def test_comparison_gives_a_row_and_raw_samples_from_several_processes(
    file: Path, tmp_path: Path
) -> None:
    other = Model.of_onnx(write_linear(tmp_path / "other.onnx", 16, name="pixels"))
    told: list[int] = []
    found = compare(
        Model.of_onnx(file),
        other,
        workloads=(ORT, Workload(runtime="torch")),
        effort=QUICK,
        progress=lambda workload, process: told.append(process),
    )
    (one,) = found.measured
    assert told[:3] == [0, 1, 2]
    assert {sample.process for sample in one.measurement.samples} >= {0, 1, 2}
    assert one.measurement.ran_by["student"] == "1 nodes by CPUExecutionProvider"
    assert len(one.measurement.surroundings) == len(one.measurement.sittings)
    assert "not at hand as a .pt2 program" in skipped_row(found.skipped[0])["reason"]
    (path,) = write_samples(found, tmp_path / "run" / "benchmarks")
    assert path.name == "onnxruntime-b2.json"
    kept = tuple(Sample(**call) for call in calls(json.loads(path.read_bytes())))
    assert kept == one.measurement.samples
    entry = json.loads(json.dumps(row(one)))
    needed = {"runtime", "device", "precision", "batch", "threads", "teacher", "student"}
    more = {"speedup", "interval", "verdict", "wall_speedup", "cpu_speedup", "surroundings"}
    assert needed | more <= entry.keys()
    assert {"median_ms", "p90_ms", "p99_ms", "throughput_per_s"} <= entry["teacher"].keys()
    assert entry["samples"] == "benchmarks/onnxruntime-b2.json"


def test_file_that_a_runtime_refuses_is_skipped_with_its_name_and_not_its_folder(
    file: Path, tmp_path: Path
) -> None:
    whole = Model.of_onnx(file)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    found = compare(
        whole, Model(signature=whole.signature, onnx=broken), workloads=(ORT,), effort=QUICK
    )
    assert found.measured == ()
    assert found.skipped[0].reason.startswith("broken.onnx: ONNX Runtime refuses the file")
    assert found.skipped[0].refused
    told = skipped_row(found.skipped[0])
    assert plain(told) == told  # as a journal has to keep it


def test_what_cannot_run_is_skipped_with_the_reason(tmp_path: Path) -> None:
    fixed = Model(signature=Model.of_onnx(write_linear(tmp_path / "a.onnx", 8)).signature)
    found = compare(fixed, fixed, workloads=(ORT, Workload(runtime="absent_runtime")), effort=QUICK)
    assert [("not at hand" in one.reason, "not installed" in one.reason) for one in found.skipped]
    assert "not at hand as an ONNX file" in found.skipped[0].reason
    assert "not installed" in found.skipped[1].reason


def test_every_precision_of_the_files_is_compared_with_its_own_kind(
    file: Path, tmp_path: Path
) -> None:
    """The file in float32 is broken here: only the other one can have been measured."""
    signature = Model.of_onnx(file).signature
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    both = Model(signature=signature, onnx=broken, lower={"int8": file})
    int8 = Workload(runtime="onnxruntime", stored="int8")
    fp16 = Workload(runtime="onnxruntime", stored="fp16")
    found = compare(both, both, workloads=(int8, fp16), effort=QUICK)
    assert [one.workload.name for one in found.measured] == ["onnxruntime-int8-b1"]
    assert row(found.measured[0])["precision"] == "int8"
    assert "not at hand as an ONNX file in fp16" in found.skipped[0].reason


def test_usual_workloads_run_bfloat16_in_bfloat16_where_there_is_the_choice() -> None:
    assert usual_workloads(1, stored=()) == usual_workloads(1)
    more = usual_workloads(1, batches=(1,), stored=("bf16", "int8"))[4:]
    assert [(one.runtime, one.stored, one.precision) for one in more] == [
        ("onnxruntime", "bf16", "float32"),
        ("openvino", "bf16", "bfloat16"),
        ("onnxruntime", "int8", "float32"),
        ("openvino", "int8", "float32"),
    ]
    assert len({one.name for one in more}) == 4


@pytest.mark.parametrize(
    "effort", [Effort(processes=2), Effort(seconds=0), Effort(within=0)], ids=str
)
def test_effort_that_nothing_can_come_of_is_refused(effort: Effort, file: Path) -> None:
    model = Model.of_onnx(file)
    with pytest.raises(OptionError):
        compare(model, model, workloads=(ORT,), effort=effort)


def pair_of(file: Path) -> Pair:
    source = Source(path=str(file), signature=Model.of_onnx(file).signature, sizes={})
    return Pair(teacher=source, student=source)


def test_process_that_does_not_end_is_ended(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "LIFE_SECONDS", -0.09)
    found = measure(pair_of(file), (ORT,), QUICK)
    assert found[ORT] == Failure(reason="its process was ended after 0 s")


def test_process_that_dies_is_told_in_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    found = measure(pair_of(file), (ORT,), QUICK)
    failure = found[ORT]
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("its process failed: ")
    assert "\n" not in failure.reason


def test_a_workload_that_kills_its_process_does_not_take_the_others_along(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(ORT, batch=32)
    start = subprocess.run

    def killed(*command: Any, **how: Any) -> subprocess.CompletedProcess[bytes]:
        job = json.loads(how["input"])
        if any(one["batch"] == 32 for one in job["workloads"]):
            return subprocess.CompletedProcess(command, -9, b"", b"")
        return start(*command, **how)

    monkeypatch.setattr(subprocess, "run", killed)
    found = measure(pair_of(file), (ORT, large), QUICK)
    reason = "its process was killed, perhaps for want of memory"
    assert found[large] == Failure(reason=reason)
    assert isinstance(found[ORT], Measurement)


def test_measuring_goes_on_until_the_time_is_spent_and_slow_starts_are_made_up_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretended worker takes twice its first share; the shares after it get smaller."""
    now, shares = [0.0], []

    def run(job: dispatch.Job) -> tuple[Outcome, ...]:
        shares.append(job.share_s)
        now[0] += 4.0 if len(shares) == 1 else job.share_s
        sitting = dispatch_sitting(job.process)
        return (Outcome(sitting=sitting),)

    monkeypatch.setattr(dispatch, "run", run)
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: now[0])
    found = measure(pair_of(file), (ORT,), Effort(seconds=10, processes=5))
    assert shares == pytest.approx([2.0, 1.0, 5 / 3, 5 / 3, 5 / 3])
    assert isinstance(found[ORT], Measurement)
    assert found[ORT].stopped == "time spent"
    assert found[ORT].seconds == pytest.approx(10)


def dispatch_sitting(process: int) -> object:
    from dataclasses import replace

    from tests.benchmarks.made_up import measurement

    (one,) = measurement([2.0, 2.1], [1.0, 1.1], [2.0, 2.0], processes=1).sittings
    return replace(one, samples=tuple(replace(s, process=process) for s in one.samples))
