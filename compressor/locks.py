"""Locks: one process at a time writes into a folder.

Comes in: where the lock file lies.  Goes out: the folder for as long as a context lasts, or a
refusal that names the owner.  Knows nothing of what is written.

The kernel decides (flock(2)): a lock ends with its process, however that ends, and of two processes
that find a stale one only one can take it over.  What a process starts does not inherit it (PEP
446), so workers that outlive a killed owner hold nothing.  The file says who the owner is: for
people, and where a file system has no locks.  There a process that is gone is told by its number
and its start, so that another one of the same number is not taken for it; two that begin in the
same instant are not told apart.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from compressor.errors import SurroundingsError
from compressor.refusals import cannot_write, no_folder

LOCK_FILE = ".lock"  # in a folder that fills by and by; no part of what ships
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Neither a link that leads elsewhere nor a pipe that nobody writes into: folders come from others.
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK
_MOST_BYTES = 4096  # of a record
_SAME_START = 1.0  # seconds; the system's own start is told in whole ones


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A process that holds a lock.  ``started``: seconds after the start of the system, which do
    not move with the clock; ``system``: Linux's boot id, the same in every container."""

    host: str
    system: str | None
    pid: int
    started: float
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command}, since {self.since})"

    @property
    def is_gone(self) -> bool | None:
        """Whether it runs no more; None where that cannot be seen from here."""
        if self.host != socket.gethostname():
            return None
        if self.system is not None and self.system != _system():
            return True  # the machine was started anew since
        started = _started(self.pid)
        return started is None or abs(started - self.started) > _SAME_START

    @property
    def is_this_process(self) -> bool:
        return self.pid == os.getpid() and self.is_gone is False


def beside(path: Path) -> Path:
    """The lock of a file, or of a folder that appears as a whole: next to it."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def held(
    path: Path, command: str, note: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold the lock file ``path``; its folder is made where it is absent, and goes again if empty.

    While this lasts nothing is written below that folder once it is gone (``require_held``): what
    was deleted under a run is not begun anew by halves.  ``note`` is told of a stale lock that is
    taken over.  Raises SurroundingsError where another process holds it, where nothing can be
    written, and in place of any other error where the folder was deleted meanwhile.
    """
    folder = path.parent
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _take(path, command, note)
    except (NotADirectoryError, FileExistsError) as error:
        _remove_empty(made)
        raise no_folder(_guarded(path)) from error
    except OSError as error:
        _remove_empty(made)
        raise cannot_write(path, error) from error
    _all_held.append(lock)
    try:
        yield
        lock.require()
    except Exception as error:
        reason = lock.lost()
        if reason is not None and not isinstance(error, LostError):
            raise LostError(reason) from error
        raise
    finally:
        _all_held.remove(lock)
        lock.release()
        _remove_empty(made)


def require_held(path: Path) -> None:
    """Raises SurroundingsError where ``path`` lies in a folder that this process holds, and that
    was deleted, moved or taken over since."""
    named, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))
    for lock in _all_held:
        if named.is_relative_to(lock.place) or real.is_relative_to(lock.real):
            lock.require()


def require_idle(folder: Path) -> None:
    """For readers: raises SurroundingsError where a process is at work in ``folder``.

    A lock whose process is gone says nothing against reading.
    """
    path = folder / LOCK_FILE
    owner = _read(path)
    if owner is None or owner.is_this_process or owner.is_gone:
        return
    advice = "wait for it to end"
    if owner.is_gone is None:
        advice += f"; if it runs no more, delete {path}"
    raise SurroundingsError(f"{folder} is being written by {owner}: {advice}")


