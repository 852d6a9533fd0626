"""What the report says of one file that ships.

Comes in: what writing, parity and evaluation found.  Goes out: ``Deployable``, with the keys of
``deployables`` in ``report.json``.  Knows nothing of how any of it was found.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How near a file is to its graph.  ``agreement``: share of samples with the same class.

    ``max_relative_error`` is relative to the largest absolute value of the output over all samples.
    ``tolerance`` None: told, not required, as in the lower precisions.
    """

    samples: int
    max_abs_error: float
    agreement: float
    max_relative_error: float
    tolerance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Shares, measured on the file itself in its runtime."""

    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the ranges of an int8 file's activations were found, and what they were written as.

    ``reduce_range``: weights of 7 bits, for processors whose 8-bit products saturate.
    """

    method: str
    images: int
    source: str  # what the images are
    activations: str  # "uint8" or "int8"
    weights: str
    reduce_range: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorLoss:
    """How far a tensor of a lower precision is from what it is in float32, relative to its norm.

    ``added``: of that, more than the operator's inputs are off.  Both are None where a value is not
    ``finite``.
    """

    tensor: str
    operator: str  # that gives it
    relative_error: float | None
    added: float | None
    finite: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """What a file loses against the fp32 file of the same network, on ``images``.

    ``points``: of top-1; without labels, of agreement with the fp32 file (``of`` says which).
    ``error``: standard error of ``points``, from the images on which the two differ.
    """

    points: float
    error: float
    of: str  # "top-1" or "agreement"
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployable:
    """``file`` is its path in the run folder; ``metrics`` None: there were no labels, or ONNX
    Runtime cannot run the file (``not_runnable`` says why).

    ``checked_in``: what ran it for ``parity``.  ``kept_float32``: nodes of a half file that stay
    in float32.  ``rounded``: of the same file with every half result rounded, where the runtime
    computes halves in float32; ``drop`` is then the larger of both.  ``reason``: why a file is not
    ``advised``.
    """

    file: str
    precision: str
    bytes: int
    sha256: str
    opset: int
    parity: Parity
    metrics: Metrics | None = None
    checked_in: str = "onnxruntime"
    not_runnable: str | None = None
    calibration: Calibration | None = None
    kept_float32: int | None = None
    rounded: Metrics | None = None
    drop: Drop | None = None
    advised: bool = True
    reason: str | None = None
    worst_tensors: tuple[TensorLoss, ...] = ()
