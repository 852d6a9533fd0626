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

from compressor.errors import SurroundingsError

WRITING = ".writing-"  # a private folder begins so; one that is found was left by a killed process


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield ``path``'s name in a private folder beside it; what lies there is moved at the end.

    Files written next to it (external data) move too, and ``path`` itself moves last.  Nothing is
    moved when the body raises.  Raises SurroundingsError where the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=WRITING, dir=path.parent))
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error
    if not os.access(path.parent, os.W_OK):
        raise SurroundingsError(
            f"cannot write {path}: no permission in its folder; choose another --out"
        )


def sweep(folder: Path) -> None:
    """Remove what processes that were killed have left half-written below ``folder``."""
    for left in [path for path in folder.rglob(f"{WRITING}*") if path.is_dir()]:
        shutil.rmtree(left, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refusal(path: Path, error: OSError) -> SurroundingsError:
    return SurroundingsError(
        f"cannot write {path}: {error.strerror or error}; free space there or choose another --out"
    )
