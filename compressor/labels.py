"""The label algebra: which removable units every element of a dimension depends on.

A *unit* is an integer.  The labels of a dimension of size n are None (always kept: batch, space)
or an integer matrix of shape (n, k): element i goes as soon as one of the units in row i goes; 0
fills rows that depend on fewer than k units.  Ids below ``RESERVED`` are *reasons*: a unit is
frozen by uniting it with a reason, so freezing spreads by itself and can always be told.

Comes in: matrices of units.  Goes out: the same, united.  Knows nothing of torch or graphs.
Soundness rule: whatever cannot be united exactly is frozen, never guessed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compressor.refinements import blocks, common_cuts, factors_of

Matrix = NDArray[np.int64]
Labels = Matrix | None

RESERVED = 1 << 14
ALWAYS = 0  # filler: depends on no unit
FIXED = 1  # the reason of kernel, batch and space dimensions: nothing worth reporting
MAX_FACTORS = 8  # a unit is substituted by at most so many (FastViT needs 5)
MAX_DEPTH = 8


class Units:
    """All units of one analysis: a union-find whose members may be substituted by several units."""

    def __init__(self) -> None:
        self._parent: Matrix = np.arange(RESERVED, dtype=np.int64)
        self._origin: Matrix = np.zeros(RESERVED, dtype=np.int64)
        self._expansion: Matrix = np.full(RESERVED, -1, dtype=np.int64)  # row of _factors, or -1
        self._factors: Matrix = np.zeros((64, 2), dtype=np.int64)  # as wide as any needs it
        self._factored = 0  # rows of _factors in use
        self._count = RESERVED
        self._origins = 0

    def __len__(self) -> int:
        return self._count

    def fresh(self, size: int) -> Matrix:
        """New units for a dimension: a matrix of shape (size, 1).  One call is one *origin*."""
        start, self._count = self._count, self._count + size
        if self._count > len(self._parent):
            self._grow(max(self._count, 2 * len(self._parent)))
        self._origins += 1
        self._origin[start : self._count] = self._origins
        return np.arange(start, self._count, dtype=np.int64)[:, None]

    def _grow(self, capacity: int) -> None:
        old = len(self._parent)
        more = capacity - old
        self._parent = np.concatenate([self._parent, np.arange(old, capacity, dtype=np.int64)])
        self._origin = np.concatenate([self._origin, np.zeros(more, dtype=np.int64)])
        self._expansion = np.concatenate([self._expansion, np.full(more, -1, dtype=np.int64)])

    def origin(self, roots: Matrix) -> Matrix:
        """The ``fresh`` call that made each root."""
        return self._origin[roots]

    def find(self, ids: Matrix) -> Matrix:
        """Roots of ids, any shape; paths are halved by repeated gathers."""
        roots = self._parent[ids]
        above = self._parent[roots]
        while (above != roots).any():
            self._parent[ids] = above
            roots, above = above, self._parent[above]
        return roots

    def _expand(self, roots: Matrix) -> Matrix:
        """Replace substituted units by their factors until none is left: (n, k) -> (n, k')."""
        while roots.size and self._factored:
            where = self._expansion[roots]
            if (where < 0).all():
                break
            columns = []
            for j in range(roots.shape[1]):
                at = where[:, j]
                if (at < 0).all():
                    columns.append(roots[:, j : j + 1])
                    continue
                wide = np.zeros((len(roots), self._factors.shape[1]), dtype=np.int64)
                wide[at >= 0] = self.find(self._factors[at[at >= 0]])
                wide[at < 0, 0] = roots[at < 0, j]
                columns.append(wide[:, wide.any(axis=0)])
            roots = np.concatenate(columns, axis=1)
        return roots

    def resolve(self, labels: Matrix) -> Matrix:
        """Leaves of every row: substitutions expanded, frozen units and repeats dropped."""
        roots = self._expand(self.find(labels))
        live = _used_columns(np.where(roots < RESERVED, ALWAYS, roots))
        for j in range(1, live.shape[1]):
            for i in range(j):
                live[live[:, i] == live[:, j], j] = ALWAYS
        if live.shape[1] > 1 and not live.all():
            order = np.argsort(live == ALWAYS, axis=1, kind="stable")
            live = _used_columns(np.take_along_axis(live, order, axis=1))
        return live

    def reason(self, labels: Labels) -> int:
        """The first reason that freezes something in these labels, or 0."""
        if labels is None or not labels.size:
            return 0
        roots = self._expand(self.find(labels))
        reasons = roots[(roots > 0) & (roots < RESERVED)]
        telling = reasons[reasons != FIXED]
        return int(telling[0]) if telling.size else int(reasons[0]) if reasons.size else 0

    def freeze(self, labels: Labels, reason: int) -> None:
        """Unite every unit of these labels with a reason."""
        if labels is None:
            return
        leaves = self.resolve(labels)
        ids = leaves[leaves > 0]
        self._union(np.full_like(ids, reason), ids)

    def _union(self, a: Matrix, b: Matrix) -> None:
        """Unite leaves pairwise.  The smaller id becomes the root, so reasons stay roots."""
        a, b = a.ravel(), b.ravel()
        while a.size:
            ra, rb = self.find(a), self.find(b)
            low, high = np.minimum(ra, rb), np.maximum(ra, rb)
            apart = low != high
            if not apart.any():
                return
            a, b = low[apart], high[apart]
            np.minimum.at(self._parent, b, a)

    def _substitute(self, units: Matrix, factors: Matrix) -> None:
        """From now on unit i stands for the units in row i: (n,) distinct leaves, (n, m) leaves."""
        start, self._factored = self._factored, self._factored + len(units)
        rows, columns = self._factors.shape
        if self._factored > rows or factors.shape[1] > columns:
            rows = rows if self._factored <= rows else max(self._factored, 2 * rows)
            grown = np.zeros((rows, max(columns, factors.shape[1])), dtype=np.int64)
            grown[:start, :columns] = self._factors[:start]
            self._factors = grown
        self._factors[start : self._factored, : factors.shape[1]] = factors
        self._expansion[units] = np.arange(start, self._factored)

    # -- unification -------------------------------------------------------------------------

    def unify(self, u: Labels, v: Labels, reason: int, depth: int = 0) -> None:
        """Make rows of u and v depend on the same units; what cannot be made equal is frozen."""
        if u is v:
            return
        if u is None or v is None:
            self.freeze(v if u is None else u, self.reason(u) or self.reason(v) or reason)
            return
        if u.shape[1] == v.shape[1] == 1 and self._are_leaves(u) and self._are_leaves(v):
            self._union(u, v)  # by far the most frequent case
            return
        if u.shape == v.shape and np.array_equal(self.find(u), self.find(v)):
            return
        a, b = self.resolve(u), self.resolve(v)
        ka, kb = (a > 0).sum(axis=1), (b > 0).sum(axis=1)
        for place, (na, nb) in enumerate(_pairs(ka, kb)):
            rows = (ka == na) & (kb == nb)
            if na == 0 or nb == 0:
                kept, other = (u, b) if na == 0 else (v, a)
                self.freeze(other[rows], self.reason(kept[rows]) or reason)
            elif na == nb == 1:
                self._union(a[rows, 0], b[rows, 0])
            elif place and (self._is_stale(a[rows]) or self._is_stale(b[rows])):
                # rows of another class substituted or froze units of these
                if depth < MAX_DEPTH:
                    self.unify(u[rows], v[rows], reason, depth + 1)
                else:
                    self.freeze(np.concatenate([a[rows].ravel(), b[rows].ravel()])[:, None], reason)
            else:
                self._unify_products(a[rows, :na], b[rows, :nb], reason, depth)

    def _are_leaves(self, labels: Matrix) -> bool:
        """Whether no label is frozen, substituted or absent."""
        roots = self.find(labels)
        return bool((roots >= RESERVED).all() and (self._expansion[roots] < 0).all())

    def _is_stale(self, leaves: Matrix) -> bool:
        """Whether what was resolved has been substituted, united or frozen since."""
        roots = self.find(leaves)
        return not np.array_equal(roots, leaves) or bool((self._expansion[roots] >= 0).any())

    def _unify_products(self, a: Matrix, b: Matrix, reason: int, depth: int) -> None:
        if depth < MAX_DEPTH:
            left, right = _without_equal_columns(a, b)
            if left.shape[1] == 1 and right.shape[1] > 1:
                self._unify_one_with_many(left[:, 0], right, reason, depth)
            elif right.shape[1] == 1 and left.shape[1] > 1:
                self._unify_one_with_many(right[:, 0], left, reason, depth)
            elif left.shape[1] and right.shape[1]:
                self._unify_by_partition(left, right, reason, depth)
        # Whatever the matching did, rows that still differ are frozen: imprecise, never unsound.
        differ = _rows_differ(self.resolve(a), self.resolve(b))
        if differ.any():
            self.freeze(a[differ], reason)
            self.freeze(b[differ], reason)

    def _unify_one_with_many(self, one: Matrix, many: Matrix, reason: int, depth: int) -> None:
        """Substitute each unit by the row of units it is united with."""
        units, first, inverse = np.unique(one, return_index=True, return_inverse=True)
        if len(units) < len(one):  # repeated units: their rows must first agree among themselves
            self.unify(many[first[inverse]], many, reason, depth + 1)
        factors = self.resolve(many[first])
        if (
            factors.shape[1] > MAX_FACTORS
            or np.isin(factors, units).any()
            or not np.array_equal(self.resolve(units[:, None]), units[:, None])
            or not factors.all()
        ):
            return  # a cycle or a mixture: the caller freezes what still differs
        self._substitute(units, factors)

    def _unify_by_partition(self, a: Matrix, b: Matrix, reason: int, depth: int) -> None:
        """Match a column with the columns of the other side that split the rows the same way."""
        left, right = list(range(a.shape[1])), list(range(b.shape[1]))
        for i in tuple(left):
            j = next((j for j in right if _partition(a[:, [i]]) == _partition(b[:, [j]])), None)
            if j is not None:
                self._union(a[:, i], b[:, j])
                left.remove(i)
                right.remove(j)
        for one, many, rest, others in ((a, b, left, right), (b, a, right, left)):
            for i in tuple(rest):
                key = _partition(one[:, [i]])
                for size in (2, 3):
                    chosen = next(
                        (
                            list(js)
                            for js in itertools.combinations(others, size)
                            if _partition(many[:, list(js)]) == key
                        ),
                        None,
                    )
                    if chosen is not None:
                        self._unify_one_with_many(one[:, i], many[:, chosen], reason, depth + 1)
                        rest.remove(i)
                        for j in chosen:
                            others.remove(j)
                        break

    # -- reshaping ---------------------------------------------------------------------------

    def merge(self, dims: Sequence[Labels], sizes: Sequence[int]) -> Labels:
        """Labels of dimensions flattened into one (row-major)."""
        total = int(np.prod(sizes, dtype=np.int64))
        columns = []
        for axis, labels in enumerate(dims):
            if labels is None:
                continue
            inner = int(np.prod(sizes[axis + 1 :], dtype=np.int64))
            tiled = np.repeat(labels, inner, axis=0)
            columns.append(np.tile(tiled, (total // len(tiled), 1)))
        return np.concatenate(columns, axis=1) if columns else None

    def split(self, labels: Labels, sizes: Sequence[int], reason: int) -> tuple[Labels, ...]:
        """Labels of the dimensions that one dimension is split into (row-major).

        A column that varies along one new axis belongs to it; one of all-distinct units that varies
        along several is substituted by fresh units per axis; any other is tied along its smallest
        axis until one of the two holds.
        """
        if labels is None:
            return (None,) * len(sizes)
        matrix = self.resolve(labels)
        if not matrix.shape[1]:
            why = self.reason(labels) or FIXED
            return tuple(np.full((size, 1), why, dtype=np.int64) for size in sizes)
        found: list[list[Matrix]] = [[] for _ in sizes]
        for j in range(matrix.shape[1]):
            column = matrix[:, j]
            if self._is_stale(column):  # an earlier column shared units with this one
                return self.split(labels, sizes, reason)
            filled = np.where(column == ALWAYS, self.reason(labels) or reason, column)
            for axis, part in self._split_column(filled, sizes, reason):
                found[axis].append(part)
        return tuple(np.concatenate(parts, axis=1) if parts else None for parts in found)

    def _split_column(
        self, column: Matrix, sizes: Sequence[int], reason: int
    ) -> list[tuple[int, Matrix]]:
        grid = self.find(column).reshape(sizes)
        while True:
            axes = [a for a in range(grid.ndim) if (grid != grid.take([0], axis=a)).any()]
            if len(axes) <= 1:
                break
            corner = tuple(slice(None) if a in axes else 0 for a in range(grid.ndim))
            units = grid[corner].ravel()
            if len(np.unique(units)) == len(units) and (units >= RESERVED).all():
                return self._factorise(units, axes, [sizes[a] for a in axes])
            smallest = min(axes, key=lambda a: sizes[a])
            self._union(np.broadcast_to(grid.take([0], axis=smallest), grid.shape).copy(), grid)
            grid = self.find(grid)
        if axes:
            corner = tuple(slice(None) if a == axes[0] else 0 for a in range(grid.ndim))
            return [(axes[0], grid[corner].ravel()[:, None])]
        # one unit for everything: it could only go with the whole dimension
        self.freeze(grid.reshape(-1, 1)[:1], reason)
        return []

    def _factorise(
        self, units: Matrix, axes: Sequence[int], sizes: Sequence[int]
    ) -> list[tuple[int, Matrix]]:
        parts = [self.fresh(size) for size in sizes]
        grid = np.meshgrid(*(part[:, 0] for part in parts), indexing="ij")
        self._substitute(units, np.stack([g.ravel() for g in grid], axis=1))
        return list(zip(axes, parts, strict=True))

    def reshape(
        self, dims: Sequence[Labels], old: Sequence[int], new: Sequence[int], reason: int
    ) -> tuple[Labels, ...]:
        """Labels after a row-major reshape from sizes ``old`` to sizes ``new``.

        Where both shapes have a common refinement, as (batch, heads x width) and (batch x heads,
        width) have (batch, heads, width), every dimension is split by itself and the factors are
        merged; only shapes that do not nest are merged whole and split anew.
        """
        result: list[Labels] = [None] * len(new)
        for i, j in blocks(old, new):
            if i.stop - i.start == 1 and j.stop - j.start == 1:
                result[j.start] = dims[i.start]
                continue
            cuts = common_cuts(old[i], new[j])
            if cuts is None:
                merged = self.merge(dims[i], old[i])
                result[j] = self.split(merged, new[j], reason)
                continue
            parts: list[Labels] = []
            for labels, sizes in zip(dims[i], factors_of(old[i], cuts), strict=True):
                if len(sizes) > 1:
                    parts += self.split(labels, sizes, reason)
                elif sizes:
                    parts.append(labels)
                else:
                    self.freeze(labels, reason)  # a size of one: its only row may not go
            for place, sizes in enumerate(factors_of(new[j], cuts), start=j.start):
                own, parts = parts[: len(sizes)], parts[len(sizes) :]
                result[place] = self.merge(own, sizes)
        return tuple(result)


def _partition(columns: Matrix) -> bytes:
    """How columns split the rows into classes, named by first occurrence."""
    if columns.shape[1] == 1:
        _, first, inverse = np.unique(columns[:, 0], return_index=True, return_inverse=True)
    else:
        _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.ravel()].astype(np.int64).tobytes()


def _without_equal_columns(a: Matrix, b: Matrix) -> tuple[Matrix, Matrix]:
    left, right = list(range(a.shape[1])), list(range(b.shape[1]))
    for i in tuple(left):
        j = next((j for j in right if np.array_equal(a[:, i], b[:, j])), None)
        if j is not None:
            left.remove(i)
            right.remove(j)
    return a[:, left], b[:, right]


def _used_columns(matrix: Matrix) -> Matrix:
    used = matrix.any(axis=0)
    return matrix if used.all() else matrix[:, used]


def _pairs(a: Matrix, b: Matrix) -> list[tuple[int, int]]:
    """The different pairs of small numbers (a[i], b[i]), ascending."""
    if (a == a[:1]).all() and (b == b[:1]).all():
        return list(zip(a[:1].tolist(), b[:1].tolist(), strict=True))
    base = int(b.max()) + 1
    return [divmod(code, base) for code in np.unique(a * base + b).tolist()]


def _rows_differ(a: Matrix, b: Matrix) -> NDArray[np.bool_]:
    """Which rows hold different sets of units."""
    if np.array_equal(a, b):
        return np.zeros(len(a), dtype=np.bool_)
    width = max(a.shape[1], b.shape[1])
    padded = [np.pad(m, ((0, 0), (0, width - m.shape[1]))) for m in (a, b)]
    left, right = (np.sort(m, axis=1) for m in padded)
    return np.asarray((left != right).any(axis=1))
