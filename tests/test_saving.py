"""Every library that writes for us, where the disk has no room."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from compressor import saving
from compressor.errors import SurroundingsError
from compressor.files import replacing
from compressor.saving import save_state, save_tensors
from export.programs import write_program
from export.weights import write_weights

TENSORS = {"weight": torch.zeros(20_000)}


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses files longer than ``size`` bytes: the C libraries meet it too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tensors(path: Path) -> None:
    with replacing(path) as place:
        save_tensors(TENSORS, place, {"format": "pt"})


def state(path: Path) -> None:
    with replacing(path) as place:
        save_state(TENSORS, place)


def weights(path: Path) -> None:
    write_weights(nn.Linear(200, 100), path)


def program(path: Path) -> None:
    module = nn.Linear(200, 100)
    write_program(torch.export.export(module, (torch.zeros(2, 200),)), path)


WRITERS = (tensors, state, weights, program)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("size", [0, 1000, 30_000])
def test_a_full_disk_is_one_line_and_the_old_file_stays(
    tmp_path: Path, write: Callable[[Path], None], size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        files_up_to(size),
        pytest.raises(SurroundingsError, match=r"cannot write .*file: ") as told,
    ):
        write(path)
    assert "\n" not in str(told.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write(path)
    assert path.stat().st_size > 30_000


def test_tensors_may_be_read_by_others(tmp_path: Path) -> None:
    tensors(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_what_is_no_fault_of_the_disk_is_not_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SafetensorError("Error while serializing: invalid offset")

    monkeypatch.setattr(saving, "save_file", refuse)
    with pytest.raises(SafetensorError, match="invalid offset"):
        save_tensors(TENSORS, tmp_path / "file")
