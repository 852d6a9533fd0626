"""Good inputs of every form, as small as they can be; the families spoil them."""

from __future__ import annotations

import functools
import io
import json
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

NETWORK = """
from torch import nn

def small(num_classes=2):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )

def wide():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

class Paired(nn.Sequential):
    def forward(self, image, extra):
        return super().forward(image) + extra

def paired():
    return Paired(*small())

class Meta(nn.Module):
    def __init__(self):
        super().__init__()
        self.meta = small()

    def forward(self, image):
        return self.meta(image)

def raising():
    raise RuntimeError("no such luck")

def leaving():
    import sys
    sys.exit(0)

def wordy():
    return "a network"

def needy(depth):
    return small()

number = 7
"""
SIDE = 8


def place(folder: Path) -> None:
    """What every case finds: the network's code, and weights that are good."""
    (folder / "net.py").write_text(NETWORK)
    (folder / "good.pt").write_bytes(weights_file())


def network(name: str = "small") -> torch.nn.Module:
    namespace: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(NETWORK, namespace)
    torch.manual_seed(0)
    return namespace[name]().eval()


def state() -> dict[str, Tensor]:
    """Named weights, anew each time."""
    return {name: tensor.clone() for name, tensor in _state().items()}


@functools.cache
def _state() -> Mapping[str, Tensor]:
    found = network()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*found.parameters(), *found.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return dict(found.state_dict())


# -- weight files ----------------------------------------------------------------------------------


def zipped(value: object) -> bytes:
    """As torch saves."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def legacy(value: object) -> bytes:
    """As torch saved before 1.6."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def safe(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save(dict(tensors))


def safe_by_hand(header: object, body: bytes = bytes(64)) -> bytes:
    """A safetensors file whose header says what it likes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@functools.cache
def weights_file() -> bytes:
    return zipped(state())


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network(), torch.zeros(2, 3, SIDE, SIDE)), buffer)
    return buffer.getvalue()


# -- archives --------------------------------------------------------------------------------------


@functools.cache
def program_file() -> bytes:
    """A ``.pt2`` program of the network."""
    from compressor.graphs import capture, export_program
    from export.programs import write_program

    with tempfile.TemporaryDirectory() as folder:
        module = network()
        module.load_state_dict(state())
        graph = capture(module, (torch.zeros(2, 3, SIDE, SIDE),), architecture="net.py:small")
        write_program(export_program(graph), Path(folder) / "good.pt2")
        return (Path(folder) / "good.pt2").read_bytes()


def entries_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def rewritten(content: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The archive with its entries changed."""
    entries = entries_of(content)
    change(entries)
    return archive_of(entries)


def bomb(entries: Mapping[str, bytes], name: str, gigabytes: float = 3.7) -> bytes:
    """A zip of some megabytes, ``entries`` and one more that would unpack to gigabytes of zeros."""
    mebibyte = bytes(1 << 20)
    count = int(gigabytes * 1024)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(mebibyte) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first * count + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    size, path = count << 20, name.encode()
    local = struct.pack(
        "<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0x21, 0, len(packed), size, len(path), 0
    )
    front = archive_of(entries)
    where = front.rindex(b"PK\5\6")
    held, directory_size, begin = struct.unpack("<HII", front[where + 10 : where + 20])
    directory = front[begin : begin + directory_size] + struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0x21, 0, len(packed), size, len(path),
        0, 0, 0, 0, 0, begin,
    ) + path  # fmt: skip
    whole = front[:begin] + local + path + packed
    return (
        whole
        + directory
        + struct.pack(
            "<4sHHHHIIH", b"PK\5\6", 0, 0, held + 1, held + 1, len(directory), len(whole), 0
        )
    )


def locked(content: bytes) -> bytes:
    """The same archive, which says of every entry that it needs a password."""
    spoilt = bytearray(content)
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = spoilt.find(mark)
        while at >= 0:
            spoilt[at + offset] |= 1
            at = spoilt.find(mark, at + 1)
    return bytes(spoilt)


# -- pictures --------------------------------------------------------------------------------------


def picture(seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write_classes(folder: Path, counts: Mapping[str, int], first: int = 0) -> None:
    """So many pictures in each class folder, all different."""
    number = first
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            (folder / name / f"{number:03d}.png").write_bytes(encoded(picture(number), "PNG"))
            number += 1


# -- folders that ship -----------------------------------------------------------------------------


@functools.cache
def exported_files() -> Mapping[str, bytes]:
    """The folder that ``export`` writes of the network, by path."""
    from compressor.loading import load
    from export.delivery import export_network

    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "good.pt2").write_bytes(program_file())
        export_network(load(here / "good.pt2"), here / "out", threads=1)
        return files_of(here / "out")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes | str]:
    """What lies in the folder; caches of Python's own and of measurements are nobody's output."""
    found: dict[str, bytes | str] = {
        path.relative_to(folder).as_posix(): "a folder or a link"
        for path in folder.rglob("*")
        if not path.is_file()
    }
    found.update(files_of(folder))
    return {
        name: content for name, content in found.items() if not name.startswith(("__py", "cache"))
    }


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def seal(folder: Path) -> None:
    """A manifest over what is there now, so that what was changed is believed."""
    from export.manifest import write_manifest

    (folder / "manifest.json").unlink(missing_ok=True)
    write_manifest(folder, ("compressor",), 0, {})
