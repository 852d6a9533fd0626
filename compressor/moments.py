"""Least squares for many rows that are never held at once, and for few rows that are very wide.

Comes in: rows and answers, piece by piece.  Goes out: their ``Equations``, which add up, tell the
error of any ``Affine`` and solve for the best one near a given start.  Sums are kept in float64 and
about the means, so that values far from zero lose nothing.  Knows nothing of layers or networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

WIDE = 6144  # inputs from which on the rows themselves are kept: their moments would not fit
VARIANCE_RIDGE = 1e-3  # of each input's variance, where it is not chosen on rows held out
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # shares of each input's variance; see ``Equations.solutions``


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """``rows @ matrix + offset``: (groups, inputs, outputs) and (groups, 1, outputs).

    Without an offset there is none to choose.
    """

    matrix: Tensor
    offset: Tensor | None = None

    def of(self, rows: Tensor) -> Tensor:
        """Answers (groups, n, outputs) to rows (groups, n, inputs), in float64."""
        found = rows.double() @ self.matrix
        return found if self.offset is None else found + self.offset

    @property
    def is_finite(self) -> bool:
        parts = (self.matrix, self.offset) if self.offset is not None else (self.matrix,)
        return all(bool(part.isfinite().all()) for part in parts)


class Equations(Protocol):
    """Wanted: the ``Affine`` that brings ``rows`` nearest to ``answers``."""

    def plus(self, rows: Tensor, answers: Tensor) -> Equations:
        """With more rows (groups, n, inputs) and answers (groups, n, outputs)."""

    def joined(self, other: Equations) -> Equations:
        """With all rows of another of the same kind."""

    def error(self, affine: Affine) -> float:
        """Sum of squared differences over all rows."""

    def solutions(self, ridges: Sequence[float], start: Affine) -> Iterator[Affine | None]:
        """argmin |rows @ m + offset - answers|^2 + |m - start|^2 for each ridge, the latter
        weighted by ``ridge`` times each input's squares, about its mean where there is an offset;
        None where there is no finite solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Over ``rows``: means (groups, 1, inputs) and (groups, 1, outputs), and sums of products about
    them: (groups, inputs, inputs), (groups, inputs, outputs), one number."""

    rows: int
    mean: Tensor
    answer: Tensor
    inputs: Tensor
    mixed: Tensor
    squares: Tensor

    def plus(self, rows: Tensor, answers: Tensor) -> Moments:
        mean, answer = means(rows), means(answers)
        x, y = rows - mean.to(rows.dtype), answers - answer.to(answers.dtype)
        return self.joined(
            Moments(
                rows=rows.shape[1],
                mean=mean,
                answer=answer,
                inputs=products(x, x),
                mixed=products(x, y),
                squares=y.double().square().sum(),
            )
        )

    def joined(self, other: Equations) -> Moments:
        assert isinstance(other, Moments)
        total = self.rows + other.rows
        share = other.rows / total
        x, y = other.mean - self.mean, other.answer - self.answer
        weight = self.rows * share
        return Moments(
            rows=total,
            mean=self.mean + share * x,
            answer=self.answer + share * y,
            inputs=self.inputs + other.inputs + weight * x.mT @ x,
            mixed=self.mixed + other.mixed + weight * x.mT @ y,
            squares=self.squares + other.squares + weight * y.square().sum(),
        )

    def error(self, affine: Affine) -> float:
        matrix = affine.matrix
        about_means = self.squares + (matrix * (self.inputs @ matrix - 2 * self.mixed)).sum()
        of_means = (affine.of(self.mean) - self.answer).square().sum()
        return float(about_means + self.rows * of_means)

    def solutions(self, ridges: Sequence[float], start: Affine) -> Iterator[Affine | None]:
        inputs, mixed = self.inputs, self.mixed
        if start.offset is None:
            inputs = inputs + self.rows * self.mean.mT @ self.mean
            mixed = mixed + self.rows * self.mean.mT @ self.answer
        base = _held(inputs.diagonal(dim1=-2, dim2=-1))
        for ridge in ridges:
            weights = ridge * base
            lower, failed = torch.linalg.cholesky_ex(inputs + torch.diag_embed(weights))
            if bool(failed.any()):
                yield None
                continue
            matrix = torch.cholesky_solve(mixed + weights[..., None] * start.matrix, lower)
            yield _through_means(matrix, start, self.mean, self.answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows themselves, where they are few: one unknown for each of them (the dual form)."""

    pieces: tuple[tuple[Tensor, Tensor], ...] = ()  # rows and answers

    def plus(self, rows: Tensor, answers: Tensor) -> Rows:
        return Rows(pieces=(*self.pieces, (rows, answers)))

    def joined(self, other: Equations) -> Rows:
        assert isinstance(other, Rows)
        return Rows(pieces=self.pieces + other.pieces)

    def error(self, affine: Affine) -> float:
        return sum(float((affine.of(x) - y).square().sum()) for x, y in self.pieces)

    def solutions(self, ridges: Sequence[float], start: Affine) -> Iterator[Affine | None]:
        if not self.pieces:  # one input alone, and it is held out
            yield from (None for _ in ridges)
            return
        rows, answers = (torch.cat(one, dim=1).double() for one in zip(*self.pieces, strict=True))
        mean, answer = means(rows), means(answers)
        if start.offset is not None:
            rows, answers = rows - mean, answers - answer
        scaled = rows / _held(rows.square().sum(dim=1))[:, None, :]
        kernel, missing = rows @ scaled.mT, answers - rows @ start.matrix
        for ridge in ridges:
            one = ridge * torch.eye(kernel.shape[1], dtype=kernel.dtype, device=kernel.device)
            lower, failed = torch.linalg.cholesky_ex(kernel + one)
            if bool(failed.any()):
                yield None
                continue
            matrix = start.matrix + scaled.mT @ torch.cholesky_solve(missing, lower)
            yield _through_means(matrix, start, mean, answer)


