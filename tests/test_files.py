"""Writing whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.errors import FolderError, SurroundingsError
from compressor.files import (
    WRITING,
    check_writable,
    entries_of,
    replacing,
    scratch_folder,
    sha256,
    sweep,
    sweep_of,
    write_bytes,
)

ROOT = Path(__file__).resolve().parent.parent


def _write_half(place: Path) -> None:
    place.write_bytes(b"half")
    raise ValueError("stop")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with pytest.raises(ValueError, match="stop"), replacing(path) as place:
        _write_half(place)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_beside_it_move_too(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "x.onnx") as place:
        place.write_bytes(b"1")
        place.with_name("x.onnx.data").write_bytes(b"2")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["x.onnx", "x.onnx.data"]


def test_a_disk_that_refuses_is_the_surroundings_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(SurroundingsError, match=r"cannot write .*choose another --out"):
        write_bytes(tmp_path / "x", b"1")


def test_a_place_that_is_none_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FolderError, match=r"cannot write .*not a folder; choose another --out"):
        write_bytes(tmp_path / "file" / "x", b"1")
    with pytest.raises(FolderError, match="is a folder; name a file in it"):
        write_bytes(tmp_path, b"1")


def test_hash_is_of_the_bytes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x", b"abc")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "x.pt")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="choose another --out"):
        check_writable(tmp_path / "file" / "x.pt")
    with pytest.raises(FolderError, match="is a folder"):
        check_writable(tmp_path / "new")


# -- disks that refuse -----------------------------------------------------------------------------


class Refusing:
    """In place of a call of the system: the ``number``-th time there is no space."""

    def __init__(self, call: Callable[..., object], number: int) -> None:
        self._call, self._left = call, number

    def __call__(self, *arguments: object, **named: object) -> object:
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._call(*arguments, **named)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_three(path: Path, text: bytes) -> None:
    with replacing(path) as place:
        for name in ("a", "b", path.name):
            place.with_name(name).write_bytes(text)


@pytest.mark.parametrize("there", [(), ("x",), ("a", "x"), ("a", "b", "x")])
def test_of_several_files_all_are_new_or_none_wherever_it_fails(
    tmp_path: Path, there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0
    for number in range(1, 20):
        for path in tmp_path.iterdir():
            path.unlink()
        for name in there:
            (tmp_path / name).write_bytes(b"old")
        before = content(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", Refusing(os.replace, number))
            try:
                write_three(tmp_path / "x", b"new")
            except SurroundingsError:
                failures += 1
            else:
                break
        assert content(tmp_path) == before, number
    assert failures == 3 + len(there)
    assert content(tmp_path) == dict.fromkeys(("a", "b", "x"), b"new")


def test_a_folder_takes_the_place_of_a_folder_or_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"1")

    def write_empty() -> None:
        with replacing(tmp_path / "out") as place:
            place.mkdir()

    for number in (1, 2):
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", Refusing(os.replace, number))
            with pytest.raises(SurroundingsError, match="No space left"):
                write_empty()
        assert content(tmp_path) == {"out/old": b"1"}
    with replacing(tmp_path / "out") as place:
        place.mkdir()
        (place / "new").write_bytes(b"2")
    assert content(tmp_path) == {"out/new": b"2"}


def test_all_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        said.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def moved(source: Path, target: Path) -> None:
        said.append(f"-> {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", moved)
    with replacing(tmp_path / "out") as place:
        (place / "onnx").mkdir(parents=True)
        (place / "onnx" / "x").write_bytes(b"1")
    last = said.index("-> out")
    assert said.index("x") < said.index("onnx", said.index("x")) < last
    assert said[last + 1 :] == [tmp_path.name]


def test_a_disk_that_finds_out_late_that_it_is_full_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_three(tmp_path / "x", b"old")
    before = content(tmp_path)
    monkeypatch.setattr(os, "fsync", Refusing(os.fsync, 2))
    with pytest.raises(SurroundingsError, match="No space left"):
        write_three(tmp_path / "x", b"new")
    assert content(tmp_path) == before


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    for place in ("run", "run/onnx"):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"{WRITING}x-1").mkdir()
        (tmp_path / place / f"{WRITING}x-1" / "half").write_bytes(b"1")
    (tmp_path / "run" / "whole").write_bytes(b"1")
    sweep(tmp_path / "run")
    assert content(tmp_path) == {"run/whole": b"1"}


def test_beside_others_only_what_was_left_of_the_same_path_is_removed(tmp_path: Path) -> None:
    for name in ("a.pt", "a.pt2"):
        (tmp_path / f"{WRITING}{name}-1").mkdir()
    sweep_of(tmp_path / "a.pt")
    assert [path.name for path in tmp_path.iterdir()] == [f"{WRITING}a.pt2-1"]


MOUNTED = """
from pathlib import Path
from compressor.errors import SurroundingsError
from compressor.files import write_bytes
from compressor.locks import held
place = Path("{place}")
try:
    with held(place / "run" / ".lock", "compressor build"):
        write_bytes(place / "run" / "small", b"x" * 1000)
        write_bytes(place / "run" / "large", b"x" * 100_000)
except SurroundingsError as error:
    print(error)
print(sorted(path.name for path in (place / "run").glob("*")))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no mounts without privileges")
def test_a_file_system_that_is_full_or_may_only_be_read(tmp_path: Path) -> None:
    """Really: a small one of its own, first full, then read-only."""
    place, script = tmp_path / "place", tmp_path / "script.py"
    place.mkdir()
    script.write_text(MOUNTED.format(place=place))
    steps = (
        f"mount -t tmpfs -o size=32k tmpfs {place}",
        f"{sys.executable} {script}",
        f"rm -r {place}/run/small",
        f"mount -o remount,ro {place}",
        f"{sys.executable} {script}",
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", "; ".join(steps)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.stderr == ""
    advice = "free space there or choose another --out"
    assert done.stdout.splitlines() == [
        f"cannot write {place}/run/large: No space left on device; {advice}",
        "['small']",
        f"cannot write {place}/run/.lock: Read-only file system; {advice}",
        "[]",
    ]


# -- temporary files -------------------------------------------------------------------------------


def test_a_scratch_folder_goes_with_all_that_is_in_it() -> None:
    with scratch_folder() as folder:
        (folder / "x").write_bytes(b"1")
    assert not folder.exists()


def test_no_temporary_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SurroundingsError, match="variable TMPDIR"), scratch_folder():
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("Fail")])
def test_a_library_that_fails_for_want_of_temporary_space_is_told_as_that(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail() -> None:
        with scratch_folder():
            monkeypatch.setattr(tempfile, "TemporaryFile", full)
            raise error

    with pytest.raises(SurroundingsError, match=r"No space left.*variable TMPDIR"):
        fail()


def test_errors_of_another_kind_pass_through() -> None:
    with pytest.raises(ValueError, match="another"), scratch_folder():
        raise ValueError("another")


def test_files_are_listed_and_what_is_neither_file_nor_folder_apart(tmp_path: Path) -> None:
    (tmp_path / "run" / "inner").mkdir(parents=True)
    (tmp_path / "run" / "inner" / "a").write_bytes(b"")
    (tmp_path / "run" / ".b").write_bytes(b"")
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    (tmp_path / "run" / "inner" / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "run" / "pipe")
    files, others = entries_of(tmp_path / "run")
    assert files == (".b", "inner/a")
    assert others == ("inner/gone", "link", "pipe")
