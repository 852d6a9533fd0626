"""Elimination: in which order a group's units go when its readers are refitted after each.

Comes in: the readers of one group, with what they read.  Goes out: the order, and the error of the
refitted readers after every step.  This is the optimal brain surgeon (Hassibi and Stork, 1993) for
whole units (as in Kurtic et al., "ZipLM", 2023): for a reader ``y = x W`` with variance H of
x, removing the inputs j and refitting the others costs ``tr(W_j' ((H^-1)_jj)^-1 W_j)``, after which
``H^-1`` and ``W`` are those of the smaller layer.  Knows nothing of graphs or other groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.moments import factor, ridged

AT_ONCE = 32  # of so many units left, one goes at a time; of more, as many as there are of these
SPARE = 0.2  # of a reader's inputs may be gone and still be carried along

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """One reader, in blocks that are taken as independent: variance of its inputs (blocks, inputs,
    inputs), or (blocks, inputs) where only each input's own is known; its matrix (blocks, inputs,
    outputs), outputs scaled to what follows; the inputs of each unit, one length for all; its
    weight among the group's readers."""

    variance: Tensor
    matrix: Tensor
    columns: Tensor  # (units, k)
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Eliminated:
    """``order[i]`` goes as the i-th; ``errors[i]``: squared error of all readers' outputs then,
    as a share of their variance over the group's readers."""

    order: NDArray[np.int64]
    errors: Floats


def eliminate(regressions: Sequence[Regression]) -> Eliminated:
    """All units of one group, cheapest first; the regressions stay as they are."""
    states = [_State(one) for one in regressions]
    whole = sum(state.weight * state.spread for state in states)
    left = torch.arange(len(regressions[0].columns))
    order: list[int] = []
    errors: list[float] = []
    lost = 0.0
    while len(left):
        costs = torch.stack([state.costs(left) for state in states]).sum(dim=0)
        count = max(1, len(left) // AT_ONCE)
        cheapest = torch.argsort(costs, stable=True)[:count]
        for place in cheapest.tolist():
            lost += max(float(costs[place]), 0.0)
            order.append(int(left[place]))
            errors.append(lost)
        for state in states:
            state.remove(left[cheapest])
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[cheapest] = False
        left = left[stays]
    return Eliminated(order=np.array(order), errors=np.array(errors) / max(whole, 1e-300))


class _State:
    """A reader while units go: the inverse of its inputs' variance, and its matrix."""

    def __init__(self, regression: Regression) -> None:
        variance = regression.variance
        self.weight = regression.weight
        self.columns = regression.columns
        self.matrix = regression.matrix.clone()
        self.diagonal = variance.ndim == 2
        if self.diagonal:
            self.variance = variance
            self.spread = float((variance[..., None] * self.matrix.square()).sum())
            return
        self.gone = torch.zeros(self.matrix.shape[1], dtype=torch.bool)
        self.inverse = torch.cholesky_inverse(factor(ridged(variance)))
        self.spread = float((self.matrix * (variance @ self.matrix)).sum())

    def costs(self, units: Tensor) -> Tensor:
        """What each unit costs now, (units,)."""
        at = self.columns[units]  # (units, k)
        rows = self.matrix[:, at]  # (blocks, units, k, outputs)
        if self.diagonal:
            return self.weight * (self.variance[:, at][..., None] * rows.square()).sum((0, 2, 3))
        blocks = self.inverse[:, at[:, :, None], at[:, None, :]]  # (blocks, units, k, k)
        return self.weight * (rows * torch.cholesky_solve(rows, factor(blocks))).sum((0, 2, 3))

    def remove(self, units: Tensor) -> None:
        """Refit what is left without these units."""
        gone = self.columns[units].reshape(-1)
        if self.diagonal:
            self.matrix[:, gone] = 0
            return
        rows = self.inverse[:, gone]
        gain = torch.cholesky_solve(rows, factor(rows[:, :, gone])).mT
        self.matrix.baddbmm_(gain, self.matrix[:, gone], alpha=-1)
        self.inverse.baddbmm_(gain, rows, alpha=-1)
        self.gone[gone] = True
        if int(self.gone.sum()) > len(self.gone) * SPARE:
            self._shrink()

    def _shrink(self) -> None:
        """Forget inputs that are gone: every step costs their number squared."""
        left = torch.nonzero(~self.gone).flatten().to(self.columns.device)
        places = self.columns.new_full((len(self.gone),), -1)
        places[left] = torch.arange(len(left), device=left.device)
        self.columns = places[self.columns]  # of units that are gone: not asked for again
        self.matrix = self.matrix[:, left]
        self.inverse = self.inverse[:, left][:, :, left]
        self.gone = self.gone[left.cpu()]
