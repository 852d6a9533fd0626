"""What was measured, kept on disk by environment.

Comes in: a ``Target``, measurements.  Goes out: what this very environment measured before.  A file
says what it was measured on, and one from elsewhere is not read.  Knows nothing of how it is
measured.

The folder is COMPRESSOR_CACHE, else XDG_CACHE_HOME/compressor, else ~/.cache/compressor.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.environment import describe
from benchmarks.probe.stairs import Look
from benchmarks.probe.targets import Target
from compressor.files import write_bytes
from compressor.staircases import Operator, Staircase, by_shape

FORMAT = 1
CACHE_ADVICE = "name another folder in the variable COMPRESSOR_CACHE"
# What a runtime is installed as.
PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
# A processor that says nothing of itself but its family is told apart by what it can do.
MACHINE = ("cpu", "flags", "architecture", "system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Looks and staircases of one environment.  Of one shape there is one."""

    looks: tuple[Look, ...] = ()
    staircases: tuple[Staircase, ...] = ()

    def with_(self, looks: Iterable[Look], staircases: Iterable[Staircase]) -> Measured:
        """New ones take the place of older ones of the same shape."""
        seen = {one.operator: one for one in (*self.looks, *looks)}
        climbed = by_shape((*self.staircases, *staircases))
        return Measured(looks=tuple(seen.values()), staircases=tuple(climbed.values()))


def environment_of(
    target: Target, machine: Callable[[], Mapping[str, Any]] = describe
) -> dict[str, Any]:
    """All that the seconds hang on, as far as it can be told; the runtime must be installed."""
    facts = machine()
    return {
        **{name: facts[name] for name in MACHINE},
        "runtime": target.runtime,
        "version": _version(target.runtime),
        "precision": target.precision,
        "threads": target.threads,
        "batch": target.batch,
    }


def _version(runtime: str) -> str | None:
    """None where the module is there but no package says that it has brought it."""
    for package in PACKAGES.get(runtime, (runtime,)):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def cache_folder(variables: Mapping[str, str] | None = None) -> Path:
    variables = os.environ if variables is None else variables
    if variables.get("COMPRESSOR_CACHE"):
        return Path(variables["COMPRESSOR_CACHE"])
    home = variables.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "compressor"


def cache_file(environment: Mapping[str, Any], folder: Path) -> Path:
    key = hashlib.sha256(msgspec.json.encode(environment, order="sorted")).hexdigest()[:12]
    return folder / f"widths-{environment['runtime']}-{environment['precision']}-{key}.json"


def read_measured(environment: Mapping[str, Any], folder: Path) -> Measured:
    """What is known of the environment; nothing where there is no file, or one of another form."""
    try:
        held = msgspec.json.decode(cache_file(environment, folder).read_bytes(), type=_File)
    except (OSError, ValueError, RecursionError):  # not UTF-8, no JSON, another form
        return Measured()
    same = held.format == FORMAT and held.environment == environment
    return held.measured if same and _is_sound(held.measured) else Measured()


def _is_sound(measured: Measured) -> bool:
    """Whether these can be measurements at all; a file that was edited may say anything."""
    return all(
        _is_possible(one.operator) and one.seconds >= 0 and one.beside_s >= 0
        for one in measured.looks
    ) and all(
        _is_possible(one.operator)
        and len(one.widths) == len(one.seconds) > 0
        and one.widths[0] >= 1
        and all(narrow < wide for narrow, wide in pairwise(one.widths))
        and min(one.seconds) > 0
        and one.noise >= 0
        for one in measured.staircases
    )


def _is_possible(operator: Operator) -> bool:
    sizes = (operator.inputs, operator.outputs, operator.groups, *operator.space, *operator.kernel)
    return min(sizes) >= 1


def write_measured(measured: Measured, environment: Mapping[str, Any], folder: Path) -> Path:
    """Raises SurroundingsError where the folder cannot be written."""
    path = cache_file(environment, folder)
    held = _File(format=FORMAT, environment=dict(environment), measured=measured)
    write_bytes(path, msgspec.json.encode(held))
    return path


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    environment: dict[str, Any]
    measured: Measured
