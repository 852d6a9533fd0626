"""The command ``export``: what it writes, what it refuses, and equal bytes anywhere."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compressor import building
from compressor.errors import FolderError, InputError, OptionError, SurroundingsError
from compressor.files import sha256
from compressor.loading import Teacher, load
from compressor.locks import LOCK_FILE, beside, held
from compressor.pacing import Epochs
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.types import Budget, Packaging
from export.delivery import export_network, export_run
from export.golden import read_golden, write_golden
from export.manifest import write_manifest
from export.prediction import open_session, predict
from export.verification import verify
from tests.readme import run_block
from tests.teachers import write_teacher

ROOT = Path(__file__).parents[2]
NETWORK = """
from torch import nn

def small(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )
"""
ALL = Packaging(static_batch=True, triton=True)
MODELS = {"onnx/student.onnx", "onnx/student-batch1.onnx"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delivery")
    write_teacher(folder, NETWORK, "small")
    return folder


@pytest.fixture(scope="module")
def network(work: Path) -> Teacher:
    return load(work / "small.pt", f"{work / 'net.py'}:small", image_size=16)


@pytest.fixture(scope="module")
def run(work: Path, network: Teacher) -> Path:
    """A finished run; tests copy it before they change it."""
    return building.build(
        network,
        data="digits",
        recipe=find_recipe(
            "prune-then-distill", "structured", 0.5,
            Wishes(criterion="magnitude", allocation="uniform"),
        ),
        budget=Budget(sparsity=0.5, multiple_of=1),
        out=work / "run",
        length=Epochs(1),
        sample=64,
        threads=1,
        bench_seconds=0.05,
        packaging=ALL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(work: Path, run: Path) -> Path:
    export_run(run, work / "exported", packaging=ALL, command=("compressor", "export"), threads=1)
    return work / "exported"


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def facts_of(folder: Path) -> dict[str, str]:
    """What a folder's student says of itself."""
    facts: dict[str, str] = (
        open_session(folder / "onnx/student.onnx").get_modelmeta().custom_metadata_map
    )
    return facts


def test_a_build_is_a_product_itself(run: Path) -> None:
    there = files(run)
    report = json.loads((run / "report.json").read_bytes())
    name = "small-student"
    assert there.keys() > {
        "README.md", "bom.cdx.json", "manifest.json", *MODELS, f"triton/{name}/config.pbtxt",
        f"triton/{name}/1/model.onnx",
    }  # fmt: skip
    assert LOCK_FILE not in there
    told = {one["file"]: one for one in report["deployables"]}
    assert told.keys() == {*MODELS, "onnx/teacher.onnx"}
    twin = told["onnx/student-batch1.onnx"]
    assert twin["metrics"] == told["onnx/student.onnx"]["metrics"]
    assert verify(run).passed


def test_an_export_is_the_student_alone_with_the_bytes_and_figures_of_its_run(
    run: Path, exported: Path
) -> None:
    there = files(exported)
    assert there.keys() == {
        "README.md", "bom.cdx.json", "golden.npz", "labels.json", "manifest.json", *MODELS,
        "preprocessor_config.json", "student.pt2", "student.safetensors",
        "triton/small-student/1/model.onnx", "triton/small-student/config.pbtxt",
    }  # fmt: skip
    found = verify(exported)
    assert (found.passed, {one.file for one in found.replays}) == (True, MODELS)
    before = files(run)
    for name in (*MODELS, "student.pt2", "student.safetensors"):
        assert there[name] == before[name], name
    assert facts_of(run)["compressor.task"] == "image-classification"
    (row,) = (r for r in (exported / "README.md").read_text().splitlines() if "batch1" in r)
    assert "not measured" not in row