def _through_means(matrix: Tensor, start: Affine, mean: Tensor, answer: Tensor) -> Affine | None:
    """With the best offset, where there is one; None where the solution is not finite."""
    found = Affine(matrix=matrix, offset=None if start.offset is None else answer - mean @ matrix)
    return found if found.is_finite else None


def means(rows: Tensor) -> Tensor:
    """(..., n, k) -> (..., 1, k) in float64."""
    return rows.mean(dim=-2, keepdim=True, dtype=torch.float64)


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


def _held(squares: Tensor) -> Tensor:
    """Weights of a ridge, (groups, inputs): an input's squares; one that never varies is held by
    the others' mean."""
    return squares + 1e-9 * squares.mean(dim=-1, keepdim=True) + 1e-30


def no_equations(start: Affine, rows: int) -> Equations:
    """Nothing known yet of an ``Affine`` like ``start``, ``rows`` to come."""
    groups, inputs, outputs = start.matrix.shape
    if inputs > min(WIDE, 2 * rows):
        return Rows()
    nothing = start.matrix.new_zeros
    return Moments(
        rows=0,
        mean=nothing(groups, 1, inputs),
        answer=nothing(groups, 1, outputs),
        inputs=nothing(groups, inputs, inputs),
        mixed=nothing(groups, inputs, outputs),
        squares=nothing(()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """``ridge`` None: nothing was better than the start on rows held out."""

    affine: Affine
    ridge: float | None


def fit(used: Equations, held_out: Equations, start: Affine) -> Fitted:
    """The ridge that serves rows held out best, solved again with all rows.

    Where no ridge beats ``start`` there, or none has a finite solution, ``start`` stays.
    """
    best, ridge = held_out.error(start), None
    for one, found in zip(RIDGES, used.solutions(RIDGES, start), strict=True):
        error = float("inf") if found is None else held_out.error(found)
        if error < best:
            best, ridge = error, one
    if ridge is not None:
        solved = next(used.joined(held_out).solutions((ridge,), start))
        if solved is not None:
            return Fitted(affine=solved, ridge=ridge)
    return Fitted(affine=start, ridge=None)
