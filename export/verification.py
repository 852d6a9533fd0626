"""A run folder checked without torch: every hash, and every ONNX file on its golden inputs.

Comes in: a folder that ``build`` wrote.  Goes out: ``Verification``.  Knows nothing of torch; it
runs where only the deployables are wanted.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.errors import FolderError, InputError
from compressor.files import replacing
from export.manifest import MANIFEST_FILE, check_manifest, read_manifest
from export.prediction import TOLERANCE, Array, open_session, relative_error, run_session

GOLDEN_FILE = "golden.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """An ONNX file run on the golden inputs."""

    file: str
    samples: int
    max_abs_error: float
    max_relative_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.max_relative_error <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """``differences``: one line each; ``passed`` where there are none."""

    files: int
    differences: tuple[str, ...]
    replays: tuple[Replay, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def write_golden(
    folder: Path,
    inputs: Array,
    outputs: Mapping[str, Array],
    *,
    tolerance: float = TOLERANCE,
    tolerances: Mapping[str, float] | None = None,
) -> Path:
    """Keep a few samples and what each ONNX file (its path in the folder) answers to them.

    ``tolerances``: of the files that have one of their own.
    """
    arrays = {"input": inputs, "tolerance": np.asarray(tolerance)}
    own = tolerances or {}
    arrays |= {f"tolerance/{file}": np.asarray(own[file]) for file in sorted(own)}
    arrays |= {f"output/{file}": outputs[file] for file in sorted(outputs)}
    path = folder / GOLDEN_FILE
    with replacing(path) as place, zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        # As numpy.savez_compressed, which has no say in a member's time stamp.
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
    return path


def verify(folder: Path) -> Verification:
    """Compare ``folder`` with its manifest and replay the golden inputs where there are any.

    A file whose hash differs is not run.  Raises FolderError where there is no manifest.
    """
    listed = read_manifest(folder).files
    differences = check_manifest(folder)
    changed = {line.partition(": ")[0] for line in differences}
    replays: list[Replay] = []
    lines = list(differences)
    if (folder / GOLDEN_FILE).is_file() and not changed & {GOLDEN_FILE, MANIFEST_FILE}:
        inputs, outputs, tolerances = _read_golden(folder / GOLDEN_FILE)
        for file, expected in outputs.items():
            if file in changed or f"{file}.data" in changed:
                continue
            try:
                replay = _replay(folder, file, inputs, expected, tolerances[file])
            except InputError as error:
                lines.append(f"{file}: {error}")
                continue
            replays.append(replay)
            if not replay.passed:
                lines.append(
                    f"{file}: golden outputs differ by {replay.max_relative_error:.2e} relative, "
                    f"tolerance {replay.tolerance:.1g}"
                )
    return Verification(files=len(listed), differences=tuple(lines), replays=tuple(replays))


def _read_golden(path: Path) -> tuple[Array, dict[str, Array], dict[str, float]]:
    """Inputs; by file, its outputs and its tolerance, which is that of all where it has none."""
    try:
        with np.load(path, allow_pickle=False) as golden:
            outputs = {
                name.removeprefix("output/"): golden[name]
                for name in golden.files
                if name.startswith("output/")
            }
            common = float(golden["tolerance"])
            own = {file: golden.get(f"tolerance/{file}", common) for file in outputs}
            return golden["input"], outputs, {file: float(one) for file, one in own.items()}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FolderError(f"{path} cannot be read ({error}); build anew") from error


def _replay(folder: Path, file: str, inputs: Array, expected: Array, tolerance: float) -> Replay:
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise InputError("golden outputs are given for it, but it is not in the folder")
    got = run_session(open_session(path), (inputs,))[0]
    scale = float(np.abs(expected).max(initial=0.0))
    error, relative = relative_error(expected, got, scale)
    return Replay(
        file=file,
        samples=len(inputs),
        max_abs_error=error,
        max_relative_error=relative,
        tolerance=tolerance,
    )
