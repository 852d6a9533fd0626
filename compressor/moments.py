"""Least squares for many rows that are never held at once, and for few rows that are very wide.

Comes in: rows and answers, piece by piece.  Goes out: their ``Equations``, which add up, tell the
error of any matrix and solve for the best one near a given start.  Sums are kept in float64.  Knows
nothing of layers or networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

WIDE = 6144  # inputs from which on the rows themselves are kept: their moments would not fit
VARIANCE_RIDGE = 1e-3  # of each input's variance, where it is not chosen on rows held out
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # shares of each input's second moment


class Equations(Protocol):
    """Wanted: the matrix (groups, inputs, outputs) that brings ``rows`` nearest to ``answers``."""

    def plus(self, rows: Tensor, answers: Tensor) -> Equations:
        """With more rows (groups, n, inputs) and answers (groups, n, outputs)."""

    def joined(self, other: Equations) -> Equations:
        """With all rows of another of the same kind."""

    def error(self, matrix: Tensor) -> float:
        """Sum of squared differences over all rows."""

    def solution(self, ridge: float, start: Tensor) -> Tensor | None:
        """argmin |rows @ m - answers|^2 + |m - start|^2, the latter weighted by ``ridge`` times
        each input's second moment; None where there is no finite solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over rows: (groups, inputs, inputs), (groups, inputs, outputs), one number."""

    inputs: Tensor
    mixed: Tensor
    squares: Tensor

    def plus(self, rows: Tensor, answers: Tensor) -> Moments:
        return Moments(
            inputs=self.inputs + products(rows, rows),
            mixed=self.mixed + products(rows, answers),
            squares=self.squares + answers.double().square().sum(),
        )

    def joined(self, other: Equations) -> Moments:
        assert isinstance(other, Moments)
        return Moments(
            inputs=self.inputs + other.inputs,
            mixed=self.mixed + other.mixed,
            squares=self.squares + other.squares,
        )

    def error(self, matrix: Tensor) -> float:
        fitted = matrix * (self.inputs @ matrix - 2 * self.mixed)
        return float(self.squares + fitted.sum())

    def solution(self, ridge: float, start: Tensor) -> Tensor | None:
        weights = _ridge(self.inputs.diagonal(dim1=-2, dim2=-1), ridge)
        lower, failed = torch.linalg.cholesky_ex(self.inputs + torch.diag_embed(weights))
        if bool(failed.any()):
            return None
        found = torch.cholesky_solve(self.mixed + weights[..., None] * start, lower)
        return found if bool(found.isfinite().all()) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows themselves, where they are few: one unknown for each of them (the dual form)."""

    rows: Tensor
    answers: Tensor

    def plus(self, rows: Tensor, answers: Tensor) -> Rows:
        return Rows(
            rows=torch.cat([self.rows, rows], dim=1),
            answers=torch.cat([self.answers, answers], dim=1),
        )

    def joined(self, other: Equations) -> Rows:
        assert isinstance(other, Rows)
        return self.plus(other.rows, other.answers)

    def error(self, matrix: Tensor) -> float:
        return float((self.rows.double() @ matrix - self.answers).square().sum())

    def solution(self, ridge: float, start: Tensor) -> Tensor | None:
        rows = self.rows.double()
        scaled = rows / _ridge(rows.square().sum(dim=1), ridge)[:, None, :]
        kernel = rows @ scaled.mT + torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        lower, failed = torch.linalg.cholesky_ex(kernel)
        if bool(failed.any()):
            return None
        found = start + scaled.mT @ torch.cholesky_solve(self.answers - rows @ start, lower)
        return found if bool(found.isfinite().all()) else None


def products(rows: Tensor, others: Tensor) -> Tensor:
    """Sums of products over rows, (..., inputs, outputs) in float64.

    Multiplied in the rows' own precision, and again in float64 where that overflows (values that
    grow with depth, as in networks without training).
    """
    found = rows.mT @ others
    if not bool(found.isfinite().all()):
        found = rows.double().mT @ others.double()
    return found.double()


def ridged(variance: Tensor) -> Tensor:
    """Variances (..., inputs, inputs) with a share of each input's own on the diagonal, so that
    they can be inverted; inputs that never vary are held by the others' mean."""
    own = variance.diagonal(dim1=-2, dim2=-1)
    ridge = VARIANCE_RIDGE * own + 1e-6 * own.mean(dim=-1, keepdim=True) + 1e-30
    return variance + torch.diag_embed(ridge)


def factor(positive: Tensor) -> Tensor:
    """Cholesky factors (..., n, n) of symmetric matrices, more added to the diagonal where needed.

    Not ``torch.linalg.inv`` or ``solve``: their batched LU fails on sound matrices in some builds.
    """
    own = positive.diagonal(dim1=-2, dim2=-1)
    more = own.abs().mean(dim=-1, keepdim=True) + 1e-30
    for share in (0.0, 1e-8, 1e-4, 1.0):
        added = torch.diag_embed((share * more).expand_as(own))
        found, failed = torch.linalg.cholesky_ex(positive + added)
        if not bool(failed.any()):
            break
    return found


def _ridge(second_moments: Tensor, ridge: float) -> Tensor:
    """Weights (groups, inputs); inputs that are always zero are held by the others' mean."""
    mean = second_moments.mean(dim=-1, keepdim=True)
    return ridge * second_moments + 1e-9 * mean + 1e-30


def no_equations(start: Tensor, rows: int) -> Equations:
    """Nothing known yet of a matrix like ``start`` (groups, inputs, outputs), ``rows`` to come."""
    groups, inputs, outputs = start.shape
    if inputs > min(WIDE, 2 * rows):
        return Rows(
            rows=start.new_zeros(groups, 0, inputs, dtype=torch.float32),
            answers=start.new_zeros(groups, 0, outputs, dtype=torch.float32),
        )
    return Moments(
        inputs=start.new_zeros(groups, inputs, inputs, dtype=torch.float64),
        mixed=start.new_zeros(groups, inputs, outputs, dtype=torch.float64),
        squares=start.new_zeros((), dtype=torch.float64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """``ridge`` None: nothing was better than the start on rows held out."""

    matrix: Tensor
    ridge: float | None


def fit(used: Equations, held_out: Equations, start: Tensor) -> Fitted:
    """The ridge that serves rows held out best, solved again with all rows.

    Where no ridge beats ``start`` there, or none has a finite solution, ``start`` stays.
    """
    best, ridge = held_out.error(start), None
    for one in RIDGES:
        found = used.solution(one, start)
        error = float("inf") if found is None else held_out.error(found)
        if error < best:
            best, ridge = error, one
    solved = None if ridge is None else used.joined(held_out).solution(ridge, start)
    if solved is None:
        return Fitted(matrix=start, ridge=None)
    return Fitted(matrix=solved, ridge=ridge)
