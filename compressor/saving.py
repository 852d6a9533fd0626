"""Tensors to files by the libraries that know their forms; a disk that refuses is an OSError.

Comes in: tensors or a program, a place inside ``files.replacing``.  Goes out: a file.  Both
libraries write by themselves and have errors of their own.  Knows nothing of final names.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

# What torch's writer of archives says (caffe2/serialize/inline_container.cc); it names no reason.
_WRITER_WORDS = ("inline_container.cc", "PytorchStreamWriter", "cannot be opened")


def save_tensors(
    tensors: Mapping[str, Tensor], place: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file that others may read: the library makes it private."""
    with disk_errors():
        save_file(dict(tensors), place, dict(metadata) if metadata is not None else None)
        place.chmod(0o644)


def save_state(state: Mapping[str, Tensor], place: Path) -> None:
    """A state dict in torch's own form."""
    with disk_errors():
        torch.save(state, place)


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the two libraries say of a disk that refuses becomes an OSError."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _WRITER_WORDS):
            raise
        raise OSError(errno.EIO, "torch could not write it to its end") from error
