"""Tensors to files in the forms of libraries; a disk that refuses is an OSError.

Comes in: tensors or a program, a place inside ``files.replacing``.  Goes out: a file.  Knows
nothing of final names.

torch gets a buffer, not a path: where its own writer of archives meets a full disk, its destructor
throws, which ends the process (2.15).  So an archive is in memory once before it is written.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.export import ExportedProgram


def save_tensors(
    tensors: Mapping[str, Tensor], place: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file that others may read: the library makes it private."""
    try:
        save_file(dict(tensors), place, dict(metadata) if metadata is not None else None)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
    place.chmod(0o644)


def save_state(state: Mapping[str, Tensor], place: Path) -> None:
    """A state dict in torch's own form."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    place.write_bytes(buffer.getbuffer())


def save_program(program: ExportedProgram, place: Path) -> None:
    """A ``.pt2`` archive; its bytes do not depend on the name of the file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    place.write_bytes(buffer.getbuffer())