def test_a_run_becomes_the_users_own_class_as_the_readme_says(
    run: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    teacher = '"small.pt", "net.py:small", image_size=16'
    found = run_block(1, {'"runs/resnet50-params-0.7"': '"run"', '"resnet50.pt"': teacher})
    student = found["student"].eval()
    assert isinstance(student, nn.Sequential)
    assert student[0].out_channels < 16
    golden = read_golden(run)
    with torch.no_grad():
        answered = student(torch.from_numpy(golden.inputs)).numpy()
    assert np.allclose(answered, golden.outputs["onnx/student.onnx"][0], atol=1e-5)


def test_another_opset_has_no_accuracy_that_was_not_measured(run: Path, tmp_path: Path) -> None:
    notes = export_run(run, tmp_path / "out", opset=18, threads=1)
    assert notes == ()
    (row,) = (
        line
        for line in (tmp_path / "out" / "README.md").read_text().splitlines()
        if line.startswith("| `onnx/student.onnx`")
    )
    assert "| 18 | not measured |" in row
    assert verify(tmp_path / "out").passed


def test_files_of_other_precisions_are_carried_over_unless_the_opset_is_another(
    run: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    shutil.copyfile(changed / "onnx/student.onnx", changed / "onnx/student-fp16.onnx")
    report = json.loads((changed / "report.json").read_bytes())
    entry = next(one for one in report["deployables"] if one["file"] == "onnx/student.onnx")
    for network in ("teacher", "student"):
        other = {**entry, "file": f"onnx/{network}-fp16.onnx", "precision": "fp16"}
        report["deployables"].append(other)
    shutil.copyfile(changed / "onnx/teacher.onnx", changed / "onnx/teacher-fp16.onnx")
    (changed / "report.json").write_text(json.dumps(report))
    golden = read_golden(changed)
    outputs = {**golden.outputs, "onnx/student-fp16.onnx": golden.outputs["onnx/student.onnx"]}
    own = {"onnx/student-fp16.onnx": 0.01}
    write_golden(changed, golden.inputs, outputs, tolerances=own)
    write_manifest(changed, (), 0, {})
    export_run(changed, tmp_path / "all", threads=1)
    models = {file for file in files(tmp_path / "all") if file.startswith("onnx/")}
    assert models == {"onnx/student.onnx", "onnx/student-fp16.onnx"}
    replays = {one.file: one.tolerance for one in verify(tmp_path / "all").replays}
    assert replays == {"onnx/student.onnx": 1e-4, "onnx/student-fp16.onnx": 0.01}
    (note,) = export_run(changed, tmp_path / "some", opset=18, threads=1)
    assert note == "onnx/student-fp16.onnx is left out: it was not made for opset 18"


def test_a_program_alone_is_exported_and_answers_as_it_does_in_torch(
    run: Path, tmp_path: Path
) -> None:
    notes = export_network(load(run / "student.pt2"), tmp_path / "out", packaging=ALL, threads=1)
    assert any("random numbers" in note for note in notes)
    assert verify(tmp_path / "out").passed
    assert files(tmp_path / "out").keys() > MODELS
    golden = read_golden(tmp_path / "out")
    program = torch.export.load(tmp_path / "out" / "student.pt2").module()
    with torch.no_grad():
        wanted = program(torch.from_numpy(golden.inputs)).numpy()
    assert np.allclose(wanted, golden.outputs["onnx/student.onnx"][0], atol=1e-5)
    assert np.allclose(wanted, predict(run / "onnx/student.onnx", [golden.inputs]), atol=1e-5)


class TwoOutputs(nn.Module):
    """Boxes are far larger than scores: each output has its own scale."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.boxes = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(3, 4, 3, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.scores(x).sigmoid(), "boxes": 100 * self.boxes(x)}


def test_every_output_of_a_network_is_kept_and_verified(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        TwoOutputs().eval(), (torch.ones(2, 3, 16, 16),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, tmp_path / "two.pt2")
    out = tmp_path / "out"
    export_network(load(tmp_path / "two.pt2"), out, packaging=ALL, threads=1)
    golden = read_golden(out)
    assert golden.outputs.keys() == MODELS
    for scores, boxes in golden.outputs.values():
        assert (scores.shape, boxes.shape) == ((4, 6, 7, 7), (4, 4, 7, 7))
    assert verify(out).passed
    assert "compressor.task" not in facts_of(out)
    wrong = {file: (scores * 1.01, boxes) for file, (scores, boxes) in golden.outputs.items()}
    write_golden(out, golden.inputs, wrong)
    write_manifest(out, (), 0, {})
    assert not verify(out).passed


def test_a_network_that_takes_no_pictures_is_refused(work: Path, tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(1)

    program = torch.export.export(
        Sum(), (torch.ones(2, 5),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, tmp_path / "sum.pt2")
    with pytest.raises(OptionError, match="one batch of pictures"):
        export_network(load(tmp_path / "sum.pt2"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_of_ours_is_replaced_and_nothing_else_is(
    run: Path, exported: Path, network: Teacher, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(exported, own)
    export_network(network, own, threads=1)
    assert verify(own).passed
    assert "triton" not in {path.name for path in own.iterdir()}
    (own / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"holds more than was exported \(notes\.txt"):
        export_network(network, own)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    shutil.copytree(run, tmp_path / "run")
    for place in (tmp_path / "other", tmp_path / "other" / "file", tmp_path / "run"):
        before = files(tmp_path)
        with pytest.raises(FolderError, match="not an export of ours"):
            export_network(network, place)
        assert files(tmp_path) == before


def test_a_run_that_was_changed_or_is_none_is_not_exported(
    run: Path, exported: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    with pytest.raises(FolderError, match="lies in"):
        export_run(changed, changed / "out")
    (changed / "student.pt2").write_bytes(b"")
    with pytest.raises(FolderError, match=r"is not as it was built: student\.pt2"):
        export_run(changed, tmp_path / "out")
    with pytest.raises(FolderError, match="is no run of build"):
        export_run(exported, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_an_export_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import delivery

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(delivery, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        export_run(run, tmp_path / "out", threads=1)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_sign_is_refused_before_anything_is_written(
    run: Path, network: Teacher, tmp_path: Path
) -> None:
    unable = Packaging(sign_key=str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"--sign-key|signatures need"):
        export_run(run, tmp_path / "out", packaging=unable)
    with pytest.raises(InputError, match=r"--sign-key|signatures need"):
        building.build(network, budget=Budget(sparsity=0.5), out=tmp_path / "out", packaging=unable)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_changed_bit_in_any_file_of_a_run_is_seen(run: Path, tmp_path: Path) -> None:
    changed, places = tmp_path / "run", random.Random(0)
    shutil.copytree(run, changed)
    for name in files(run):
        path = changed / name
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(flipped)
        try:
            assert not verify(changed).passed, name
        except FolderError:
            assert name == "manifest.json"
        path.write_bytes(whole)
    assert verify(changed).passed


@pytest.mark.slow
@pytest.mark.parametrize("source", ["run", "small.pt"])
def test_two_processes_in_two_folders_export_equal_bytes(
    source: str, work: Path, run: Path, tmp_path: Path
) -> None:
    options = ["--out", "out", "--static-batch", "--triton", "--threads", "1"]
    if source != "run":
        options += ["--arch", "net.py:small", "--image-size", "16"]
    found = []
    for seed, place in (("1", tmp_path / "here"), ("2", tmp_path / "some where else")):
        place.mkdir()
        for name in ("net.py", "small.pt"):
            shutil.copyfile(work / name, place / name)
        shutil.copytree(run, place / "run")
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "compressor", "export", source, *options]
        subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)
        found.append(files(place / "out"))
    assert found[0] == found[1]
    assert {"student.pt2", "README.md", "bom.cdx.json", "golden.npz", *MODELS} < found[0].keys()


def test_an_export_that_fails_at_its_end_leaves_the_one_before(
    network: Teacher, work: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(exported, out)
    before = files(out)
    replace = os.replace
    tried: list[Path] = []

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == out and not tried:
            tried.append(Path(target))
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SurroundingsError, match=r"cannot write .*out: No space left on device"):
        export_network(network, out, threads=1)
    assert tried
    assert files(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_exports_to_one_place_do_not_meet(network: Teacher, tmp_path: Path) -> None:
    with (
        held(beside(tmp_path / "out"), "compressor export"),
        pytest.raises(SurroundingsError, match="is in use: process"),
    ):
        export_network(network, tmp_path / "out", threads=1)
    assert list(tmp_path.iterdir()) == []
