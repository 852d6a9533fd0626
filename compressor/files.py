"""Files written whole or not at all, and their hashes.

Comes in: a final path.  Goes out: a place to write, renamed at the end; or a folder for what is
needed for a moment.  A disk that refuses is one line, whatever library wrote.  Knows nothing of
formats.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeGuard

from compressor.errors import CompressorError, FolderError, SurroundingsError
from compressor.locks import require_held
from compressor.refusals import ADVICE, cannot_write, no_folder

WRITING = ".writing-"  # how private folders begin; one that is left over was a kill's
_OLD = ".old-"  # what had the name before, until all have theirs
_TRIAL_BYTES = 1 << 16
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield ``path``'s name in a private folder beside it; what lies there is moved at the end.

    Files written next to it (external data) move too, and ``path`` itself moves last; a folder
    takes the place of a folder.  Nothing is moved when the body raises, and where a move fails what
    was there before comes back.  All is on the disk before it is moved, so that a machine that
    loses its power has it whole too.  Raises SurroundingsError where the disk refuses, and where a
    folder that this process holds (``locks``) is gone.
    """
    require_held(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        yield folder / path.name
        require_held(path)
        others = sorted(entry.name for entry in folder.iterdir() if entry.name != path.name)
        _flush(folder)
        _move(folder, path.parent, (*others, path.name))
        _flush_names(path.parent)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all.  Raises SurroundingsError."""
    with replacing(path) as place:
        place.write_bytes(content)


@contextmanager
def scratch_folder(prefix: str = "compressor-") -> Iterator[Path]:
    """A folder where the system keeps what is temporary, gone at the end.

    Raises SurroundingsError where nothing (more) can be written there: libraries that write into it
    have errors of their own, so that after any of them it is tried.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise _no_scratch(error) from error
    try:
        yield folder
    except CompressorError:
        raise
    except Exception as error:
        refused = error if _says_full(error) else _refused(folder)
        if refused is not None:
            raise _no_scratch(refused) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_writable(path: Path, advice: str = ADVICE) -> None:
    """Make the folder of ``path`` and try it.  Raises SurroundingsError where it refuses, and
    FolderError where the path is none."""
    if path.is_dir():
        raise FolderError(f"{path} is a folder; name a file in it, or another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _refusal(path, error, advice) from error


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written anywhere in ``folder``, which nobody else may
    be writing into."""
    for left in sorted(folder.rglob(f"{WRITING}*")):
        with suppress(OSError):
            remove(left)


def sweep_of(path: Path) -> None:
    """The same for one path, which may stand among others' files; what was killed between its two
    renames gets its name again."""
    for left in path.parent.glob(f"{WRITING}*"):
        if left.name.startswith(_prefix(path)):
            for old in left.glob(f"{_OLD}*"):
                there = path.with_name(old.name.removeprefix(_OLD))
                if not there.exists():
                    os.replace(old, there)
            shutil.rmtree(left, ignore_errors=True)


def entries_of(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths of all files in ``folder``, and of all that is neither file nor folder: links,
    pipes, devices.

    Both sorted, with forward slashes.  Links are not followed, so what is named lies in the folder.
    """
    files: list[str] = []
    others: list[str] = []

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        for name in (*folders, *names):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode):
                kept = files if stat.S_ISREG(mode) else others
                kept.append(path.relative_to(folder).as_posix())
    return tuple(sorted(files)), tuple(sorted(others))


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _prefix(path: Path) -> str:
    return f"{WRITING}{path.name[:100]}-"


def _flush(folder: Path) -> None:
    """Wait until the disk has what was written: a rename may overtake it, and name nothing."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as stream:
                os.fsync(stream.fileno())
        _flush_names(Path(place))


def _flush_names(folder: Path) -> None:
    """The same for a folder's own entries, where its file system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move(source: Path, target: Path, names: Sequence[str]) -> None:
    """Give all of them their names in ``target``, or none.

    A single file takes the place of another in one step.  Of several, and of folders, what was
    there goes aside first: between the two steps a kill leaves it in ``source`` (``sweep_of``).
    """
    placed: list[str] = []
    for name in names:
        if (target / name).is_dir() and not (source / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target / name))
    try:
        for name in names:
            there = target / name
            if there.exists() and (len(names) > 1 or there.is_dir()):
                os.replace(there, source / f"{_OLD}{name}")
            placed.append(name)
            os.replace(source / name, there)
    except BaseException:  # a signal too
        for name in placed:
            old = source / f"{_OLD}{name}"
            with suppress(OSError):
                if old.exists():
                    remove(target / name)
                    os.replace(old, target / name)
                elif len(names) > 1 and not (source / name).exists():
                    remove(target / name)
        raise


def remove(path: Path) -> None:
    """A file, a link itself, or a folder with all that is in it; absent is as well."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _says_full(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in _FULL


def _refused(folder: Path) -> OSError | None:
    """Why nothing can be written into a folder, found by trying; None where something can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(bytes(_TRIAL_BYTES))
            stream.flush()
    except OSError as error:
        return error
    return None


def _no_scratch(error: OSError) -> SurroundingsError:
    return SurroundingsError(
        f"no temporary files can be written: {error.strerror or error}; free space there, or name "
        "another folder in the variable TMPDIR"
    )


def _refusal(path: Path, error: OSError, advice: str = ADVICE) -> CompressorError:
    if isinstance(error, IsADirectoryError):
        return FolderError(f"{path} is a folder; name a file in it, or another")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return no_folder(path, advice)
    return cannot_write(path, error, advice)
