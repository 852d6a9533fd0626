"""Writing whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from pathlib import Path

import pytest

from compressor.errors import FolderError, SurroundingsError
from compressor.files import check_writable, replacing, sha256, write_bytes


def _write_half(place: Path) -> None:
    place.write_bytes(b"half")
    raise ValueError("stop")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    with pytest.raises(ValueError, match="stop"), replacing(path) as place:
        _write_half(place)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_beside_it_move_too(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "x.onnx") as place:
        place.write_bytes(b"1")
        place.with_name("x.onnx.data").write_bytes(b"2")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["x.onnx", "x.onnx.data"]


def test_a_disk_that_refuses_is_the_surroundings_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(SurroundingsError, match=r"cannot write .*choose another --out"):
        write_bytes(tmp_path / "x", b"1")


def test_a_place_that_is_none_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FolderError, match=r"cannot write .*not a folder; choose another --out"):
        write_bytes(tmp_path / "file" / "x", b"1")
    with pytest.raises(FolderError, match="is a folder; name a file in it"):
        write_bytes(tmp_path, b"1")


def test_hash_is_of_the_bytes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x", b"abc")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "x.pt")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="choose another --out"):
        check_writable(tmp_path / "file" / "x.pt")
    with pytest.raises(FolderError, match="is a folder"):
        check_writable(tmp_path / "new")
