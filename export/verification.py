"""A folder checked without torch: every hash, the signature, golden answers in every runtime here.

Comes in: a folder that ``build`` or ``export`` wrote.  Goes out: ``Verification``.  Knows nothing
of torch; it runs where only the deployables are wanted.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from compressor.errors import InputError, OptionError
from compressor.locks import require_idle
from export.golden import GOLDEN_FILE, read_golden
from export.manifest import MANIFEST_FILE, SIGNATURE_FILE, check_manifest, read_manifest
from export.replays import REFERENCE, Replay, Runtime, find_runtimes, replay
from export.signatures import check_signature

MODELS = "onnx/*.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """``differences``, ``skipped``: one line each; ``passed`` where there are no differences.

    ``signed``: a signature was checked.
    """

    files: int
    differences: tuple[str, ...]
    replays: tuple[Replay, ...]
    skipped: tuple[str, ...] = ()
    signed: bool = False

    @property
    def passed(self) -> bool:
        return not self.differences


def verify(
    folder: Path, *, public_key: Path | None = None, skip_signature: bool = False
) -> Verification:
    """Compare ``folder`` with its manifest and signature, and replay its golden inputs.

    A file whose hash differs is not run.  Raises FolderError without a manifest, OptionError for a
    signed folder without a key, since what was not checked is not called verified,
    SurroundingsError while a build is at work in the folder.
    """
    require_idle(folder)
    listed = read_manifest(folder).files
    skipped = []
    if public_key is None and (folder / SIGNATURE_FILE).is_file():
        if not skip_signature:
            raise OptionError(
                f"{folder} is signed: give --public-key PEM, or --skip-signature to check all else"
            )
        skipped.append(f"{SIGNATURE_FILE}: as asked")
    differences = list(check_manifest(folder))
    changed = {line.partition(": ")[0] for line in differences}
    if public_key is not None:
        differences += check_signature(folder, public_key)
    replays: list[Replay] = []
    if (folder / GOLDEN_FILE).is_file() and not changed & {GOLDEN_FILE, MANIFEST_FILE}:
        runtimes, absent = find_runtimes()
        skipped += absent
        skipped += _unanswered([one.path for one in listed], read_golden(folder).outputs)
        for one in _replayed(folder, changed, runtimes):
            if isinstance(one, Replay):
                replays.append(one)
                differences += _beyond(one)
            elif one.runtime is REFERENCE:
                differences.append(f"{one.file}: {one.reason}")
            else:
                skipped.append(f"{one.file} in {one.runtime.name}: {one.reason}")
    return Verification(
        files=len(listed),
        differences=tuple(differences),
        replays=tuple(replays),
        skipped=tuple(skipped),
        signed=public_key is not None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unable:
    """A file that a runtime could not run."""

    file: str
    runtime: Runtime
    reason: str


def _replayed(
    folder: Path, changed: set[str], runtimes: tuple[Runtime, ...]
) -> Iterator[Replay | _Unable]:
    golden = read_golden(folder)
    for file, expected in golden.outputs.items():
        if file in changed or f"{file}.data" in changed:
            continue
        path = folder / file
        if not os.path.isfile(path) or not path.resolve().is_relative_to(folder.resolve()):
            reason = "golden outputs are given for it, but it is not in the folder"
            yield _Unable(file=file, runtime=REFERENCE, reason=reason)
            continue
        for runtime in runtimes:
            try:
                tolerance = golden.tolerances[file]
                yield replay(path, file, golden.inputs, expected, tolerance, runtime)
            except InputError as error:
                yield _Unable(file=file, runtime=runtime, reason=str(error))


def _unanswered(paths: Sequence[str], answered: Container[str]) -> list[str]:
    """A line for each model file that nothing says the answers of."""
    models = (path for path in paths if PurePosixPath(path).match(MODELS))
    return [
        f"{path}: no golden outputs, as ONNX Runtime could not run it when it was written"
        for path in models
        if path not in answered
    ]


def _beyond(one: Replay) -> tuple[str, ...]:
    if one.passed:
        return ()
    return (
        f"{one.file}: golden outputs differ by {one.max_relative_error:.2e} relative in "
        f"{one.runtime}, tolerance {one.tolerance:.0e}",
    )
