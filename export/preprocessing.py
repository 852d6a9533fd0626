"""How pictures become the network's input, and what its classes are called, as files.

Comes in: ``Preprocessing`` and labels.  Goes out: ``preprocessor_config.json`` in the form Hugging
Face reads (shorter side resized, centre crop, rescale, normalise), ``labels.json`` (a list in class
order), and both again from such files.  Knows nothing of images.

That form cannot say that only pictures smaller than the crop are resized, as happens here without
``resize``: its readers fill those up with black.  The model card says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from compressor.documents import read, read_as
from compressor.errors import FolderError, OptionError
from compressor.files import write_bytes
from compressor.preprocessing import require_sound
from compressor.types import Preprocessing

PREPROCESSING_FILE = "preprocessor_config.json"
LABELS_FILE = "labels.json"
# Pillow's numbers, which that form uses.
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def write_preprocessing(
    folder: Path, preprocessing: Preprocessing, labels: tuple[str, ...] | None = None
) -> tuple[Path, ...]:
    """Write the files and return their paths; no labels, no ``labels.json``.

    Raises OptionError for an interpolation that form has no number for.
    """
    if preprocessing.interpolation not in RESAMPLE:
        raise OptionError(
            f"interpolation {preprocessing.interpolation!r} is not one of {', '.join(RESAMPLE)}"
        )
    height, width = preprocessing.crop
    shorter = preprocessing.resize
    content = {
        # The processor whose steps are these, in this order.
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": len(preprocessing.mean) == 3,
        "do_resize": shorter is not None,
        "size": {"shortest_edge": min(height, width) if shorter is None else shorter},
        "resample": RESAMPLE[preprocessing.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    written = [folder / PREPROCESSING_FILE]
    write_bytes(written[0], _encode(content))
    if labels is not None:
        written.append(folder / LABELS_FILE)
        write_bytes(written[1], _encode(list(labels)))
    return tuple(written)


def read_preprocessing(folder: Path) -> tuple[Preprocessing, tuple[str, ...] | None]:
    """What ``write_preprocessing`` wrote; no ``labels.json``, no labels.

    Raises FolderError where a file is absent or of another form.
    """
    path, names = folder / PREPROCESSING_FILE, folder / LABELS_FILE
    try:
        content = read(path)
        names_of = {number: name for name, number in RESAMPLE.items()}
        told = {
            "crop": (content["crop_size"]["height"], content["crop_size"]["width"]),
            "mean": tuple(float(value) for value in content["image_mean"]),
            "std": tuple(float(value) for value in content["image_std"]),
            "resize": content["size"]["shortest_edge"] if content["do_resize"] else None,
            "interpolation": names_of[content["resample"]],
            "origin": PREPROCESSING_FILE,
        }
        found = msgspec.convert(told, Preprocessing)
        require_sound(found)
        if not isinstance(content["do_resize"], bool):
            raise ValueError("do_resize is neither true nor false")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    try:
        labels = read_as(names, tuple[str, ...]) if names.is_file() else None
    except (OSError, ValueError) as error:
        raise _unreadable(names, error) from error
    return found, labels


def _unreadable(path: Path, error: Exception) -> FolderError:
    reason = f"no {error}" if isinstance(error, KeyError) else error
    return FolderError(f"{path} cannot be read ({reason}); build anew")


def _encode(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
