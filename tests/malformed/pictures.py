"""Pictures and folders of them."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.malformed.cases import Case, Write, later
from tests.malformed.material import (
    encoded,
    picture,
    program_file,
    state,
    write_classes,
    zipped,
)

LOOSE = ("--sparsity", "0.5", "--multiple-of", "1", "--smallest-group", "1")
PLAN = ("plan", "--teacher", "good.pt2", "--criterion", "magnitude", *LOOSE)
TRAIN = ("train", "--arch", "net.py:small", "--epochs", "1", "--image-size", "8", "--out", "new.pt")


def with_program(write: Write) -> Write:
    def both(folder: Path) -> None:
        later("good.pt2", program_file)(folder)
        write(folder)

    return both


def planned(
    name: str, write: Write, names: str, says: str, *, data: str = "pets", status: int = 2
) -> Case:
    """Data that ``plan`` meets."""
    return Case(
        name=name,
        write=with_program(write),
        command=(*PLAN, "--data", data),
        names=names,
        says=says,
        status=status,
    )


def among_good(file: str, make: Callable[[], bytes]) -> Write:
    """Two classes of four pictures each, one of which is this."""

    def write(folder: Path) -> None:
        write_classes(folder / "pets", {"a": 4, "b": 4})
        (folder / "pets" / file).write_bytes(make())

    return write


def bad(name: str, file: str, make: Callable[[], bytes], says: str = "replace or remove") -> Case:
    return planned(f"picture: {name}", among_good(file, make), file, says)


def odd(name: str, file: str, make: Callable[[], bytes], says: str) -> Case:
    return planned(f"picture: {name}", among_good(file, make), file, says, status=0)


# -- pictures --------------------------------------------------------------------------------------


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG by hand: a header that says what it likes, and packed rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def black(width: int, height: int) -> bytes:
    """One bit for a pixel: very many pixels in very few bytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row * 64) for _ in range(height // 64)) + packer.flush()
    whole = png(width, height, b"", 1, 0)
    at, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    sum_ = struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    chunk = struct.pack(">I", len(packed)) + b"IDAT" + packed + sum_
    return whole[:at] + chunk + whole[end:]


def truncated() -> Iterator[Case]:
    forms = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}
    for form, ending in forms.items():
        for share in (0.3, 0.8):
            yield bad(
                f"{form} cut at {share}",
                f"b/x.{ending}",
                lambda form=form, share=share: cut(form, share),
            )
    yield bad("GIF cut at 0.1", "b/x.gif", lambda: cut("GIF", 0.1))


def cut(form: str, share: float) -> bytes:
    content = encoded(picture(5, (32, 32)), form)
    return content[: int(len(content) * share)]


def no_pictures() -> Iterator[Case]:
    kinds = {
        "of no bytes": b"",
        "of text": b"no picture",
        "of an error page": b"<!DOCTYPE html><html>404</html>",
        "of a vector graphic": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "of zeros": bytes(500),
        "of a header alone": b"\x89PNG\r\n\x1a\n",
        "of garbage after the header": png(8, 8, b"")[:45] + bytes(100),
        "of rows that are no rows": png(8, 8, b"too few"),
        "of no width": png(0, 8, b""),
        "of no size": png(0, 0, b""),
        "of no size in another form": b"P6 0 0 255\n",
        "of a size below zero": b"P6 -8 8 255\n" + bytes(192),
    }
    for name, content in kinds.items():
        ending = "ppm" if content[:2] == b"P6" else "png"
        yield bad(name, f"b/x.{ending}", lambda content=content: content)
    for name in ("of no bytes", "of no size", "of text"):
        yield bad(f"{name}, the first", "a/000.png", lambda name=name: kinds[name])


def too_large() -> Iterator[Case]:
    for file in ("a/000.png", "b/x.png"):
        yield bad(
            f"a bomb of 400 megapixels, {file}", file, lambda: black(20_480, 20_480), "pixels"
        )
        yield bad(
            f"a bomb of 120 megapixels, {file}", file, lambda: black(12_288, 10_240), "pixels"
        )


