"""One process at a time: who is refused, what is stale, what happens to a folder that goes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compressor import locks
from compressor.errors import FolderError, SurroundingsError
from compressor.files import write_bytes
from compressor.locks import LOCK_FILE, Owner, beside, held, require_held, require_idle

ROOT = Path(__file__).resolve().parent.parent
HOLD = """
import subprocess, sys, time
from pathlib import Path
from compressor.locks import held
with held(Path(sys.argv[1]), "compressor build"):
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(worker.pid, flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(lock: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the lock, and the number of one that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        yield process, worker
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.kill(worker, signal.SIGKILL)


def owner(**changes: Any) -> Owner:
    """This very process, but for what is changed."""
    return msgspec.structs.replace(locks._this_process("compressor build"), **changes)


def leave(folder: Path, **changes: Any) -> Path:
    """A lock that lies there."""
    path = folder / LOCK_FILE
    path.write_bytes(msgspec.json.encode(owner(**changes)))
    return path


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_says_whose_it_is_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    with held(folder / LOCK_FILE, "compressor build"):
        found = msgspec.json.decode((folder / LOCK_FILE).read_bytes(), type=Owner)
        assert (found.pid, found.host) == (os.getpid(), socket.gethostname())
        assert found.command == "compressor build"
        assert found.is_gone is False
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_stays_when_the_lock_goes(tmp_path: Path) -> None:
    with held(tmp_path / "new" / LOCK_FILE, "x"):
        write_bytes(tmp_path / "new" / "file", b"1")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, SystemExit])
def test_every_end_gives_the_lock_back(tmp_path: Path, end: type[BaseException]) -> None:
    with pytest.raises(end), held(tmp_path / LOCK_FILE, "x"):
        raise end
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / LOCK_FILE, "x"):
        pass


def test_a_second_one_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with (
        held(tmp_path / LOCK_FILE, "x"),
        pytest.raises(SurroundingsError, match=f"process {os.getpid()}"),
        held(tmp_path / LOCK_FILE, "y"),
    ):
        pass


def test_another_process_is_refused_and_told_whose_it_is_until_that_is_killed(
    tmp_path: Path,
) -> None:
    notes: list[str] = []
    with holder(tmp_path / LOCK_FILE) as (process, worker):
        with pytest.raises(SurroundingsError) as refused, held(tmp_path / LOCK_FILE, "x"):
            pass
        told = str(refused.value)
        assert f"process {process.pid} on {socket.gethostname()} (compressor build, since " in told
        assert "wait for it to end" in told
        assert "\n" not in told
        with pytest.raises(SurroundingsError, match=f"is being written by process {process.pid}"):
            require_idle(tmp_path)
        process.kill()
        process.wait()
        os.kill(worker, 0)  # what it had started lives on, and holds nothing
        require_idle(tmp_path)
        with held(tmp_path / LOCK_FILE, "x", notes.append):
            require_idle(tmp_path)  # our own
    assert notes == [notes[0]]
    assert f"was locked by process {process.pid}" in notes[0]
    assert "which is gone: taken over" in notes[0]


@pytest.mark.parametrize("locking", [True, False], ids=["locks", "no locks"])
@pytest.mark.parametrize("which", ["ended", "number given to another", "before a restart"])
def test_what_is_gone_is_taken_over(
    tmp_path: Path, which: str, locking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "ended": {"pid": gone()},
        "number given to another": {"pid": os.getppid(), "started": 1e9},
        "before a restart": {"pid": os.getppid(), "system": "another start"},
    }[which]
    leave(tmp_path, **changes)
    if not locking:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    notes: list[str] = []
    require_idle(tmp_path)
    with held(tmp_path / LOCK_FILE, "x", notes.append):
        assert len(notes) == 1
    assert list(tmp_path.iterdir()) == []


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_without_locks_of_the_file_system_the_owner_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    started = locks._started(os.getppid())
    path = leave(tmp_path, pid=os.getppid(), started=started)
    before = path.read_bytes()
    with pytest.raises(SurroundingsError, match="wait for it to end"), held(path, "x"):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("locking", [True, False], ids=["locks", "no locks"])