class LostError(SurroundingsError):
    """The folder is no longer there, or no longer this process's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lock:
    """``place``: the folder as it is called, ``real``: links followed.  Both handles stay open, so
    that neither file's number is given to another one meanwhile."""

    path: Path
    place: Path
    real: Path
    command: str
    file: int
    folder: int

    def lost(self) -> str | None:
        """Why this process must not write there, if so."""
        if not _is(self.folder, self.place):
            return (
                f"{self.path.parent} was deleted or moved while {self.command} was at work in it; "
                "nothing more was written"
            )
        if self.path.exists() and not _is(self.file, self.path):
            return f"{self.path.parent} was taken over by {_read(self.path) or 'another process'}"
        return None

    def require(self) -> None:
        reason = self.lost()
        if reason is not None:
            raise LostError(reason)

    def release(self) -> None:
        """The name goes first: whoever opens it afterwards gets another file."""
        with suppress(OSError):
            if _is(self.file, self.path):
                self.path.unlink()
        os.close(self.file)
        os.close(self.folder)


_all_held: list[_Lock] = []


def _guarded(path: Path) -> Path:
    """What a lock is of: its folder, or what it lies beside."""
    if path.name == LOCK_FILE:
        return path.parent
    return path.with_name(path.name.removeprefix(".").removesuffix(LOCK_FILE))


def _take(path: Path, command: str, note: Callable[[str], None]) -> _Lock:
    """Raises SurroundingsError where it is another's, OSError where nothing can be written."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | _OPEN, 0o644)
        try:
            before = _claim(file, path)
            if not _is(file, path):  # its owner let go of it just now
                os.close(file)
                continue
            _sign(file, path, command)
            folder = os.open(path.parent, os.O_RDONLY)
        except BaseException:
            with suppress(OSError):
                os.close(file)
            raise
        if before is not None:
            note(f"{path.parent} was locked by {before}, which is gone: taken over")
        return _Lock(
            path=path,
            place=Path(os.path.abspath(path.parent)),
            real=Path(os.path.realpath(path.parent)),
            command=command,
            file=file,
            folder=folder,
        )


def _claim(file: int, path: Path) -> Owner | None:
    """Make the open lock file ours; whose it was.  Raises SurroundingsError where it still is."""
    certain = _lock(file)
    before = _read(path)
    if certain is None or (before is not None and not _is_stale(before, certain)):
        raise SurroundingsError(_refusal(path, before))
    return before


def _sign(file: int, path: Path, command: str) -> None:
    """Write into a lock of ours who we are; where that is not possible it is nobody's."""
    try:
        os.ftruncate(file, 0)
        with open(file, "wb", closefd=False) as stream:
            stream.write(msgspec.json.encode(_this_process(command)) + b"\n")
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _lock(file: int) -> bool | None:
    """True: it is ours alone.  None: another's.  False: this file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def _is_stale(owner: Owner, certain: bool) -> bool:
    """Whether the lock of ``owner`` may be taken over; ``certain``: the kernel gave it to us."""
    here = _system()
    if certain and owner.is_this_process:
        return True  # of earlier: the kernel would not give it to us twice
    if certain and here is not None and owner.system == here:
        return owner.is_gone is not False  # of another container of this machine it is None
    return owner.is_gone is True


def _refusal(path: Path, owner: Owner | None) -> str:
    told = f"{path.parent} is in use: {owner or 'another process'} is writing there"
    if owner is None or owner.is_gone is False:
        return f"{told}; wait for it to end, or choose another --out"
    return (
        f"{told}, which cannot be seen from here; choose another --out, or, if it runs no more, "
        f"delete {path}"
    )


def _this_process(command: str) -> Owner:
    return Owner(
        host=socket.gethostname(),
        system=_system(),
        pid=os.getpid(),
        started=_started(os.getpid()) or 0.0,
        command=command,
        since=datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
    )


def _system() -> str | None:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return None


def _started(pid: int) -> float | None:
    """Seconds after the system's start; None for a process that is not there."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time() - psutil.boot_time())
    except psutil.Error:
        return None


def _read(path: Path) -> Owner | None:
    """None where there is no lock, or none that was written to its end."""
    try:
        file = os.open(path, os.O_RDONLY | _OPEN)
    except OSError:
        return None
    try:
        return msgspec.json.decode(os.read(file, _MOST_BYTES), type=Owner)
    except (OSError, ValueError, RecursionError):  # not UTF-8, no JSON, another form
        return None
    finally:
        os.close(file)


def _is(handle: int, path: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
