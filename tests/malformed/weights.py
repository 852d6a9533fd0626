"""Weight files: truncated, of other kinds, without weights, of other networks, of wrong values."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.checkpoints import SAVE_A_STATE_DICT as STATE_DICT
from compressor.checkpoints import WRAPPERS
from tests.malformed.cases import DEEP, GONE, Case, changed, later, put, spelled, spoiled
from tests.malformed.material import (
    archive_of,
    bomb,
    encoded,
    entries_of,
    legacy,
    locked,
    picture,
    safe,
    safe_by_hand,
    scripted,
    state,
    weights_file,
    zipped,
)

FORMS: dict[str, Callable[[], bytes]] = {
    "zip.pt": weights_file,
    "legacy.pth": lambda: legacy(state()),
    "weights.safetensors": lambda: safe(state()),
}


def analyze(file: str, *more: str) -> tuple[str, ...]:
    own = ("--arch", "net.py:small", "--image-size", "8")
    return ("analyze", "--teacher", file, *(more or own))


def refused(name: str, file: str, make: Callable[[], bytes], says: str, **others: Any) -> Case:
    """A weight file that ``analyze`` refuses."""
    found = {"command": analyze(file), "names": file, **others}
    return Case(name=name, write=later(file, make), says=says, **found)


def with_(**tensors: Tensor | None) -> dict[str, Tensor]:
    """The good weights, some of them others or (None) absent; ``_`` stands for the dot."""
    found = state()
    for name, tensor in tensors.items():
        key = name.removeprefix("n").replace("_", ".", 1)
        if tensor is None:
            del found[key]
        else:
            found[key] = tensor
    return found


# -- files that are not whole, or of another kind --------------------------------------------------


def truncated() -> Iterator[Case]:
    for file, make in FORMS.items():
        for share in (0.1, 0.5, 0.9, 0.99):
            yield refused(
                f"{file} cut at {share}",
                file,
                lambda make=make, share=share: make()[: int(len(make()) * share)],
                "save",
            )
        yield refused(f"{file} without its last byte", file, lambda make=make: make()[:-1], "save")


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        content = pickle.dumps([])
        entry = tarfile.TarInfo("tensors")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def numbers() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones(3))
    return buffer.getvalue()


def another_kind() -> Iterator[Case]:
    kinds: dict[str, Callable[[], bytes]] = {
        "text": lambda: b"these are no weights\n",
        "an error page": lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "zeros": lambda: bytes(400),
        "JSON": lambda: b'{"0.weight": [1, 2]}',
        "a picture": lambda: encoded(picture(), "PNG"),
        "gzip": lambda: gzip.compress(weights_file()),
        "tar": tarred,
        "numpy": numbers,
        "a pickle": lambda: pickle.dumps({"0.weight": [1.0]}),
        "an empty zip": lambda: archive_of({}),
        "a zip of text": lambda: archive_of({"readme.txt": b"no weights"}),
    }
    for kind, make in kinds.items():
        yield refused(f"{kind} as .pt", "other.pt", make, "save")
    for kind in ("text", "zeros", "a zip of text", "a picture"):
        yield refused(f"{kind} as .safetensors", "other.safetensors", kinds[kind], "save it again")
    yield refused("TorchScript", "script.pt", scripted, "TorchScript")
    yield refused("ONNX", "net.onnx", kinds["text"], "ONNX files are not read")
    for file in ("empty.pt", "empty.pth", "empty.safetensors"):
        yield refused(f"{file} of no bytes", file, lambda: b"", "is empty")


def no_file() -> Iterator[Case]:
    def folder_of(*names: str) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            (folder / "hub").mkdir()
            for name in names:
                (folder / "hub" / name).write_bytes(safe(state()))

        return write

    def without_arch(name: str, write: Callable[[Path], object], says: str) -> Case:
        return Case(name=name, write=write, command=analyze("hub"), names="hub", says=says)

    hugging_face = folder_of("config.json", "model.safetensors")
    yield without_arch("a Hugging Face folder", hugging_face, "hub/model.safetensors")
    yield without_arch("a timm folder", folder_of("pytorch_model.bin"), "hub/pytorch_model.bin")
    yield without_arch("an empty folder of weights", folder_of(), "give the weight file")
    yield without_arch("a missing file", lambda folder: None, "no such file")
    yield Case(
        name="a link to nothing",
        write=lambda folder: (folder / "link.pt").symlink_to("nowhere.pt"),
        command=analyze("link.pt"),
        names="link.pt",
        says="no such file",
    )
    yield Case(
        name="a link to itself",
        write=lambda folder: (folder / "link.pt").symlink_to("link.pt"),
        command=analyze("link.pt"),
        names="link.pt",
        says="no such file",
    )
    yield Case(
        name="a file name without end",
        command=analyze("x" * 5000 + ".pt"),
        names="xxxxx",
        says="too long",
    )


# -- zips ------------------------------------------------------------------------------------------


def zips() -> Iterator[Case]:
    def without(entry: str) -> bytes:
        held = entries_of(weights_file())
        return archive_of({name: data for name, data in held.items() if not name.endswith(entry)})

    def emptied(entry: str) -> bytes:
        held = entries_of(weights_file())
        return archive_of(
            {name: b"" if name.endswith(entry) else data for name, data in held.items()}
        )

    def damaged_directory() -> bytes:
        content = bytearray(weights_file())
        at = content.index(b"PK\1\2")
        content[at : at + 4] = b"PK\7\7"
        return bytes(content)

    yield refused("a zip without its pickle", "zip.pt", lambda: without("data.pkl"), "save")
    yield refused("a zip without a tensor", "zip.pt", lambda: without("data/0"), "save")
    yield refused("a zip with an empty pickle", "zip.pt", lambda: emptied("data.pkl"), "save")
    yield refused("a zip with an empty tensor", "zip.pt", lambda: emptied("data/0"), "save")
    yield refused("a zip with a damaged directory", "zip.pt", damaged_directory, "save")
    yield refused("a zip under a password", "zip.pt", lambda: locked(weights_file()), "save")
    yield refused(
        "a zip bomb",
        "bomb.pt",
        lambda: bomb(entries_of(weights_file()), "archive/data/99"),
        "unpack",
        alone=True,
    )
    yield refused(
        "a zip bomb in place of a tensor",
        "bomb.pt",
        lambda: bomb(
            {k: v for k, v in entries_of(weights_file()).items() if not k.endswith("data/0")},
            "archive/data/0",
        ),
        "unpack",
        alone=True,
    )
    yield refused(
        "a tensor that repeats one number",
        "bomb.pt",
        lambda: zipped(with_(n0_weight=torch.ones(1).expand(8, 3, 3 << 20, 3 << 10))),
        "than the file holds",
        alone=True,
    )
    yield refused(
        "a legacy file with a tensor that repeats one number",
        "bomb.pth",
        lambda: legacy(with_(n0_weight=torch.ones(1).expand(8, 3, 3 << 20, 3 << 10))),
        "than the file holds",
        alone=True,
    )


def safetensors_by_hand() -> Iterator[Case]:
    def one(**facts: object) -> dict[str, object]:
        return {"0.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64], **facts}}

    headers: dict[str, bytes] = {
        "header longer than the file": (1 << 60).to_bytes(8, "little") + b"{}",
        "header of no JSON": safe_by_hand(b"not JSON"),
        "header that is a list": safe_by_hand([]),
        "header nested deeply": safe_by_hand(DEEP),
        "header of no UTF-8": safe_by_hand(b'{"\xff": {}}'),
        "no tensors": safe_by_hand({}, b""),
        "offsets beyond the file": safe_by_hand(one(data_offsets=[0, 6400], shape=[40, 40])),
        "offsets backwards": safe_by_hand(one(data_offsets=[64, 0])),
        "offsets below zero": safe_by_hand(one(data_offsets=[-64, 0])),
        "a shape of another size": safe_by_hand(one(shape=[4, 5])),
        "a shape below zero": safe_by_hand(one(shape=[-4, -4])),
        "a shape without end": safe_by_hand(one(shape=[1 << 62, 1 << 62])),
        "an unknown type": safe_by_hand(one(dtype="F33")),
        "a tensor without a type": safe_by_hand({"0.weight": {"shape": [4, 4]}}),
        "two tensors in one place": safe_by_hand({**one(), "1.weight": one()["0.weight"]}),
        "bytes after the end": safe(state()) + bytes(8),
    }
    for name, content in headers.items():
        yield refused(
            f"safetensors: {name}", "hand.safetensors", lambda content=content: content, "save"
        )
    yield refused(
        "safetensors: numbers of four bits",
        "hand.safetensors",
        lambda: safe_by_hand(one(dtype="F4", shape=[8, 16])),
        "save",
    )


# -- what is inside --------------------------------------------------------------------------------


def cyclic(*keys: str) -> dict[str, Any]:
    """A dict that holds itself, by way of others."""
    first: dict[str, Any] = {}
    last = first
    for key in keys[:-1]:
        last[key] = {}
        last = last[key]
    last[keys[-1]] = first
    return first


def crowded() -> dict[str, Any]:
    found = cyclic("model")
    return {**found, **dict.fromkeys(WRAPPERS, found)}


def circle() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def contents() -> Iterator[Case]:
    wrapped: Any = state()
    for key in ("model", "net", "state_dict", "module", "params", "weights"):
        wrapped = {key: wrapped}
    held: dict[str, Callable[[], object]] = {
        "a tensor": lambda: torch.ones(3),
        "a list": lambda: [torch.ones(3)],
        "a number": lambda: 7,
        "nothing": lambda: None,
        "a text": lambda: "weights",
        "an empty dict": dict,
        "a dict without tensors": lambda: {"epoch": 3, "lr": 0.1},
        "mostly other things": lambda: {"a": torch.ones(2), "b": 1, "c": 2, "d": 3},
        "numbers for names": lambda: {0: torch.ones(3), 1: torch.ones(2)},
        "weights wrapped six times": lambda: wrapped,
        "a dict that holds itself": lambda: cyclic("model"),
        "a dict that holds itself under every name": crowded,
        "dicts that hold each other": lambda: cyclic("state_dict", "model", "net"),
        "a list that holds itself": circle,
        "a dict with a list that holds itself": lambda: {"model": circle(), "epoch": 1},
        "an empty state dict": lambda: {"state_dict": {}, "epoch": 3},
        "a name without end": lambda: {"x" * 200_000: torch.ones(2)},
    }
    for name, make in held.items():
        yield refused(f"holds {name}", "held.pt", lambda make=make: zipped(make()), STATE_DICT)
    for name in ("a tensor", "a dict without tensors", "a dict that holds itself"):
        make = held[name]
        yield refused(
            f"legacy: holds {name}", "held.pth", lambda make=make: legacy(make()), STATE_DICT
        )
    names = {"an escape sequence": "\x1b[31m\n0.weight", "half a character": "\ud800"}
    for name, key in names.items():
        yield refused(
            f"a name with {name}",
            "held.pt",
            lambda key=key: zipped({key: torch.ones(2)}),
            "does not fit --arch net.py:small: missing 0.weight",
        )


def other_networks() -> Iterator[Case]:
    ones = torch.ones
    shapes: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
        "a key is missing": (lambda: with_(n0_weight=None), "missing 0.weight"),
        "a variance is missing": (lambda: with_(n1_running_var=None), "missing 1.running_var"),
        "a key too many": (lambda: {**state(), "9.weight": ones(3)}, "unexpected 9.weight"),
        "a key of another name": (
            lambda: {("0.kernel" if k == "0.weight" else k): v for k, v in state().items()},
            "unexpected 0.kernel",
        ),
        "keys of another prefix": (
            lambda: {f"encoder.{k}": v for k, v in state().items()},
            "missing 0.weight",
        ),
        "a shape turned around": (
            lambda: with_(n0_weight=ones(3, 8, 3, 3)),
            "misshapen 0.weight (3, 8, 3, 3)",
        ),
        "a kernel of another size": (lambda: with_(n0_weight=ones(8, 3, 5, 5)), "misshapen"),
        "a number for a vector": (lambda: with_(n1_weight=ones(())), "misshapen 1.weight"),
        "a dimension too many": (lambda: with_(n5_weight=ones(2, 8, 1)), "misshapen 5.weight"),
        "an empty kernel": (lambda: with_(n0_weight=ones(0, 3, 3, 3)), "misshapen 0.weight"),
        "an empty vector": (lambda: with_(n1_bias=ones(0)), "misshapen 1.bias"),
        "a head of no classes": (
            lambda: with_(n5_weight=ones(0, 8), n5_bias=ones(0)),
            "misshapen 5.weight (0, 8)",
        ),
        "heads that disagree": (lambda: with_(n5_weight=ones(4, 8), n5_bias=ones(3)), "misshapen"),
        "nothing but empty tensors": (
            lambda: {name: ones(0) for name in state()},
            "misshapen 0.weight (0,)",
        ),
    }
    for name, (make, says) in shapes.items():
        yield refused(f"{name}", "net.safetensors", lambda make=make: safe(make()), says)
    yield refused(
        "weights of another architecture",
        "net.pt",
        weights_file,
        "does not fit --arch torchvision:resnet18",
        command=analyze("net.pt", "--arch", "torchvision:resnet18"),
    )
    yield refused(
        "weights of an unknown architecture",
        "net.pt",
        weights_file,
        "give --arch",
        command=analyze("net.pt", "--image-size", "8"),
    )
    yield refused(
        "a head of no classes, of an unknown architecture",
        "net.pt",
        lambda: zipped({"fc.weight": ones(0, 8), "fc.bias": ones(0)}),
        "give --arch",
        command=analyze("net.pt", "--image-size", "8"),
    )


# -- values and types ------------------------------------------------------------------------------


def filled(name: str, value: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    found = {key: t.to(dtype) if t.is_floating_point() else t for key, t in state().items()}
    found[name].view(-1)[0] = value
    return found


def values() -> Iterator[Case]:
    nan, infinite = float("nan"), float("inf")
    for file, make in (("net.pt", zipped), ("net.pth", legacy), ("net.safetensors", safe)):
        for value in (nan, infinite, -infinite):
            yield refused(
                f"{value} in {file}",
                file,
                lambda make=make, value=value: make(filled("0.weight", value)),
                "NaN or infinite values in 0.weight",
            )
    yield refused(
        "a variance of NaN", "net.pt", lambda: zipped(filled("1.running_var", nan)), "1.running_var"
    )
    yield refused(
        "a variance below zero",
        "net.pt",
        lambda: zipped(filled("1.running_var", -0.5)),
        "1.running_var",
    )
    yield refused(
        "an infinite half",
        "net.pt",
        lambda: zipped(filled("5.bias", infinite, torch.float16)),
        "NaN or infinite values in 5.bias",
    )
    yield refused(
        "a double beyond floats",
        "net.pt",
        lambda: zipped(filled("5.bias", 1e300, torch.float64)),
        "NaN or infinite values in 5.bias",
    )
    yield refused(
        "NaN everywhere",
        "net.pt",
        lambda: zipped({k: t * nan if t.is_floating_point() else t for k, t in state().items()}),
        "and 4 more",
    )


def types() -> Iterator[Case]:
    kernel = torch.ones(8, 3, 3, 3)
    kinds: dict[str, tuple[Callable[[], Tensor], str]] = {
        "complex": (lambda: kernel.to(torch.complex64), "save plain float weights"),
        "sparse": (lambda: kernel.to_sparse(), "save plain float weights"),
        "meta": (lambda: kernel.to("meta"), "save the weights again"),
        "int8": (lambda: kernel.to(torch.int8), "0.weight"),
        "uint8": (lambda: kernel.to(torch.uint8), "0.weight"),
        "int64": (lambda: kernel.to(torch.int64), "0.weight"),
        "bool": (lambda: kernel.to(torch.bool), "0.weight"),
    }
    for name, (make, says) in kinds.items():
        yield refused(
            f"weights of type {name}",
            "net.pt",
            lambda make=make: zipped(with_(n0_weight=make())),
            says,
        )
    yield refused(
        "safetensors of whole numbers",
        "net.safetensors",
        lambda: safe(with_(n0_weight=kernel.to(torch.int8))),
        "0.weight",
    )


def answers() -> Iterator[Case]:
    """Weights that are finite and answer with numbers that are not."""
    plan = ("--image-size", "8", "--sparsity", "0.5", "--multiple-of", "1", "--smallest-group", "1")
    command = ("plan", "--teacher", "net.pt", "--arch", "net.py:small", *plan)

    def overflowing() -> bytes:
        found = state()
        found["0.weight"].fill_(3e38)
        return zipped(found)

    yield refused(
        "weights so large that answers overflow",
        "net.pt",
        overflowing,
        "answers with NaN",
        command=command,
        names="net: ",
    )
    yield refused(
        "export of weights so large that answers overflow",
        "net.pt",
        overflowing,
        "answers with NaN",
        names="net: ",
        command=("export", "net.pt", "--out", "out", "--arch", "net.py:small", "--image-size", "8"),
    )


def usable() -> Iterator[Case]:
    """What is unusual and can be used, which is said."""

    def half() -> dict[str, Tensor]:
        return {k: t.half() if t.is_floating_point() else t for k, t in state().items()}

    yield Case(
        name="weights of half precision",
        write=later("odd.pt", lambda: zipped(half())),
        command=analyze("odd.pt"),
        names="float16",
        says="converted",
        status=0,
    )
    yield Case(
        name="weights beside an epoch and a learning rate",
        write=later("odd.pt", lambda: zipped({**state(), "epoch": 3, "lr": 0.1})),
        command=analyze("odd.pt"),
        names="'epoch', 'lr'",
        says="left out",
        status=0,
    )
    yield Case(
        name="weights and their average",
        write=later("odd.pt", lambda: zipped({"model": state(), "ema": state()})),
        command=analyze("odd.pt"),
        names="'ema'",
        says="was taken",
        status=0,
    )
    yield Case(
        name="a card of other weights",
        write=lambda folder: put("good.pt.json", json.dumps(CARD).encode())(folder),
        command=analyze("good.pt"),
        names="good.pt.json",
        says="is not used",
        status=0,
    )
    yield Case(
        name="a JSON file beside the weights that is no card",
        write=put("good.pt.json", b'{"accuracy": 0.9}'),
        command=analyze("good.pt"),
        names="good.pt.json",
        says="no card",
        status=0,
    )


# -- cards -----------------------------------------------------------------------------------------

CARD: dict[str, Any] = {
    "format": 1,
    "sha256": "ab" * 32,
    "architecture": "net.py:small",
    "classes": ["a", "b"],
    "preprocessing": {"crop": [8, 8], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "data": "pets",
    "images": 10,
    "seed": 0,
    "epochs": 1.5,
    "seconds": 2.0,
    "validation": {"images": 4, "top1": 0.5},
    "test": None,
}


def cards() -> Iterator[Case]:
    def own() -> dict[str, Any]:
        return {**CARD, "sha256": hashlib.sha256(weights_file()).hexdigest()}

    def card(name: str, make: Callable[[], bytes]) -> Case:
        return Case(
            name=f"card: {name}",
            write=later("good.pt.json", make),
            command=analyze("good.pt"),
            names="good.pt.json",
            says="remove it",
        )

    for name, content in spoiled(spelled(CARD)):
        if name not in ("a list", "a number", "null"):  # somebody else's file
            yield card(name, lambda content=content: content)
    edits: dict[str, tuple[tuple[str | int, ...], object]] = {
        "of a later format": (("format",), 9),
        "no architecture": (("architecture",), GONE),
        "a mean in words": (("preprocessing", "mean"), "grey"),
        "no mean": (("preprocessing", "mean"), []),
        "two numbers for three": (("preprocessing", "mean"), [0.5, 0.5]),
        "a deviation of zero": (("preprocessing", "std", 1), 0.0),
        "a deviation below zero": (("preprocessing", "std", 1), -0.2),
        "a crop of nothing": (("preprocessing", "crop"), [0, 0]),
        "a crop below zero": (("preprocessing", "crop"), [-8, 8]),
        "a crop without end": (("preprocessing", "crop"), [10**9, 10**9]),
        "a resize of nothing": (("preprocessing", "resize"), 0),
        "a resize without end": (("preprocessing", "resize"), 10**12),
        "an unknown interpolation": (("preprocessing", "interpolation"), "magic"),
        "classes in one text": (("classes",), "ab"),
    }
    for name, (path, value) in edits.items():
        yield card(name, lambda path=path, value=value: spelled(changed(own(), path, value)))


def cases() -> Iterator[Case]:
    for family in (
        truncated, another_kind, no_file, zips, safetensors_by_hand, contents, other_networks,
        values, types, answers, usable, cards,
    ):  # fmt: skip
        yield from family()
