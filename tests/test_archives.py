"""Exported programs: scanned before torch sees them."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.archives import is_archive, is_arithmetic, read_program
from compressor.errors import LoadError

ROOT = "net"
SYMBOL = "Mul(Integer(2), Symbol('s77', positive=True, integer=True))"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("shift", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.shift


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plain") / f"{ROOT}.pt2"
    batch = torch.export.Dim("batch")
    program = torch.export.export(Net(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, file, extra_files={"preprocessing.json": "{}"})
    return file


def rewritten(
    plain: Path, out: Path, change: Callable[[dict[str, bytes]], None], **options: Any
) -> Path:
    """The archive with its entries changed by ``change``."""
    with zipfile.ZipFile(plain) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    change(entries)
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out


def test_plain_program_loads_with_its_extras(plain: Path) -> None:
    program, extras = read_program(plain)
    assert set(program.state_dict) == {"linear.weight", "linear.bias"}
    assert extras == {"preprocessing.json": "{}"}


def test_archive_is_known_by_its_content(plain: Path, tmp_path: Path) -> None:
    other = tmp_path / "net.pt"
    other.write_bytes(plain.read_bytes())
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    assert is_archive(other)
    assert not is_archive(tmp_path / "weights.pt")


def test_sample_inputs_with_a_payload_are_refused(plain: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(((Payload(tmp_path / "ran"),), {}), buffer)

    def change(entries: dict[str, bytes]) -> None:
        entries[f"{ROOT}/data/sample_inputs/model.pt"] = buffer.getvalue()

    with pytest.raises(LoadError, match="sample inputs"):
        read_program(rewritten(plain, tmp_path / "x.pt2", change))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["weights", "constants"])
def test_pickled_tensors_are_refused(plain: Path, tmp_path: Path, kind: str) -> None:
    name = f"{ROOT}/data/{kind}/model_{kind}_config.json"

    def change(entries: dict[str, bytes]) -> None:
        config = json.loads(entries[name])
        next(iter(config["config"].values()))["use_pickle"] = True
        entries[name] = json.dumps(config).encode()

    with pytest.raises(LoadError, match="stored as a pickle"):
        read_program(rewritten(plain, tmp_path / "x.pt2", change))


@pytest.mark.parametrize(
    "name",
    [
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/aotinductor/model/code.so",
        "models/other.json",
        "data/sample_inputs/MODEL.pt",
        "../outside",
        "extra/../../outside",
    ],
)
def test_unknown_entries_are_refused(plain: Path, tmp_path: Path, name: str) -> None:
    def change(entries: dict[str, bytes]) -> None:
        entries[f"{ROOT}/{name}"] = pickle.dumps(Payload(tmp_path / "ran"))

    with pytest.raises(LoadError, match="refused"):
        read_program(rewritten(plain, tmp_path / "x.pt2", change))
    assert not (tmp_path / "ran").exists()


def test_second_root_and_older_format_are_refused(plain: Path, tmp_path: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        entries["version"] = b"8.1"

    with pytest.raises(LoadError, match="outside"):
        read_program(rewritten(plain, tmp_path / "x.pt2", change))


def test_compressed_entries_are_refused(plain: Path, tmp_path: Path) -> None:
    deflated = rewritten(
        plain, tmp_path / "x.pt2", lambda entries: None, compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(LoadError, match="compressed"):
        read_program(deflated)


def test_size_that_is_code_is_refused(plain: Path, tmp_path: Path) -> None:
    name = f"{ROOT}/models/model.json"
    code = f"__import__('os').mkdir('{tmp_path / 'ran'}')"

    def change(entries: dict[str, bytes]) -> None:
        text = entries[name].decode()
        symbol = text.split('"expr_str": "')[1].split('"')[0]
        entries[name] = text.replace(f'"expr_str": "{symbol}"', f'"expr_str": "{code}"').encode()

    with pytest.raises(LoadError, match="expression"):
        read_program(rewritten(plain, tmp_path / "x.pt2", change))
    assert not (tmp_path / "ran").exists()


def test_operator_that_is_none_is_refused(plain: Path, tmp_path: Path) -> None:
    name = f"{ROOT}/models/model.json"

    def change(entries: dict[str, bytes]) -> None:
        text = entries[name].decode()
        assert "torch.ops.aten.linear.default" in text
        entries[name] = text.replace("torch.ops.aten.linear.default", "torch.hub.load").encode()

    with pytest.raises(LoadError, match="no operator"):
        read_program(rewritten(plain, tmp_path / "x.pt2", change))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_archive_is_refused(plain: Path, tmp_path: Path, share: float) -> None:
    content = plain.read_bytes()
    (tmp_path / "x.pt2").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LoadError, match="truncated"):
        read_program(tmp_path / "x.pt2")


@pytest.mark.parametrize(
    "text", ["s77", "2*s0 + 1", "Max(1, s0//2)", "FloorDiv(s3, 4)", "s0 >= 2", SYMBOL]
)
def test_arithmetic_over_sizes_is_allowed(text: str) -> None:
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "Max('open(1)', 2)",
        "s0.__class__",
        "open('x')",
        "[s0]",
        "lambda: 0",
        "exec",
        "'a'",
        "x",
        "s0(",
    ],
)
def test_anything_else_is_not_arithmetic(text: str) -> None:
    assert not is_arithmetic(text)