def test_an_owner_elsewhere_is_not_called_gone(
    tmp_path: Path, locking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = leave(tmp_path, host="elsewhere", system="another", pid=17)
    if not locking:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    for ask in (lambda: held(path, "x").__enter__(), lambda: require_idle(tmp_path)):
        with pytest.raises(SurroundingsError, match="process 17 on elsewhere") as refused:
            ask()
        assert f"if it runs no more, delete {path}" in str(refused.value)
    assert path.is_file()


def test_another_container_of_this_machine_has_the_same_kernel(tmp_path: Path) -> None:
    if locks._system() is None:
        pytest.skip("this system has no number of its start")
    path = leave(tmp_path, host="container", pid=17)
    with pytest.raises(SurroundingsError, match="process 17 on container"):
        require_idle(tmp_path)  # who only reads does not ask the kernel
    with held(path, "x"):  # it does not hold it, so it is gone
        pass


def test_a_lock_that_is_no_lock_is_of_nobody(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(b"")
    require_idle(tmp_path)
    with held(tmp_path / LOCK_FILE, "x"):
        pass


def test_a_lock_that_somebody_laid_as_a_trap_harms_nothing(tmp_path: Path) -> None:
    """A folder may come from anywhere."""
    (tmp_path / "mine").write_text("years of work")
    path = tmp_path / "run" / LOCK_FILE
    path.parent.mkdir()
    path.symlink_to(tmp_path / "mine")
    require_idle(path.parent)
    with pytest.raises(SurroundingsError, match="cannot write"), held(path, "x"):
        pass
    assert (tmp_path / "mine").read_text() == "years of work"
    path.unlink()
    os.mkfifo(path)
    require_idle(path.parent)  # it does not wait for somebody to write
    with pytest.raises(SurroundingsError, match="cannot write"), held(path, "x"):
        pass
    path.unlink(missing_ok=True)
    path.write_bytes(b"[" * 1_000_000)
    require_idle(path.parent)


def test_a_name_that_was_let_go_of_in_between_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process unlinks the file between our opening and our locking it."""
    path, real, times = tmp_path / LOCK_FILE, fcntl.flock, []

    def late(file: int, how: int) -> None:
        if not times:
            path.unlink()
        times.append(how)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with held(path, "x"):
        assert len(times) == 2
        assert path.is_file()


# -- folders that go ------------------------------------------------------------------------------


def write_after(folder: Path, happening: Callable[[], object]) -> None:
    """What happens to a folder in which a build is at work, and its next file."""
    with held(folder / LOCK_FILE, "compressor build"):
        happening()
        write_bytes(folder / "onnx" / "x", b"1")


def test_a_folder_that_was_deleted_is_not_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(SurroundingsError, match="was deleted or moved while compressor build"):
        write_after(folder, lambda: shutil.rmtree(folder))
    assert list(tmp_path.iterdir()) == []


def test_nor_is_one_that_was_moved_or_that_somebody_made_in_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def replace() -> None:
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        (folder / "theirs").touch()

    with pytest.raises(SurroundingsError, match="was deleted or moved"):
        write_after(folder, replace)
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_whatever_fails_for_want_of_the_folder_says_that_it_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def fail() -> None:
        shutil.rmtree(folder)
        raise RuntimeError("a library's word for a file that is not there")

    with pytest.raises(SurroundingsError, match="was deleted or moved") as found:
        write_after(folder, fail)
    assert isinstance(found.value.__cause__, RuntimeError)


def test_a_link_to_the_folder_that_goes_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there")
    with held(link / LOCK_FILE, "x"):
        require_held(tmp_path / "there" / "x")
    with pytest.raises(SurroundingsError, match="was deleted or moved"):
        write_after(link, link.unlink)
    assert not link.exists()


def test_who_lost_the_lock_writes_no_more(tmp_path: Path) -> None:
    def take_over() -> None:
        (tmp_path / LOCK_FILE).unlink()
        leave(tmp_path, host="elsewhere", pid=17)

    with pytest.raises(SurroundingsError, match="was taken over by process 17 on elsewhere"):
        write_after(tmp_path, take_over)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_other_folders_are_not_its_business(tmp_path: Path) -> None:
    with held(beside(tmp_path / "a" / "teacher.pt"), "x"):
        assert [path.name for path in (tmp_path / "a").iterdir()] == [".teacher.pt.lock"]
        write_bytes(tmp_path / "b" / "x", b"1")


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(FolderError, match="choose another --out") as refused,
        held(tmp_path / "file" / "run" / LOCK_FILE, "x"),
    ):
        pass
    assert "\n" not in str(refused.value)


def test_a_disk_without_room_for_a_lock_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    with (
        pytest.raises(SurroundingsError, match="No space left"),
        held(tmp_path / "run" / LOCK_FILE, "x"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
