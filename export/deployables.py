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
    """

    samples: int
    max_abs_error: float
    agreement: float
    max_relative_error: float
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Shares, measured on the file itself in its runtime."""

    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployable:
    """``file`` is its path in the run folder; ``metrics`` None: there were no labels."""

    file: str
    precision: str
    bytes: int
    sha256: str
    opset: int
    parity: Parity
    metrics: Metrics | None = None
