"""How much a zip would unpack to, known before anything of it is unpacked.

Comes in: a zip as a file or as bytes.  Goes out: nothing, or a ValueError whose text is the reason.
A few megabytes of deflated zeros are gigabytes in memory, and a list of contents may name the same
bytes many times; both are told by the sizes in the list.  Knows nothing of what the entries are.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

# Weights in floats hardly get smaller when packed, half precision becomes single: nothing honest
# comes near.
MOST_TIMES = 20
ALWAYS_ALLOWED = 64 << 20  # bytes: small files of zeros may shrink a thousandfold

# What the standard library raises for zips that are damaged, locked or made to mislead.
DAMAGED_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, ValueError, OverflowError, EOFError, RuntimeError,
    KeyError, OSError,
)  # fmt: skip


def allowance(packed: int) -> int:
    """Bytes that a file of ``packed`` bytes may become in memory."""
    return MOST_TIMES * packed + ALWAYS_ALLOWED


def check_unpacked(file: Path | bytes) -> None:
    """Raise ValueError where the entries of a zip would become more than its size allows.

    Anything that is no zip passes: its reader will say so.
    """
    size = len(file) if isinstance(file, bytes) else file.stat().st_size
    try:
        with zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except DAMAGED_ZIP:
        return
    if unpacked > allowance(size):
        raise ValueError(f"its {size / 1e6:,.1f} MB would unpack to {unpacked / 1e9:,.1f} GB")