def odd_forms() -> Iterator[Case]:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    yield bad(
        "of 16 bits", "b/x.png", lambda: encoded(Image.fromarray(deep), "PNG"), "convert it to 8"
    )
    yield bad(
        "of 16 bits in TIFF",
        "b/x.tif",
        lambda: encoded(Image.fromarray(deep), "TIFF"),
        "convert it to 8",
    )
    floats = deep.astype(np.float32)
    yield bad(
        "of floats", "b/x.tif", lambda: encoded(Image.fromarray(floats), "TIFF"), "convert it to 8"
    )
    yield bad(
        "of whole numbers of 32 bits",
        "b/x.tif",
        lambda: encoded(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "convert it to 8",
    )
    frames = [picture(7), picture(8), picture(9)]
    animated = {"save_all": True, "append_images": frames[1:]}
    yield odd(
        "CMYK",
        "b/x.jpg",
        lambda: encoded(picture(5).convert("CMYK"), "JPEG"),
        "CMYK, taken as RGB",
    )
    for form in ("GIF", "PNG", "WEBP"):
        yield odd(
            f"animated {form}",
            f"b/x.{form.lower()}",
            lambda form=form: encoded(frames[0], form, **animated),
            "animated, its first frame taken",
        )
    yield odd("a JPEG called PNG", "b/x.png", lambda: encoded(picture(5), "JPEG"), "is a JPEG")
    yield odd("a PNG called JPEG", "b/x.jpg", lambda: encoded(picture(5), "PNG"), "is a PNG")


# -- folders ---------------------------------------------------------------------------------------


def classes(**counts: int) -> Write:
    return lambda folder: write_classes(folder / "pets", counts)


def parts(**counted: dict[str, int]) -> Write:
    """Folders train, val, test of class folders."""

    def write(folder: Path) -> None:
        for number, (part, counts) in enumerate(counted.items()):
            write_classes(folder / "pets" / part, counts, first=100 * number)

    return write


def flat(count: int) -> Write:
    def write(folder: Path) -> None:
        write_classes(folder, {"pets": count})

    return write


def both_kinds(folder: Path) -> None:
    classes(a=4, b=4)(folder)
    (folder / "pets/loose.png").write_bytes(encoded(picture(), "PNG"))


def empty_classes(folder: Path) -> None:
    for name in "ab":
        (folder / "pets" / name).mkdir(parents=True)


def hidden(folder: Path) -> None:
    (folder / "pets").mkdir()
    (folder / "pets/.x.png").write_bytes(encoded(picture(), "PNG"))


def other_files(folder: Path) -> None:
    (folder / "pets").mkdir()
    (folder / "pets/readme.txt").write_text("no pictures")


def file_for_folder(folder: Path) -> None:
    (folder / "pets").write_bytes(b"a file")


def bytes_for_names(folder: Path) -> None:
    classes(a=4)(folder)
    place = os.fsencode(folder / "pets") + b"/b\xff"
    os.mkdir(place)
    for number in range(4):
        with open(place + b"/%d.png" % number, "wb") as stream:
            stream.write(encoded(picture(50 + number), "PNG"))


def folders() -> Iterator[Case]:
    told = "give the folder"
    yield planned("folder: a file in its place", file_for_folder, "pets", told)
    yield planned("folder: absent", lambda folder: None, "pets", "no such folder")
    yield planned("folder: empty", lambda f: (f / "pets").mkdir(), "pets", "no pictures there")
    yield planned("folder: of empty folders", empty_classes, "pets", "no pictures there")
    yield planned("folder: of hidden files", hidden, "pets", "no pictures there")
    yield planned("folder: of other files", other_files, "pets", "no pictures there")
    yield planned("folder: of two kinds", both_kinds, "loose.png", "class folders only")
    yield planned("folder: of two pictures", flat(2), "pets", "at least 3")
    yield planned(
        "folder: a link to itself",
        lambda folder: (folder / "pets").symlink_to("pets"),
        "pets",
        "check the path",
    )
    yield planned("folder: a name without end", lambda f: None, "xxx", "too long", data="x" * 5000)
    yield planned(
        "folder: val and test alone", parts(val={"a": 4}, test={"a": 4}), "pets", "no train folder"
    )
    yield planned(
        "folder: train is empty",
        lambda f: ((f / "pets/train").mkdir(parents=True), (f / "pets/test").mkdir()),
        "pets/train",
        "no pictures there",
    )
    yield planned(
        "folder: test is empty",
        lambda f: (parts(train={"a": 4, "b": 4})(f), (f / "pets/test").mkdir()),
        "pets/test",
        "no pictures there",
    )
    yield planned("folder: a class's name is no text", bytes_for_names, "pets", "rename it")


def typed_digits() -> Case:
    return Case(
        name="labels: digits for two classes",
        command=(*PLAN[:2], "good.pt", "--arch", "net.py:small", *PLAN[3:], "--data", "digits"),
        names="digits",
        says="the network has 2 outputs",
    )


def labels() -> Iterator[Case]:
    yield typed_digits()
    yield planned("labels: of one class", classes(a=6), "pets", "the network has 2 outputs")
    yield planned(
        "labels: of a class too many", classes(a=4, b=4, c=4), "pets", "the network has 2 outputs"
    )
    yield planned(
        "labels: digits, which are of another size",
        lambda folder: None,
        "good.pt2",
        "exported for 8x8",
        data="digits",
    )
    yield planned(
        "labels: a class in the test images alone, training by labels",
        parts(train={"a": 4, "b": 4}, test={"a": 2, "b": 2, "c": 2}),
        "pets/test",
        "c; both need the same",
    )
    yield planned(
        "labels: a class in the test images alone, training without labels",
        parts(train={"a": 4, "b": 1}, test={"a": 2, "c": 2}),
        "pets",
        "the network has 2 outputs",
    )
    yield Case(
        name="labels: a class in the test images alone, which the network knows",
        write=of_three_classes,
        command=(
            "plan", "--teacher", "three.pt", "--arch", "net.py:small", "--image-size", "8",
            "--criterion", "magnitude", *LOOSE, "--data", "pets",
        ),
        names="only in the test images: c",
        says="unlabelled",
        status=0,
    )  # fmt: skip
    yield planned(
        "labels: one picture of a class", classes(a=4, b=1), "'b'", "unlabelled", status=0
    )
    yield planned(
        "labels: no picture of a class",
        lambda f: (classes(a=4)(f), (f / "pets/b").mkdir()),
        "'b'",
        "unlabelled",
        status=0,
    )


def of_three_classes(folder: Path) -> None:
    parts(train={"a": 4, "b": 1}, test={"a": 2, "b": 2, "c": 2})(folder)
    weights = {**state(), "5.weight": torch.ones(3, 8), "5.bias": torch.ones(3)}
    (folder / "three.pt").write_bytes(zipped(weights))


def trained(name: str, write: Write, names: str, says: str, *more: str) -> Case:
    """Data that ``train`` refuses."""
    command = (*TRAIN, "--data", "pets", *more)
    return Case(name=f"train: {name}", write=write, command=command, names=names, says=says)


def teaching() -> Iterator[Case]:
    yield trained("one class", classes(a=6), "pets", "each of at least 2 classes")
    yield trained("one picture of a class", classes(a=6, b=1), "'b'", "at least 2")
    yield trained(
        "no picture of a class", lambda f: (classes(a=6)(f), (f / "pets/b").mkdir()), "'b'", "2"
    )
    yield trained("pictures without classes", flat(6), "pets", "no class folders")
    yield trained(
        "a class in the test images alone",
        parts(train={"a": 4, "b": 4}, test={"a": 2, "c": 2}),
        "pets/test",
        "both need the same",
    )
    yield trained(
        "a test folder that is a file",
        lambda f: (classes(a=4, b=4)(f), (f / "held.txt").write_text("x")),
        "held.txt",
        "is not a folder",
        "--test",
        "held.txt",
    )
    yield trained(
        "a test folder that is absent",
        classes(a=4, b=4),
        "held",
        "no such folder",
        "--test",
        "held",
    )
    yield trained(
        "a test folder that is empty",
        lambda f: (classes(a=4, b=4)(f), (f / "held").mkdir()),
        "held",
        "no pictures",
        "--test",
        "held",
    )
    yield trained(
        "a truncated picture", among_good("b/x.png", lambda: cut("PNG", 0.5)), "x.png", "replace"
    )
    yield Case(
        name="build: self-distillation from one picture of a class",
        write=classes(a=4, b=1),
        command=(
            "build", "--arch", "net.py:small", "--recipe", "epsd", "--data", "pets", "--epochs",
            "1", "--image-size", "8", "--out", "run", *LOOSE,
        ),
        names="pets",
        says="at least 2",
    )  # fmt: skip


def sizes() -> Iterator[Case]:
    """A picture so long that its shorter side cannot be brought to the wanted size."""

    def long(folder: Path) -> None:
        among_good("b/x.png", lambda: encoded(picture(3, (60_000, 1)), "PNG"))(folder)

    yield Case(
        name="picture: sixty thousand times as long as wide",
        write=long,
        command=(*TRAIN[:6], "224", *TRAIN[7:], "--data", "pets"),
        names="b/x.png",
        says="replace or remove",
        alone=True,
    )


def cases() -> Iterator[Case]:
    for family in (
        truncated, no_pictures, too_large, odd_forms, folders, labels, teaching, sizes
    ):  # fmt: skip
        yield from family()
