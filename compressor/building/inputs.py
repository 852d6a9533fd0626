"""What a run depends on, as plain values: the journal holds them, and their hash is the run's key.

Comes in: what the user asked for.  Goes out: a mapping that survives JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.errors import DataError
from compressor.loading import Teacher
from compressor.pacing import Deadline, Epochs
from compressor.recipes import Recipe
from compressor.reporting import plain
from compressor.types import Budget, Packaging, Precisions


def inputs_of(
    teacher: Teacher,
    data: str,
    test: str | None,
    recipe: Recipe,
    budget: Budget,
    length: Deadline | Epochs | None,
    sample: int | None,
    seed: int,
    device: str,
    opset: int | None,
    packaging: Packaging,
    precisions: Precisions,
    target: str | None,
) -> Mapping[str, Any]:
    """What a run depends on, as plain values; another machine path to the same data is the same.

    Raises OptionError for precisions that nobody knows.
    """
    from export import precisions as lower

    return {
        "teacher": teacher.source.sha256 or teacher.source.architecture,
        "architecture": teacher.source.architecture,
        "folded": list(teacher.folded),
        "preprocessing": plain(teacher.preprocessing),
        "data": data_identity(data),
        "test": data_identity(test) if test else None,
        "recipe": recipe.name,
        "form": recipe.form,
        "choices": dict(recipe.choices),
        "sample": sample,
        "budget": plain(budget),
        "length": {type(length).__name__.lower(): plain(length)} if length else None,
        "seed": seed,
        "device": device,
        "opset": opset,
        "static_batch": packaging.static_batch,
        "triton": packaging.triton,
        "signed": packaging.sign_key is not None,
        "target": target,
        **lower.inputs_of(precisions),
    }


def data_identity(spec: str) -> Any:
    """The name of built-in data, or a folder's files by relative path and size."""
    import hashlib
    import os

    folder = Path(spec)
    if spec in ("digits", "synthetic"):
        return spec
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "no such folder"
        raise DataError(
            f"{spec}: {what}; give a folder of images, or digits or synthetic as --data"
        )
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            line = f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n"
            digest.update(os.fsencode(line))  # names of files may be no text
    return {"name": folder.name, "files": digest.hexdigest()}
