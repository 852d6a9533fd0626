"""A teacher from what was typed: a weight file, or an architecture with fresh weights.

Comes in: options.  Goes out: a ``Teacher``.  Says what is missing before torch is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import LoadError, OptionError
from compressor.options import numbers

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".pt2")

if TYPE_CHECKING:
    from compressor.loading import Teacher
    from compressor.watching import Stopwatch


def load_or_start(
    teacher: str | None,
    arch: str | None,
    data: str,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    trust_pickle: bool,
    watch: Stopwatch,
    fold: bool,
    seed: int,
) -> Teacher:
    """A trained teacher, or without a file the architecture as its code initialises it."""
    if teacher is not None:
        return load_given(teacher, arch, data, mean, std, image_size, trust_pickle, watch, fold)
    if arch is None:
        raise OptionError("there is nothing to build from: give --teacher, or --arch alone")
    if fold:
        raise OptionError("--fold is for trained weights: what it folds would not be trained")
    from compressor.data import class_names, first_size, own_size
    from compressor.loading import untrained

    own = own_size(data)
    with watch.timed("load"):
        return untrained(
            arch,
            classes=len(class_names(data)),
            seed=seed,
            image_size=image_size if image_size is not None else own,
            mean=numbers("--mean", mean),
            std=numbers("--std", std),
            data_size=first_size(data),
        )


def load_given(
    teacher: str,
    arch: str | None,
    data: str,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    trust_pickle: bool,
    watch: Stopwatch,
    fold: bool,
) -> Teacher:
    """A trained teacher, its weights folded where that is asked for."""
    _require_file(Path(teacher))  # told before torch is imported
    from compressor.data import first_size, own_size
    from compressor.loading import fold_teacher, load

    own = own_size(data)
    with watch.timed("load"):
        loaded = load(
            teacher,
            arch,
            image_size=image_size if image_size is not None else own,
            mean=numbers("--mean", mean),
            std=numbers("--std", std),
            trust_pickle=trust_pickle,
            data_size=first_size(data),
        )
    if not fold:
        return loaded
    with watch.timed("fold"):
        return fold_teacher(loaded)


def _require_file(path: Path) -> None:
    """Raises LoadError, which names the weights in a folder as hubs have them."""
    if path.is_dir():
        held = sorted(one for one in path.iterdir() if one.suffix in WEIGHTS and one.is_file())
        what = f"it, as {held[0]}" if held else "it, or another"
        raise LoadError(f"{path}: is a folder; give the weight file in {what}")
    if not path.is_file():
        raise LoadError(f"{path}: no such file; give --teacher a weight file")
