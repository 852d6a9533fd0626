"""One changed byte in a deployable folder is found, and so is a file that comes, goes or moves."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

from compressor import building, cli
from compressor.errors import FolderError
from compressor.files import sha256
from compressor.loading import load
from compressor.types import Budget, Packaging
from export import manifest
from export.manifest import MANIFEST_FILE, check_manifest, list_files, write_manifest
from export.verification import verify
from tests.hostile.places import NETWORK, write_harmless

pytestmark = pytest.mark.slow

SMALL = 1_500  # bytes up to which every place is tried
SOME = 40  # places of a larger file


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with all that one may have but a signature."""
    place = tmp_path_factory.mktemp("built")
    write_harmless(place)
    (place / "net.py").write_text(NETWORK.replace("num_classes=2", "num_classes=10"))
    namespace: dict[str, Callable[[], object]] = {}
    exec((place / "net.py").read_text(), namespace)
    network = namespace["small"]()
    assert isinstance(network, torch.nn.Module)
    torch.save(network.state_dict(), place / "ten.pt")
    return building.build(
        load(place / "ten.pt", f"{place / 'net.py'}:small", image_size=16),
        data="digits",
        budget=Budget(sparsity=0.4, multiple_of=1),
        out=place / "out",
        length=None,
        sample=64,
        threads=1,
        bench_seconds=0,
        packaging=Packaging(static_batch=True, triton=True),
    )


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "run"))


def files_of(folder: Path) -> list[str]:
    return [*list_files(folder), MANIFEST_FILE]


def differences(folder: Path) -> tuple[str, ...]:
    """Lines; a manifest that is none any more is one."""
    try:
        return check_manifest(folder)
    except FolderError as error:
        return (f"{MANIFEST_FILE}: {error}",)


