"""How much a zip would unpack to."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from compressor import unpacking
from compressor.unpacking import allowance, check_unpacked
from tests.malformed.material import archive_of, bomb


def test_a_bomb_is_told_by_its_list_of_contents(tmp_path: Path) -> None:
    content = bomb({"a": b"honest"}, "b")
    assert len(content) < 10_000_000
    with pytest.raises(ValueError, match=r"would unpack to 4\.0 GB"):
        check_unpacked(content)
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match="would unpack"):
        check_unpacked(tmp_path / "x.zip")


def test_the_bomb_is_a_zip_as_it_says(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(bomb({"a": b"honest"}, "b", 0.004))) as archive:
        assert archive.read("a") == b"honest"
        with archive.open("b") as stream:
            assert stream._read1(1 << 20) == bytes(1 << 20)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_is_honest_passes(kind: int) -> None:
    check_unpacked(archive_of({"a": bytes(1 << 20), "b": bytes(range(256)) * 100}, kind))


def test_small_files_may_shrink_as_they_like_and_large_ones_twentyfold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed = archive_of({"a": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    check_unpacked(packed)
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 0)
    with pytest.raises(ValueError, match="would unpack"):
        check_unpacked(packed)
    assert allowance(100) == 2000


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\3\4" + bytes(50)])
def test_what_is_no_zip_is_for_its_reader(content: bytes) -> None:
    check_unpacked(content)
