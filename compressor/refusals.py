"""What is said where a disk or a path refuses: one line with what to do.

Comes in: a path, what the system said.  Goes out: an error to raise.  Writes nothing.
"""

from __future__ import annotations

from pathlib import Path

from compressor.errors import FolderError, SurroundingsError

ADVICE = "choose another --out"


def no_folder(path: Path, advice: str = ADVICE) -> FolderError:
    """For a path that lies in something else than a folder."""
    return FolderError(f"cannot write {path}: what it lies in is not a folder; {advice}")


def cannot_write(path: Path, error: OSError, advice: str = ADVICE) -> SurroundingsError:
    """For a disk that is full, may only be read, or fails."""
    reason = error.strerror or error
    return SurroundingsError(f"cannot write {path}: {reason}; free space there or {advice}")
