"""Whole builds where the disk refuses, the folder goes or another build is at work.

Each ends in one line and status 3, what is there is whole, and the same command then gives the
bytes of a build that nothing disturbed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch

from compressor import building, files
from compressor.building import pipeline
from compressor.errors import SurroundingsError
from compressor.graphs import Graph
from compressor.loading import Teacher, load
from compressor.locks import LOCK_FILE, held
from compressor.pacing import Epochs
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.types import Budget, Packaging
from compressor.watching import Listener, Silent
from export import onnx_files, shipping
from tests.teachers import write_teacher
from tests.test_locks import holder
from tests.test_saving import files_up_to

ROOT = Path(__file__).resolve().parent.parent
NETWORK = """
from torch import nn

def tiny(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
COMMAND = (
    "build", "--teacher", "tiny.pt", "--arch", "net.py:tiny", "--image-size", "8", "--data",
    "digits", "--sparsity", "0.5", "--multiple-of", "1", "--criterion", "magnitude",
    "--allocation", "uniform", "--epochs", "1", "--repair-images", "32", "--threads", "1",
    "--bench-seconds", "0", "--out",
)  # fmt: skip
# What holds times and memory, or the hash of what does.
TIMED = {
    "journal.json", "report.json", "report.html", "report.md", "README.md", "bom.cdx.json",
    "manifest.json",
}  # fmt: skip

STAGES = (
    "capture", "analyze", "data", "score and plan", "remove", "prove", "repair",
    "distill for 1 epochs", "export and verify", "measure the files",
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("surroundings")
    write_teacher(folder, NETWORK, "tiny")
    return folder


@pytest.fixture(scope="module")
def teacher(work: Path) -> Teacher:
    return load(work / "tiny.pt", f"{work / 'net.py'}:tiny", image_size=8)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One thread; and what takes most of the time and writes nothing is done once for each network:
    capture, and the conversion to ONNX."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    known: dict[object, Any] = {}
    study, prepare = pipeline.study, pipeline.prepare
    convert, program = onnx_files._convert, shipping.export_program

    def studied(*arguments: Any, listener: Listener, **named: Any) -> Any:
        if "studied" not in known:
            known["studied"] = study(*arguments, listener=Silent(), **named)
        for stage in STAGES[:2]:
            listener.stage(stage)
        return known["studied"]

    def prepared(*arguments: Any, listener: Listener, **named: Any) -> Any:
        if "prepared" not in known:
            known["prepared"] = prepare(*arguments, listener=Silent(), **named)
        listener.stage(STAGES[2])
        return known["prepared"]

    def converted(exported: Any, name: str, opset: int | None) -> ir.Model:
        if name not in known:
            known[name] = ir.to_proto(convert(exported, name, opset)).SerializeToString()
        return ir.from_proto(onnx.load_from_string(known[name]))

    def exported(graph: Graph) -> Any:
        if graph.fingerprint not in known:
            known[graph.fingerprint] = program(graph)
        return known[graph.fingerprint]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "study", studied)
        patch.setattr(pipeline, "prepare", prepared)
        patch.setattr(onnx_files, "_convert", converted)
        patch.setattr(shipping, "export_program", exported)
        yield
    torch.set_num_threads(threads)


def build(teacher: Teacher, folder: Path, listener: Any = None, **named: Any) -> Path:
    return building.build(
        teacher,
        data="digits",
        recipe=find_recipe(
            "prune-then-distill", "structured", 0.5,
            Wishes(criterion="magnitude", allocation="uniform"),
        ),
        budget=Budget(sparsity=0.5, multiple_of=1),
        out=folder,
        length=Epochs(1),
        sample=32,
        threads=1,
        bench_seconds=0,
        listener=listener,
        **named,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(teacher: Teacher, work: Path) -> dict[str, bytes]:
    return bytes_of(build(teacher, work / "undisturbed"))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file whose bytes do not depend on how long something took."""
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix()) not in TIMED
    }


def require_whole(folder: Path, undisturbed: dict[str, bytes]) -> None:
    """Nothing half-written, no lock, and what has its final name has its final bytes."""
    if not folder.exists():
        return
    assert not (folder / "manifest.json").exists()
    for name, content in bytes_of(folder).items():
        assert files.WRITING not in name
        assert name != LOCK_FILE
        if not name.startswith("unfinished/"):
            assert content == undisturbed[name], name
    if (folder / "journal.json").exists():
        json.loads((folder / "journal.json").read_bytes())


# -- every write in turn ---------------------------------------------------------------------------


class Disk:
    """Has no room for a write that it has not refused before: once in each state of the run.

    ``refused``: (what, name, phases that are done).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: set[tuple[str, str, int]] = set()
        self.full = False

    def ask(self, what: str, name: str) -> None:
        if self.full:
            return
        key = (what, name, self._done())
        if key not in self.refused:
            self.refused.add(key)
            self.full = True  # for this run
            raise OSError(errno.ENOSPC, "No space left on device")

    def _done(self) -> int:
        try:
            journal = json.loads((self.folder / "journal.json").read_bytes())
        except OSError:
            return -1
        return int(
            journal["done"].get("phases", {}).get("result", {}).get("standing", {}).get("done", 0)
        )

    @contextmanager
    def refusing(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        replace, make, write = os.replace, tempfile.mkdtemp, Path.write_bytes

        def move(source: Any, target: Any) -> None:
            self.ask("move", Path(target).name)
            replace(source, target)

        def begin(suffix: Any = None, prefix: Any = None, dir: Any = None) -> str:
            self.ask("begin", prefix or "temporary")
            return make(suffix, prefix, dir)

        def fill(path: Path, content: bytes) -> int:
            self.ask("write", path.name)
            return write(path, content)

        self.full = False
        with patch.context() as patched:
            patched.setattr(os, "replace", move)
            patched.setattr(tempfile, "mkdtemp", begin)
            patched.setattr(Path, "write_bytes", fill)
            yield


@pytest.mark.slow
def test_whichever_write_fails_the_same_command_ends_with_the_same_bytes(
    teacher: Teacher,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    disk = Disk(folder)
    for _ in range(200):
        try:
            with disk.refusing(monkeypatch):
                build(teacher, folder)
        except SurroundingsError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            require_whole(folder, undisturbed)
        else:
            break
    assert not disk.full
    assert bytes_of(folder) == undisturbed
    names = {name for _, name, _ in disk.refused}
    for name in ("journal.json", "plan.json", "student.pt2", "golden.npz", "manifest.json"):
        assert name in names
    assert len(disk.refused) > 60, disk.refused


@pytest.mark.slow
def test_files_longer_than_the_system_allows_end_it_wherever_the_library_writes(
    teacher: Teacher, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """RLIMIT_FSIZE, which C libraries meet too; half as much again each time."""
    folder = tmp_path / "run"
    failed: list[str] = []
    limit = 100  # a lock has more
    for _ in range(40):
        try:
            with files_up_to(limit):
                build(teacher, folder)
        except SurroundingsError as error:
            assert "\n" not in str(error)  # noqa: PT017
            require_whole(folder, undisturbed)
            failed.append(str(error))
            limit = limit * 3 // 2
        else:
            break
    assert bytes_of(folder) == undisturbed
    assert all("File too large" in line for line in failed)
    names = {line.split(":")[0].rsplit("/", 1)[1] for line in failed}
    assert {".lock", "journal.json"} < names, names


MOUNTED = """
set -e
mount -t tmpfs -o size={size}k tmpfs {place}
mkdir {place}/taken
{before}
status=0
{python} -m compressor {command} {place}/run "$@" > {place}.out 2> {place}.err || status=$?
echo "$status"
ls -A {place}/run 2> /dev/null || true
"""


def in_a_mount(
    work: Path, size: int, before: str = "true", environment: dict[str, str] | None = None
) -> tuple[int, str, list[str]]:
    """The command in a small file system of its own: status, errors, what is in the folder."""
    place = work / f"mount{size}{len(before)}"
    place.mkdir(exist_ok=True)
    script = MOUNTED.format(
        size=size, place=place, before=before.format(place=place), python=sys.executable,
        command=" ".join(COMMAND),
    )  # fmt: skip
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    status, *names = done.stdout.splitlines()
    return int(status), place.with_name(f"{place.name}.err").read_text(), names


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no mounts without privileges")
@pytest.mark.parametrize("size", [4, 40, 80])
def test_a_disk_that_is_really_full_is_one_line(work: Path, size: int) -> None:
    status, error, names = in_a_mount(work, size)
    assert status == 3, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "No space left on device" in error
    assert LOCK_FILE not in names
    assert "manifest.json" not in names
    assert not any(name.startswith(files.WRITING) for name in names)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no mounts without privileges")
def test_a_folder_that_may_only_be_read_is_one_line_before_anything_is_done(work: Path) -> None:
    status, error, names = in_a_mount(work, 900, "mount -o remount,ro {place}")
    assert (status, error.count("\n"), names) == (3, 1, [])
    assert "Read-only file system" in error
    assert "choose another --out" in error


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no mounts without privileges")
def test_a_full_place_for_temporary_files_is_one_line(work: Path) -> None:
    """int8 needs some; the run folder has room."""
    status, error, names = in_a_mount(
        work,
        4000,
        "mkdir {place}/small && mount -t tmpfs -o size=4k tmpfs {place}/small"
        " && export TMPDIR={place}/small && set -- --precision int8",
    )
    assert (status, error.count("\n")) == (3, 1), error
    assert "variable TMPDIR" in error
    assert "journal.json" in names


# -- folders ---------------------------------------------------------------------------------------


class Deleting(Silent):
    """Deletes the run folder when a stage of the build begins."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.when, self.stages = folder, stage, []
        self.stages: list[str]

    def stage(self, name: str) -> None:
        self.stages.append(name)
        if name == self.when:
            shutil.rmtree(self.folder)


@pytest.mark.parametrize(
    "stage",
    [one if one == "repair" else pytest.param(one, marks=pytest.mark.slow) for one in STAGES],
)
def test_a_folder_that_is_deleted_under_the_build_stays_deleted(
    teacher: Teacher, tmp_path: Path, stage: str
) -> None:
    folder = tmp_path / "runs" / "run"
    listener = Deleting(folder, stage)
    with pytest.raises(SurroundingsError, match=r"run was deleted or moved while") as told:
        build(teacher, folder, listener)
    assert "\n" not in str(told.value)
    assert stage in listener.stages
    assert not folder.exists()


def test_a_second_build_into_one_folder_is_refused_and_told_whose_it_is(
    teacher: Teacher, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with (
        holder(folder / LOCK_FILE) as (process, _),
        pytest.raises(SurroundingsError, match=f"is in use: process {process.pid} on"),
    ):
        build(teacher, folder)
    assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    notes: list[str] = []

    class Noting(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

        def stage(self, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(teacher, folder, Noting())  # a folder of a lock alone is an empty one
    assert any(f"was locked by process {process.pid}" in note for note in notes)
    assert [path.name for path in folder.iterdir()] == ["journal.json"]


def test_a_restart_does_not_empty_the_folder_of_a_build_at_work(
    teacher: Teacher, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for name in ("journal.json", "plan.json"):
        (tmp_path / "run" / name).write_text('{"format": 1, "key": "x", "inputs": {}, "done": {}}')
    with (
        held(tmp_path / "run" / LOCK_FILE, "compressor build"),
        pytest.raises(SurroundingsError, match="is in use"),
    ):
        build(teacher, tmp_path / "run", restart=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "journal.json",
        "plan.json",
    ]


def test_a_complete_run_is_told_where_nothing_can_be_written(
    teacher: Teacher, work: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("open", "mkdir", "replace", "unlink"):
        if name != "open":
            monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert build(teacher, work / "undisturbed") == work / "undisturbed"


def test_a_signed_build_verifies_though_its_lock_was_there(
    teacher: Teacher, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing.signing", exc_type=ImportError)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from export.verification import verify

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "key.pub").write_bytes(public)
    folder = build(
        teacher, tmp_path / "run", packaging=Packaging(sign_key=str(tmp_path / "key.pem"))
    )
    found = verify(folder, public_key=tmp_path / "key.pub")
    assert found.passed, found.differences
    assert not (folder / LOCK_FILE).exists()
