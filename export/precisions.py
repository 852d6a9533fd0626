"""In which precisions a network ships: what each is called, and what is asked of its file.

Comes in: names as typed.  Goes out: ``Precision`` values.  Knows nothing of how a file is made
(``half``, ``quantisation``), nor of ONNX and torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from compressor.errors import OptionError
from compressor.types import FP32_ALONE, Precisions

CALIBRATIONS = ("minmax", "entropy", "percentile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """``tolerance``: least relative difference between two computations of one file that says
    nothing against either (``lowering.golden_tolerance`` widens it to what was measured)."""

    name: str
    tolerance: float

    def file(self, network: str) -> str:
        """Path in the run folder: ``onnx/student.onnx``, ``onnx/student-int8.onnx``."""
        suffix = "" if self == FP32 else f"-{self.name}"
        return f"onnx/{network}{suffix}.onnx"


FP32 = Precision(name="fp32", tolerance=1e-4)
# Some ten units in the last place: 2 ** -11 and 2 ** -8, relative.
FP16 = Precision(name="fp16", tolerance=5e-3)
BF16 = Precision(name="bf16", tolerance=4e-2)
# Two steps of 127.
INT8 = Precision(name="int8", tolerance=2e-2)
PRECISIONS = (FP32, FP16, BF16, INT8)


def network_of(file: str) -> str:
    """Whose file it is: ``onnx/student-int8.onnx`` -> ``student``."""
    return PurePosixPath(file).stem.partition("-")[0]


def precisions_of(names: Sequence[str]) -> tuple[Precision, ...]:
    """Those named, each once, fp32 always and first: the others are made from it.

    Raises OptionError for a name that is none.
    """
    known = {one.name: one for one in PRECISIONS}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise OptionError(f"--precision {wrong[0]}: not one of {', '.join(known)}")
    return tuple(one for one in PRECISIONS if one == FP32 or one.name in names)


def calibration_of(name: str) -> str:
    """Raises OptionError for a name that is none."""
    if name not in CALIBRATIONS:
        raise OptionError(f"--calibration {name}: not one of {', '.join(CALIBRATIONS)}")
    return name


def inputs_of(wanted: Precisions) -> dict[str, object]:
    """What the files depend on, as plain values; nothing where fp32 alone is wanted.

    Raises OptionError for unknown names.
    """
    chosen, calibration = precisions_of(wanted.names), calibration_of(wanted.calibration)
    found: dict[str, object] = {}
    if chosen != (FP32,):
        found |= {"precisions": [one.name for one in chosen], "max_drop": wanted.max_drop}
    if INT8 in chosen:
        found["calibration"] = calibration
    return found


def wanted_of(precision: str, calibration: str | None, max_drop: float | None) -> Precisions:
    """The options of the command line as a value; None: not given.

    Raises OptionError for unknown names, and for an option that no file asked for would heed.
    """
    chosen = precisions_of([name.strip() for name in precision.split(",")])
    if calibration is not None and INT8 not in chosen:
        raise OptionError(f"--calibration {calibration} is for int8; add it to --precision")
    if max_drop is not None and chosen == (FP32,):
        raise OptionError(
            f"--max-drop {max_drop:g} is for what others lose against fp32; add one to --precision"
        )
    if max_drop is not None and not (math.isfinite(max_drop) and max_drop >= 0):
        raise OptionError(f"--max-drop {max_drop:g}: give points of 100, 0 or more")
    return Precisions(
        names=tuple(one.name for one in chosen),
        calibration=calibration_of(FP32_ALONE.calibration if calibration is None else calibration),
        max_drop=FP32_ALONE.max_drop if max_drop is None else max_drop,
    )
