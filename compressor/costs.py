"""What a network costs when only some of its units are kept.

In: the axes and cost terms of an ``Analysis`` and a mask of kept units.  Out: ``Costs``, exactly.
Knows nothing of torch, scores or budgets.

A keep mask is a bool array of length ``1 + total units``; entry *u* tells whether global unit *u*
stays, and entry 0 ("always kept") is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.errors import PlanError
from compressor.types import Analysis, Axis, Costs

Integers = NDArray[np.int64]
KeepMask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """All axes with the same number of columns, one below the other."""

    axes: Integers  # numbers of the axes
    starts: Integers  # first row of each axis
    units: Integers  # (columns, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Cost terms of one measure; ``axes`` is padded with the number of an axis of size one."""

    factors: Integers  # (terms,)
    axes: Integers  # (most axes of a term, terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """The axes and terms of one analysis, decoded once so that many masks can be priced."""

    offsets: Integers  # first global unit of each group, then one past the last unit
    axis_count: int
    blocks: tuple[_Block, ...]
    params: _Terms
    macs: _Terms

    @property
    def units(self) -> int:
        """Number of removable units."""
        return int(self.offsets[-1]) - 1

    def price(self, keep: KeepMask) -> Costs:
        """Cost of the network that keeps ``keep``.

        Raises ``PlanError`` when the mask has another length or drops unit 0.
        """
        if keep.shape != (self.units + 1,) or not keep[0]:
            raise PlanError(
                f"a keep mask of shape {keep.shape} does not fit {self.units} units; it needs "
                f"{self.units + 1} entries, the first of them true"
            )
        sizes = np.ones(self.axis_count + 1, dtype=np.int64)
        for block in self.blocks:
            rows = keep[block.units[0]]
            for column in block.units[1:]:
                rows &= keep[column]
            sizes[block.axes] = np.add.reduceat(rows, block.starts, dtype=np.int64)
        return Costs(
            params=_total(self.params, sizes),
            macs=_total(self.macs, sizes),
            channels=int(np.count_nonzero(keep)) - 1,
        )


def cost_table(analysis: Analysis) -> CostTable:
    """Decode the axes and terms of ``analysis``."""
    widths = [group.units for group in analysis.groups]
    offsets = np.cumsum(np.array([1, *widths], dtype=np.int64))
    by_columns: dict[int, list[int]] = {}
    for number, axis in enumerate(analysis.axes):
        by_columns.setdefault(max(1, len(axis.columns)), []).append(number)
    blocks = tuple(_block(analysis.axes, by_columns[columns]) for columns in sorted(by_columns))
    return CostTable(
        offsets=offsets,
        axis_count=len(analysis.axes),
        blocks=blocks,
        params=_terms(analysis, "params"),
        macs=_terms(analysis, "macs"),
    )


def cost(analysis: Analysis, keep: KeepMask) -> Costs:
    """Cost of the network that keeps ``keep``; use ``cost_table`` where many masks are priced."""
    return cost_table(analysis).price(keep)


def decode(axis: Axis) -> Integers:
    """Units of an axis, shape ``(columns, size)``; without columns, one column of zeros."""
    if not axis.columns:
        return np.zeros((1, axis.size), dtype=np.int64)
    return np.stack(
        [
            np.concatenate([first + step * np.arange(length) for first, step, length in runs])
            for runs in axis.columns
        ]
    ).astype(np.int64)


def _block(axes: tuple[Axis, ...], numbers: list[int]) -> _Block:
    lengths = [axes[number].size for number in numbers]
    return _Block(
        axes=np.array(numbers, dtype=np.int64),
        starts=np.cumsum([0, *lengths[:-1]], dtype=np.int64),
        units=np.concatenate([decode(axes[number]) for number in numbers], axis=1),
    )


def _terms(analysis: Analysis, of: str) -> _Terms:
    terms = [term for term in analysis.costs if term.of == of]
    most = max((len(term.axes) for term in terms), default=0)
    one = len(analysis.axes)
    axes = np.full((most, len(terms)), one, dtype=np.int64)
    for column, term in enumerate(terms):
        axes[: len(term.axes), column] = term.axes
    return _Terms(factors=np.array([term.factor for term in terms], dtype=np.int64), axes=axes)


def _total(terms: _Terms, sizes: Integers) -> int:
    products = terms.factors.copy()
    for axes in terms.axes:
        products *= sizes[axes]
    return int(products.sum())
