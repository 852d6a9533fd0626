"""The manifest: its trip through JSON, its differences, its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.errors import FolderError
from export.manifest import check_manifest, installed_versions, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "student.onnx").write_bytes(b"model")
    (tmp_path / "plan.json").write_bytes(b"{}")
    write_manifest(tmp_path, ("build", "--teacher", "/data/nets/a.pt"), 3, {"b": "2", "a": "1"})
    return tmp_path


def test_manifest_survives_the_trip_and_lists_every_other_file(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert [one.path for one in manifest.files] == ["onnx/student.onnx", "plan.json"]
    assert manifest.files[0].bytes == 5
    assert manifest.command == ("build", "--teacher", "nets/a.pt")
    assert (manifest.seed, manifest.versions) == (3, (("a", "1"), ("b", "2")))
    assert check_manifest(folder) == ()


def test_writing_again_gives_the_same_bytes(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    write_manifest(folder, ("build", "--teacher", "/data/nets/a.pt"), 3, {"a": "1", "b": "2"})
    assert (folder / "manifest.json").read_bytes() == before


def test_no_byte_of_the_manifest_itself_can_change_unseen(folder: Path) -> None:
    path = folder / "manifest.json"
    whole = path.read_bytes()
    unseen = []
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 7
        path.write_bytes(changed)
        try:
            if not check_manifest(folder):
                unseen.append(place)
        except FolderError:  # no longer a manifest
            pass
    assert unseen == []


def test_a_signature_is_not_listed(folder: Path) -> None:
    (folder / "model.sig").write_bytes(b"any")
    assert check_manifest(folder) == ()


def test_every_kind_of_difference_is_named(folder: Path) -> None:
    (folder / "plan.json").write_bytes(b"[]")
    (folder / "onnx" / "student.onnx").unlink()
    (folder / "extra.txt").write_bytes(b"")
    extra, missing, changed = check_manifest(folder)
    assert extra == "extra.txt: not in the manifest"
    assert missing == "onnx/student.onnx: missing"
    assert changed.startswith("plan.json: sha256")
    (folder / "plan.json").write_bytes(b"longer")
    assert "plan.json: 6 bytes, 2 in the manifest" in check_manifest(folder)


def test_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"has no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 2}', '{"format": 2, "command": [], "seed": 0, "versions": {}, '
     '"files": {"../x": {"bytes": 0, "sha256": ""}}}'],
)  # fmt: skip
def test_manifest_that_makes_no_sense_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(FolderError, match="cannot be read as a manifest"):
        read_manifest(tmp_path)


def test_manifest_of_a_later_format_is_refused(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text()) | {"format": 3}
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(FolderError, match="has format 3, this version reads 2"):
        read_manifest(folder)


def test_versions_are_of_what_is_installed() -> None:
    versions = installed_versions(("torch", "no-such-package-anywhere"))
    assert sorted(versions) == ["python", "torch"]