def places_in(size: int, chance: random.Random) -> Iterator[int]:
    if size <= SMALL:
        yield from range(size)
        return
    yield from {0, 1, size // 2, size - 2, size - 1}
    yield from (chance.randrange(size) for _ in range(SOME))


def test_every_changed_bit_of_every_file_is_found_and_the_file_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are as they were are hashed once."""
    chance = random.Random(7)
    known = {folder / name: sha256(folder / name) for name in files_of(folder)}
    changing = folder
    monkeypatch.setattr(
        manifest, "sha256", lambda path: sha256(path) if path == changing else known[path]
    )
    tried, unseen = 0, []
    assert differences(folder) == ()
    for name in files_of(folder):
        changing = folder / name
        whole = changing.read_bytes()
        for place in places_in(len(whole), chance):
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            changing.write_bytes(changed)
            tried += 1
            if not any(line.startswith(f"{name}: ") for line in differences(folder)):
                unseen.append((name, place))
        changing.write_bytes(whole)
    assert unseen == []
    assert tried > 2_000
    assert differences(folder) == ()


def added_byte(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def byte_in_front(file: Path, other: Path) -> None:
    file.write_bytes(b" " + file.read_bytes())


def removed_byte(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def emptied(file: Path, other: Path) -> None:
    file.write_bytes(b"")


def gone(file: Path, other: Path) -> None:
    file.unlink()


def renamed(file: Path, other: Path) -> None:
    file.rename(file.with_name(f"{file.name}.old"))


def swapped(file: Path, other: Path) -> None:
    held = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(held)


def linked(file: Path, other: Path) -> None:
    """The same content, from outside."""
    run = next(one for one in file.parents if one.name == "run")
    file.symlink_to(file.rename(run.with_name("outside")))


def made_a_folder(file: Path, other: Path) -> None:
    file.unlink()
    file.mkdir()


def made_a_pipe(file: Path, other: Path) -> None:
    file.unlink()
    os.mkfifo(file)


CHANGES = (added_byte, byte_in_front, removed_byte, emptied, gone, renamed, swapped, linked,
           made_a_folder, made_a_pipe)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_file_that_is_not_what_it_was_is_named(
    change: Callable[[Path, Path], None], built: Path, tmp_path: Path
) -> None:
    names = files_of(built)
    unseen = []
    for number, name in enumerate(names):
        folder = Path(shutil.copytree(built, tmp_path / "run"))
        change(folder / name, folder / names[number - 1 if number else 1])
        if not any(line.startswith(f"{name}: ") for line in differences(folder)):
            unseen.append(name)
        shutil.rmtree(folder)
    assert unseen == []


def new_file(folder: Path) -> str:
    (folder / "onnx" / "more.bin").write_bytes(b"")
    return "onnx/more.bin"


def new_hidden_file(folder: Path) -> str:
    (folder / ".more").write_bytes(b"x")
    return ".more"


def dangling_link(folder: Path) -> str:
    (folder / "more").symlink_to("nowhere")
    return "more"


def link_to_a_folder(folder: Path) -> str:
    (folder / "more").symlink_to(folder.parent)
    return "more"


def folder_moved_away(folder: Path) -> str:
    (folder / "onnx").rename(folder.parent / "elsewhere")
    (folder / "onnx").symlink_to(folder.parent / "elsewhere")
    return "onnx"


def odd_name(folder: Path) -> str:
    (folder / "a\nverified: 9 files").write_bytes(b"")
    return "a\nverified: 9 files"


def name_that_is_no_text(folder: Path) -> str:
    name = os.fsdecode(b"\xff\xfe")
    (folder / name).write_bytes(b"")
    return name


ADDITIONS = (new_file, new_hidden_file, dangling_link, link_to_a_folder, folder_moved_away,
             odd_name, name_that_is_no_text)  # fmt: skip


@pytest.mark.parametrize("add", ADDITIONS)
def test_whatever_is_more_than_was_written_is_named_in_one_line(
    add: Callable[[Path], str], folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name = add(folder)
    assert any(line.startswith(f"{name}: ") for line in differences(folder))
    monkeypatch.setattr("sys.argv", ["compressor", "verify", str(folder)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 1
    assert said.out.splitlines()[-1].startswith("NOT verified: ")
    assert [line for line in said.out.splitlines() if line.startswith("verified")] == []


def test_a_link_is_not_replayed(folder: Path) -> None:
    linked(folder / "onnx/student.onnx", folder)
    found = verify(folder)
    assert not found.passed
    assert "onnx/student.onnx" not in {one.file for one in found.replays}


FACTS: Mapping[str, tuple[bytes, bytes]] = {
    "seed": (b'"seed": 0', b'"seed": 1'),
    "version": (b'"python": "3', b'"python": "4'),
    "format as text": (b'"format": 2', b'"format": "2"'),
    "size as text": (b'"bytes": ', b'"bytes":  '),
    "number with a point": (b'"seed": 0', b'"seed": 0.0'),
    "space": (b"{\n", b"{ \n"),
    "escaped letter": (b'"seed"', b'"se\\u0065d"'),
    "key twice": (b'"seed": 0', b'"seed": 0,\n  "seed": 0'),
    "another key": (b'"seed": 0', b'"seed": 0,\n  "speed": 0'),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_the_manifest_and_their_spelling_are_covered(name: str, folder: Path) -> None:
    """What no file's hash covers is covered by the manifest's own."""
    path, (old, new) = folder / MANIFEST_FILE, FACTS[name]
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    assert any(line.startswith(f"{MANIFEST_FILE}: ") for line in differences(folder))


def test_a_manifest_written_anew_holds_and_only_a_signature_would_tell(folder: Path) -> None:
    """Said honestly: hashes are against accidents; whoever writes them anew is not found."""
    (folder / "labels.json").write_text("[]")
    assert differences(folder) != ()
    write_manifest(folder, ("build",), 0, {})
    assert differences(folder) == ()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..\\x", "C:\\x"])
def test_manifest_entries_outside_the_folder_are_refused(path: str, folder: Path) -> None:
    file = folder / MANIFEST_FILE
    content = json.loads(file.read_bytes())
    content["files"][path] = {"bytes": 0, "sha256": ""}
    file.write_text(json.dumps(content))
    with pytest.raises(FolderError, match="outside the folder"):
        check_manifest(folder)
