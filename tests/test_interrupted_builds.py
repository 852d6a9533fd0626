"""Whole builds in this process, killed after every journaled stage and in training."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from compressor import building, preparing, snapshots
from compressor.building import pipeline
from compressor.errors import FolderError
from compressor.keeping import Snapshot
from compressor.loading import load, untrained
from compressor.pacing import Deadline, Epochs
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.runs import Run
from compressor.types import Budget
from tests.interruptions import Killed
from tests.kills import differences, prepare

CASES: dict[str, tuple[str, Wishes, int]] = {
    "prune-then-distill": ("structured", Wishes(criterion="magnitude", allocation="uniform"), 1),
    "epsd": ("structured", Wishes(self_distillation="dlb", lookahead=1), 1),
    "sdp": ("structured", Wishes(pruning_steps=2), 3),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("builds")
    prepare(folder)
    return folder


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every continuation does anew is done once, and every step is kept."""
    captured: dict[str, Any] = {}
    capture = preparing.capture_teacher

    def once(teacher: Any) -> Any:
        name = str((teacher.source.architecture, teacher.source.sha256))
        if name not in captured:
            captured[name] = capture(teacher)
        return captured[name].copy()

    monkeypatch.setattr(preparing, "capture_teacher", once)
    monkeypatch.setattr(snapshots, "SECONDS", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", float("inf"))


def build(work: Path, recipe: str, out: str, **options: Any) -> Path:
    form, wishes, epochs = CASES[recipe]
    chosen = find_recipe(recipe, form, 0.5, wishes)
    arch = f"{work / 'net.py'}:noisy"
    given: dict[str, Any] = {"length": Epochs(epochs), "bench_seconds": 0, **options}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return building.build(
            load(work / "noisy.pt", arch, image_size=16)
            if chosen.trained_teacher
            else untrained(arch, classes=10, image_size=16),
            data="digits",
            recipe=chosen,
            budget=Budget(sparsity=0.5, multiple_of=1, smallest_group=1),
            out=work / out,
            sample=64,
            threads=1,
            **given,
        )
    finally:
        torch.set_num_threads(threads)


class Deaths:
    """Kills after every stage that the journal notes, and after every few snapshots."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.stages: list[str] = []
        self.snapshots = 0
        self._draw, self._left = random.Random(seed), 3
        finish, write = Run.finish, snapshots.write_snapshot

        def finished(run: Run, stage: str, result: Mapping[str, Any], **options: Any) -> None:
            finish(run, stage, result, **options)
            self.stages.append(stage)
            raise Killed

        def written(file: Path, snapshot: Snapshot) -> None:
            write(file, snapshot)
            self.snapshots += 1
            self._left -= 1
            if not self._left:
                self._left = self._draw.randint(1, 6)
                raise Killed

        monkeypatch.setattr(Run, "finish", finished)
        monkeypatch.setattr(snapshots, "write_snapshot", written)


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.slow] * (name != "epsd")) for name in CASES]
)
def test_a_build_killed_after_every_stage_and_in_training_ends_as_an_undisturbed_one(
    recipe: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(work, recipe, f"{recipe}-whole")
    assert not (whole / "unfinished").exists()
    deaths, kills = Deaths(monkeypatch, seed=1), 0
    while True:
        try:
            again = build(work, recipe, f"{recipe}-killed")
            break
        except Killed:
            kills += 1
    phases = len(find_recipe(recipe, *CASES[recipe][:1], 0.5, CASES[recipe][1]).phases)
    assert deaths.stages == ["phases"] * phases + ["export", "evaluation", "report"]
    assert kills > len(deaths.stages)  # in training too
    assert differences(whole, again) == []


@pytest.mark.slow
def test_minutes_are_those_of_training_and_not_of_what_lies_between(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = Deaths(monkeypatch, seed=2)
    deaths._left = 40
    while True:
        try:
            folder = build(work, "epsd", "by-the-clock", length=Deadline(1.5))
            break
        except Killed:
            continue
    report = json.loads((folder / "report.json").read_bytes())
    (training,) = (one for one in report["recipe"]["phases"] if "epochs" in one)
    assert 0.5 < training["seconds"] < 3.0
    assert training["epochs"] > 0


@pytest.mark.slow
def test_a_damaged_student_is_refused_and_a_damaged_file_made_anew(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "measure_speeds", stop)
        with pytest.raises(Killed):
            build(work, "epsd", "damaged")
    onnx = work / "damaged/onnx/student.onnx"
    exported = onnx.read_bytes()
    onnx.write_bytes(exported[:-1] + b"?")
    (standing,) = (work / "damaged/unfinished").glob("standing-*")
    values = standing.read_bytes()
    standing.write_bytes(values[:-1] + bytes([values[-1] ^ 1]))
    with pytest.raises(FolderError, match="--restart"):
        build(work, "epsd", "damaged")
    standing.write_bytes(values)
    build(work, "epsd", "damaged")
    assert onnx.read_bytes() == exported


@pytest.mark.slow
def test_a_run_that_lacks_its_manifest_alone_is_closed_only_where_all_files_are_as_they_were(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Killed

    def stopped_in(name: str) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(pipeline, name, stop)
            with pytest.raises(Killed):
                build(work, "epsd", "unclosed")

    stopped_in("_end")  # what is needed to make a file anew is still there
    onnx = work / "unclosed/onnx/student.onnx"
    exported = onnx.read_bytes()
    onnx.write_bytes(exported[:-1] + b"?")
    stopped_in("close")
    assert onnx.read_bytes() == exported
    for file in ("onnx/student.onnx", "analysis.json", "proof.json"):
        path = work / "unclosed" / file
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(FolderError, match="what its journal speaks of is damaged"):
            build(work, "epsd", "unclosed")
        assert not (work / "unclosed/manifest.json").exists()
        path.write_bytes(content)
    folder = build(work, "epsd", "unclosed")
    assert differences(folder, folder) == []


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import comparison, deep
    from benchmarks.comparison import Comparisons

    calls: list[str] = []

    def compare(*_: object, **__: object) -> Comparisons:
        calls.append("compare")
        return Comparisons(measured=(), skipped=())

    def explain(*_: object, **__: object) -> dict[str, Any]:
        calls.append("explain")
        if calls.count("explain") == 1:
            raise Killed
        return {"layers": []}

    monkeypatch.setattr(comparison, "compare", compare)
    monkeypatch.setattr(deep, "measure", explain)
    with pytest.raises(Killed):
        build(work, "epsd", "measured", bench_seconds=1.0)
    assert calls == ["compare", "explain"]
    monkeypatch.setattr(pipeline, "close", lambda *_: None)  # pages want figures
    build(work, "epsd", "measured", bench_seconds=1.0)
    assert calls == ["compare", "explain", "explain"]
