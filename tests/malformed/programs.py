"""Exported programs (``.pt2``): damaged archives, edited structures, sample inputs that swell."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tests.malformed.cases import GONE, Case, changed, later, spelled, spoiled
from tests.malformed.material import (
    archive_of,
    bomb,
    entries_of,
    locked,
    program_file,
    rewritten,
    weights_file,
    zipped,
)

ROOT = "archive"
MODEL = f"{ROOT}/models/model.json"
WEIGHTS = f"{ROOT}/data/weights/model_weights_config.json"
SAMPLES = f"{ROOT}/data/sample_inputs/model.pt"
EXTRA = f"{ROOT}/extra/preprocessing.json"
PREPROCESSING: dict[str, Any] = {
    "crop": [8, 8],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
    "resize": None,
    "interpolation": "bilinear",
    "origin": "as in training",
}
Entries = dict[str, bytes]


def program(
    name: str,
    make: Callable[[], bytes],
    says: str,
    *more: str,
    alone: bool = False,
) -> Case:
    """A program that ``analyze`` refuses."""
    return Case(
        name=f"program: {name}",
        write=later("net.pt2", make),
        command=("analyze", "--teacher", "net.pt2", *more),
        names="net.pt2",
        says=says,
        alone=alone,
    )


def edited(name: str, change: Callable[[Entries], object], says: str, **others: Any) -> Case:
    """The good program with its entries changed."""
    return program(name, lambda: rewritten(program_file(), change), says, **others)


def setting(entry: str, content: bytes) -> Callable[[Entries], object]:
    return lambda entries: entries.__setitem__(entry, content)


def editing(entry: str, path: tuple[str | int, ...], value: object) -> Callable[[Entries], object]:
    """Another value in a JSON entry; ``path`` may end in a key of an only table's first key."""

    def change(entries: Entries) -> None:
        entries[entry] = spelled(changed(json.loads(entries[entry]), path, value))

    return change


def damaged() -> Iterator[Case]:
    for share in (0.1, 0.5, 0.9, 0.99):
        yield program(
            f"cut at {share}",
            lambda share=share: program_file()[: int(len(program_file()) * share)],
            "export",
        )
    yield program("of no bytes", lambda: b"", "is empty")
    yield program("text", lambda: b"no program\n", "export it again")
    yield program("an empty zip", lambda: archive_of({}), "torch.export.save")
    yield program("a state dict", weights_file, "torch.export.save")
    yield program("under a password", lambda: locked(program_file()), "export it again")
    yield program(
        "packed", lambda: archive_of(entries_of(program_file()), zipfile.ZIP_DEFLATED), "compressed"
    )
    yield program("with wrong check sums", wrong_sums, "export it again")
    yield program("with names of no UTF-8", wrong_names, "export it again")
    for entry in (MODEL, WEIGHTS, SAMPLES):
        yield edited(
            f"without {entry}", lambda entries, entry=entry: entries.pop(entry), "is missing"
        )
    yield edited(
        "without a weight",
        lambda entries: entries.pop(f"{ROOT}/data/weights/weight_0"),
        "export it again",
    )
    yield edited(
        "with an empty weight", setting(f"{ROOT}/data/weights/weight_0", b""), "export it again"
    )


def wrong_sums() -> bytes:
    """One letter of the structure is another; nothing else knows."""
    content = program_file()
    at = content.index(b"torch.ops.aten")
    return content[:at] + b"t0rch" + content[at + 5 :]


def wrong_names() -> bytes:
    """Entries whose names are said to be UTF-8 and are not."""
    content = program_file().replace(b"archive/byteorder", b"archive/\xff\xfeteorder")
    spoilt = bytearray(content)
    for mark, offset in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        at = spoilt.find(mark)
        while at >= 0:
            spoilt[at + offset] |= 8
            at = spoilt.find(mark, at + 1)
    return bytes(spoilt)


