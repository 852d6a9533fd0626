"""Image folders: which files there are, which class each has, and their pixels.

Comes in: a folder, a ``Preprocessing``.  Goes out: listings, one uint8 tensor of decoded pictures.
Knows nothing of splits, networks or training.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from compressor.errors import DataError, first_line
from compressor.types import Preprocessing

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
)
# Pillow looks at the content and knows others, of which some start programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LARGEST_SET_BYTES = 8_000_000_000
LARGEST_PICTURE = 89_478_485  # pixels, from which on Pillow warns of bombs
# Of an ending, where the format is not called after it.
FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM",
}  # fmt: skip
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Pictures of one folder.  ``classes`` are the sorted class folders; none where it is flat."""

    folder: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """``notes``: a line for whatever is unusual about some of the pictures."""

    pixels: Tensor  # uint8 (n, channels, height, width)
    notes: tuple[str, ...]


def parts_of(folder: Path) -> dict[str, Path]:
    """The train, val and test folders inside, where it is divided that way (else nothing)."""
    found = {PARTS[sub.name]: sub for sub in _subfolders(folder) if sub.name in PARTS}
    if found and "train" not in found and len(found) == len(_subfolders(folder)):
        raise DataError(f"{folder}: has {', '.join(sorted(found))} but no train folder; add it")
    return found if "train" in found else {}


def list_images(folder: Path) -> Listing:
    """Pictures in class folders, or flat.  Raises DataError where there are none, or both kinds."""
    subfolders = _subfolders(folder)
    loose = _pictures(folder, deep=False)
    if loose and subfolders:
        raise DataError(
            f"{folder}: holds both pictures ({loose[0].name}, ...) and folders "
            f"({subfolders[0].name}, ...); use class folders only, or one flat folder"
        )
    files, labels = list(loose), [0] * len(loose)
    for number, subfolder in enumerate(subfolders):
        own = _pictures(subfolder, deep=True)
        files += own
        labels += [number] * len(own)
    if not files:
        raise DataError(
            f"{folder}: no pictures there; expected {', '.join(sorted(ENDINGS))} files, in class "
            "folders or flat"
        )
    return Listing(
        folder=folder,
        files=tuple(files),
        labels=tuple(labels) if subfolders else None,
        classes=tuple(subfolder.name for subfolder in subfolders),
    )


def first_picture_size(folder: Path) -> tuple[int, int]:
    """(height, width) of the first picture."""
    parts = parts_of(folder)
    file = list_images(parts.get("train", folder)).files[0]
    with _bombs_are_errors(), _opened(file) as picture:
        return picture.height, picture.width


def decode(files: Sequence[Path], preprocessing: Preprocessing) -> Decoded:
    """Decode, resize and crop.

    Channels are as many as ``preprocessing.mean`` has (1: grey, 3: RGB).  The arithmetic is that of
    torchvision's classification presets on pictures.  Raises DataError naming an unreadable file.
    """
    height, width = preprocessing.crop
    channels = len(preprocessing.mean)
    if channels not in (1, 3):
        raise DataError(f"pictures have 1 or 3 channels, the network's input has {channels}")
    if preprocessing.interpolation not in RESAMPLING:
        raise DataError(f"interpolation {preprocessing.interpolation!r} is not known")
    size = len(files) * channels * height * width
    if size > LARGEST_SET_BYTES:
        raise DataError(
            f"{files[0].parent}: {len(files):,} pictures at {height}x{width} need "
            f"{size / 1e9:.0f} GB, and at most {LARGEST_SET_BYTES / 1e9:.0f} GB stay in memory; "
            "give fewer pictures or a smaller --image-size"
        )
    pixels = torch.empty(len(files), channels, height, width, dtype=torch.uint8)

    def place(number: int) -> str | None:
        pixels[number], oddity = _decode_one(files[number], preprocessing)
        return oddity

    with _bombs_are_errors(), ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
        oddities = list(pool.map(place, range(len(files))))
    return Decoded(pixels=pixels, notes=_told(files, oddities))


def content_hashes(pixels: Tensor) -> list[bytes]:
    """A digest of each picture's decoded pixels: equal pictures have equal digests."""
    arrays = pixels.contiguous().numpy()
    return [hashlib.blake2b(array.tobytes(), digest_size=16).digest() for array in arrays]


def _subfolders(folder: Path) -> list[Path]:
    try:
        inside = list(folder.iterdir())
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: no such folder; give a folder of pictures, digits or synthetic"
        ) from error
    except NotADirectoryError as error:
        raise DataError(
            f"{folder}: is not a folder; give the folder that holds the pictures"
        ) from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check the path") from error
    found = sorted(p for p in inside if p.is_dir() and not p.name.startswith("."))
    _require_text(found)
    return found


