"""Files written whole or not at all, and their hashes.

Comes in: a final path.  Goes out: a place to write, renamed at the end.  Knows nothing of formats.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.errors import CompressorError, FolderError, SurroundingsError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield ``path``'s name in a private folder beside it; what lies there is moved at the end.

    Files written next to it (external data) move too, and ``path`` itself moves last.  Nothing is
    moved when the body raises.  Raises SurroundingsError where the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        yield folder / path.name
        others = sorted(entry.name for entry in folder.iterdir() if entry.name != path.name)
        for name in (*others, path.name):
            os.replace(folder / name, path.parent / name)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all.  Raises SurroundingsError."""
    with replacing(path) as place:
        place.write_bytes(content)


def check_writable(path: Path) -> None:
    """Make the folder of ``path``.  Raises SurroundingsError where nothing can be written there."""
    if path.is_dir():
        raise FolderError(f"{path} is a folder; name a file in it, or another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error
    if not os.access(path.parent, os.W_OK):
        raise SurroundingsError(
            f"cannot write {path}: no permission in its folder; choose another --out"
        )


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refusal(path: Path, error: OSError) -> CompressorError:
    if isinstance(error, IsADirectoryError):
        return FolderError(f"{path} is a folder; name a file in it, or another")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return FolderError(
            f"cannot write {path}: what it lies in is not a folder; choose another --out"
        )
    return SurroundingsError(
        f"cannot write {path}: {error.strerror or error}; free space there or choose another --out"
    )