def bombs() -> Iterator[Case]:
    yield program(
        "that unpacks to gigabytes",
        lambda: bomb(entries_of(program_file()), f"{ROOT}/extra/large.txt"),
        "compressed",
        alone=True,
    )
    yield edited(
        "whose sample inputs unpack to gigabytes",
        lambda entries: entries.__setitem__(
            SAMPLES, bomb(entries_of(entries[SAMPLES]), "archive/data/99")
        ),
        "sample inputs",
        alone=True,
    )
    large = ((torch.ones(1).expand(1 << 20, 3, 1 << 10, 1 << 10),), {})
    yield edited(
        "whose sample inputs repeat one number",
        lambda entries: entries.__setitem__(SAMPLES, zipped(large)),
        "sample inputs",
        alone=True,
    )


def structures() -> Iterator[Case]:
    for name, content in spoiled(b'{"graph_module": {}}'):
        yield edited(f"structure is {name}", setting(MODEL, content), "export it again")
    yield edited("structure is an empty table", setting(MODEL, b"{}"), "export it again")
    graph = ("graph_module", "graph")
    edits: dict[str, tuple[tuple[str | int, ...], object]] = {
        "no graph": (graph, GONE),
        "no inputs": ((*graph, "inputs"), []),
        "no outputs": ((*graph, "outputs"), []),
        "no nodes": ((*graph, "nodes"), []),
        "nodes in words": ((*graph, "nodes"), "many"),
        "a node without inputs": ((*graph, "nodes", 0, "inputs"), []),
        "an operator that is none": (
            (*graph, "nodes", 0, "target"),
            "torch.ops.aten.magic.default",
        ),
        "no signature": (("graph_module", "signature"), GONE),
        "a version of tomorrow": (("schema_version",), {"major": 999, "minor": 0}),
        "no version": (("schema_version",), GONE),
    }
    for name, (path, value) in edits.items():
        yield edited(f"structure has {name}", editing(MODEL, path, value), "export it again")
    for name, content in spoiled(b'{"config": {}}'):
        if name in ("empty", "truncated", "nested deeply", "a list", "a number", "UTF-16"):
            yield edited(f"weights' table is {name}", setting(WEIGHTS, content), "export it again")
    yield edited("no weights' table", setting(WEIGHTS, b"{}"), "export it again")
    yield edited(
        "a weights' table in words", setting(WEIGHTS, b'{"config": "none"}'), "export it again"
    )
    yield edited("no weights", setting(WEIGHTS, b'{"config": {}}'), "export it again")
    yield edited("sample inputs of text", setting(SAMPLES, b"no tensors"), "sample inputs")
    yield edited("sample inputs of another kind", setting(SAMPLES, zipped(7)), "export it again")
    yield edited(
        "a weight of NaN",
        lambda entries: entries.__setitem__(
            f"{ROOT}/data/weights/weight_0",
            b"\0\0\xc0\x7f" * (len(entries[f"{ROOT}/data/weights/weight_0"]) // 4),
        ),
        "NaN or infinite values",
    )


def own_preprocessing() -> Iterator[Case]:
    for name, content in spoiled(spelled(PREPROCESSING)):
        if name != "empty":  # as if there were none
            yield edited(f"preprocessing is {name}", setting(EXTRA, content), "preprocessing.json")
    edits: dict[str, tuple[str, object]] = {
        "no crop": ("crop", [0, 0]),
        "a crop in words": ("crop", "all"),
        "no mean": ("mean", []),
        "a mean of another length": ("mean", [0.5, 0.5]),
        "a deviation of zero": ("std", [0.2, 0.0, 0.2]),
        "a resize below zero": ("resize", -8),
        "an unknown interpolation": ("interpolation", "magic"),
    }
    for name, (key, value) in edits.items():
        content = spelled({**PREPROCESSING, key: value})
        yield edited(f"preprocessing has {name}", setting(EXTRA, content), "preprocessing.json")


def wishes() -> Iterator[Case]:
    yield program(
        "with an architecture", program_file, "leave --arch out", "--arch", "net.py:small"
    )
    yield program("of another size", program_file, "exported for 8x8", "--image-size", "9")


def cases() -> Iterator[Case]:
    for family in (damaged, bombs, structures, own_preprocessing, wishes):
        yield from family()
