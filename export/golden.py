"""Golden samples: a few real inputs and what each ONNX file answers to them, kept beside the files.

Comes in: arrays.  Goes out: ``golden.npz``, equal bytes for equal arrays, and what it holds.  Knows
nothing of runtimes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from compressor.errors import FolderError, first_line
from compressor.files import replacing
from compressor.unpacking import DAMAGED_ZIP, check_unpacked
from export.prediction import TOLERANCE, Array

GOLDEN_FILE = "golden.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """``outputs``: a file's path in the folder -> what it answers to ``inputs`` (samples, ...)."""

    inputs: Array
    outputs: Mapping[str, Array]
    tolerances: Mapping[str, float]  # for every file of ``outputs``, relative


def write_golden(
    folder: Path,
    inputs: Array,
    outputs: Mapping[str, Array],
    *,
    tolerance: float = TOLERANCE,
    tolerances: Mapping[str, float] | None = None,
) -> Path:
    """Keep a few samples and what each ONNX file (its path in the folder) answers to them.

    ``tolerances``: for files that may differ more between machines and runtimes than
    ``tolerance`` says.
    """
    arrays = {"input": inputs, "tolerance": np.asarray(tolerance)}
    arrays |= {f"output/{file}": outputs[file] for file in sorted(outputs)}
    own = tolerances or {}
    arrays |= {f"tolerance/{file}": np.asarray(own[file]) for file in sorted(own)}
    path = folder / GOLDEN_FILE
    with replacing(path) as place, zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        # As numpy.savez_compressed, which has no say in a member's time stamp.
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
    return path


def read_golden(folder: Path) -> Golden:
    """Raises FolderError where the file cannot be read, or is not as ``write_golden`` writes it."""
    path = folder / GOLDEN_FILE
    try:
        check_unpacked(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            answered = [name for name in held.files if name.startswith("output/")]
            files = [name.removeprefix("output/") for name in answered]
            usual = held["tolerance"]
            found = Golden(
                inputs=held["input"],
                outputs={file: held[f"output/{file}"] for file in files},
                tolerances={file: float(held.get(f"tolerance/{file}", usual)) for file in files},
            )
        _check(found)
    except (*DAMAGED_ZIP, AttributeError, TypeError, MemoryError, TokenError) as error:
        told = first_line(error)[:200]
        raise FolderError(f"{path} cannot be read ({told}); build anew") from error
    return found


def _check(found: Golden) -> None:
    """Raises ValueError for what no network is fed with or answers."""
    for name, one in (("input", found.inputs), *found.outputs.items()):
        if one.dtype.kind not in "biuf" or not one.ndim:
            raise ValueError(f"{name} is no array of numbers")
    if not all(0 < one < math.inf for one in found.tolerances.values()):
        raise ValueError("a tolerance is no number above 0")
