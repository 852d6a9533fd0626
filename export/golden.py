"""Golden samples: a few real inputs and what each ONNX file answers to them, kept beside the files.

Comes in: arrays.  Goes out: ``golden.npz``, equal bytes for equal arrays, and what it holds.  Knows
nothing of runtimes.

``output/<file>`` is a file's first output; ``output/<file>/1`` and so on are its further ones.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    """``outputs``: a file's path in the folder -> its outputs for ``inputs`` (samples, ...)."""

    inputs: Array
    outputs: Mapping[str, tuple[Array, ...]]
    tolerances: Mapping[str, float]  # for every file of ``outputs``, relative


def write_golden(
    folder: Path,
    inputs: Array,
    outputs: Mapping[str, Sequence[Array]],
    *,
    tolerance: float = TOLERANCE,
    tolerances: Mapping[str, float] | None = None,
) -> Path:
    """Keep a few samples and every output of each ONNX file (its path in the folder) for them.

    ``tolerances``: for files that may differ more between machines and runtimes than
    ``tolerance`` says.
    """
    arrays = {"input": inputs, "tolerance": np.asarray(tolerance)}
    for file in sorted(outputs):
        arrays |= dict(zip(output_keys(file, len(outputs[file])), outputs[file], strict=True))
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


def output_keys(file: str, count: int) -> tuple[str, ...]:
    """Names in ``golden.npz`` of the ``count`` outputs of a file."""
    return (f"output/{file}", *(f"output/{file}/{place}" for place in range(1, count)))


def read_golden(folder: Path) -> Golden:
    """Raises FolderError where the file cannot be read, or is not as ``write_golden`` writes it."""
    path = folder / GOLDEN_FILE
    try:
        check_unpacked(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            counts = _count_outputs(held.files)
            usual = held["tolerance"]
            found = Golden(
                inputs=held["input"],
                outputs={
                    file: tuple(held[key] for key in output_keys(file, count))
                    for file, count in counts.items()
                },
                tolerances={file: float(held.get(f"tolerance/{file}", usual)) for file in counts},
            )
        _check(found)
    except (*DAMAGED_ZIP, AttributeError, TypeError, MemoryError, TokenError) as error:
        told = first_line(error)[:200]
        raise FolderError(f"{path} cannot be read ({told}); build anew") from error
    return found


def _count_outputs(names: Iterable[str]) -> Counter[str]:
    """How many outputs each file has; their ``output_keys`` are the names."""
    answered = (name for name in names if name.startswith("output/"))
    return Counter(re.sub(r"/\d+$", "", name.removeprefix("output/")) for name in answered)


def _check(found: Golden) -> None:
    """Raises ValueError for what no network is fed with or answers."""
    named = [(file, one) for file, outputs in found.outputs.items() for one in outputs]
    for name, one in (("input", found.inputs), *named):
        if one.dtype.kind not in "biuf" or not one.ndim:
            raise ValueError(f"{name} is no array of numbers")
    if not all(0 < one < math.inf for one in found.tolerances.values()):
        raise ValueError("a tolerance is no number above 0")