def _require_text(subfolders: Sequence[Path]) -> None:
    """Classes are called as their folders are, and must be text.  Raises DataError."""
    for one in subfolders:
        try:
            one.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{one}: the name of this class folder is not UTF-8; rename it"
            ) from None
        if any(unicodedata.category(letter) == "Cc" for letter in one.name):
            raise DataError(
                f"{one.parent}: the name of its folder {one.name!r} is no text; rename it"
            )


def _pictures(folder: Path, deep: bool) -> list[Path]:
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        p
        for p in found
        if p.suffix.lower() in ENDINGS and not p.name.startswith(".") and p.is_file()
    )


def _decode_one(file: Path, preprocessing: Preprocessing) -> tuple[Tensor, str | None]:
    grey = len(preprocessing.mean) == 1
    with _opened(file) as opened:
        if opened.mode.startswith(("I", "F")):
            raise DataError(f"{file}: has more than 8 bits per pixel; convert it to 8 bits")
        oddity = _oddity(file, opened)
        picture = opened.convert("L" if grey else "RGB")
        picture = _cropped(_resized(picture, preprocessing), preprocessing.crop)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, -1).permute(2, 0, 1), oddity


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """The picture, not decoded yet.  Raises DataError for what goes wrong until it is closed."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            if min(picture.size) < 1 or pixels > LARGEST_PICTURE:
                raise ValueError(f"{pixels:,} pixels")
            yield picture
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything, from SyntaxError to struct.error
        raise _unreadable(file, error) from error


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    """Pillow warns of pictures that it does not refuse yet; here both are refused alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of notes beside the pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _oddity(file: Path, picture: Image.Image) -> str | None:
    """What is unusual about a picture that can be used all the same."""
    expected = FORMAT_OF.get(file.suffix.lower(), file.suffix[1:].upper())
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # cameras' JPEG
        return "animated, its first frame taken"
    if picture.mode == "CMYK":
        return "CMYK, taken as RGB"
    if picture.format is not None and picture.format not in (expected, "MPO"):
        return f"is a {picture.format}, whatever its ending says"
    return None


def _told(files: Sequence[Path], oddities: Sequence[str | None]) -> tuple[str, ...]:
    """One line for each oddity, with the first file of it."""
    found: dict[str, list[Path]] = {}
    for file, oddity in zip(files, oddities, strict=True):
        if oddity is not None:
            found.setdefault(oddity, []).append(file)
    return tuple(
        f"warning: {own[0].parent.name}/{own[0].name}: {oddity}"
        + (f"; {len(own) - 1} more like it" if len(own) > 1 else "")
        for oddity, own in found.items()
    )


def _resized(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The shorter side brought to ``resize``; without one, only what is too small is enlarged."""
    height, width = preprocessing.crop
    shorter = min(picture.size)
    wanted = preprocessing.resize
    if wanted is None:
        if picture.height >= height and picture.width >= width:
            return picture
        grow = max(height / picture.height, width / picture.width)
        size = (max(width, round(picture.width * grow)), max(height, round(picture.height * grow)))
        return _brought_to(picture, size, preprocessing)
    if shorter == wanted:
        return picture
    longer = int(wanted * max(picture.size) / shorter)
    size = (wanted, longer) if picture.width <= picture.height else (longer, wanted)
    return _brought_to(picture, size, preprocessing)


def _brought_to(
    picture: Image.Image, size: tuple[int, int], preprocessing: Preprocessing
) -> Image.Image:
    """Raises ValueError for a size that only a picture far too long has."""
    if size[0] * size[1] > LARGEST_PICTURE:
        raise ValueError(f"{picture.width}x{picture.height} would become {size[0]}x{size[1]}")
    return picture.resize(size, RESAMPLING[preprocessing.interpolation])


def _cropped(picture: Image.Image, crop: tuple[int, int]) -> Image.Image:
    """The centre; black around where the picture is smaller."""
    height, width = crop
    if (picture.height, picture.width) == crop:
        return picture
    top = round((picture.height - height) / 2.0)
    left = round((picture.width - width) / 2.0)
    return picture.crop((left, top, left + width, top + height))


def _unreadable(file: Path, error: BaseException) -> DataError:
    reason = first_line(error).replace(str(file), file.name)[:120]
    return DataError(f"{file}: not a readable picture ({reason}); replace or remove it")
