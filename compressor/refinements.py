"""Where two shapes of the same elements can be cut alike: what a reshape does to sizes.

Comes in: sizes before and after.  Goes out: blocks of equal product, and the factors that refine
both sides.  Knows nothing of labels.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence


def blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[slice, slice]]:
    """Cut both shapes into the smallest runs of equal product; ones stand alone where they can."""
    blocks = []
    i = j = 0
    while i < len(old) or j < len(new):
        i0, j0 = i, j
        a = b = 1
        if i < len(old) and j < len(new):
            a, b, i, j = old[i], new[j], i + 1, j + 1
        elif i < len(old):
            a, i = old[i], i + 1
        else:
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        blocks.append((slice(i0, i), slice(j0, j)))
    return blocks


def common_cuts(old: Sequence[int], new: Sequence[int]) -> list[int] | None:
    """Sizes of trailing blocks that refine both shapes, ascending from 1; None where none do."""
    if 0 in (*old, *new):
        return None
    cuts = {1}
    for sizes in (old, new):
        cuts.update(itertools.accumulate(reversed(sizes), operator.mul))
    ordered = sorted(cuts)
    nested = all(high % low == 0 for low, high in itertools.pairwise(ordered))
    return ordered if nested else None


def factors_of(sizes: Sequence[int], cuts: Sequence[int]) -> list[list[int]]:
    """The refinement's factors of every dimension, outermost first; none for a size of one."""
    found = []
    stop = cuts[-1]
    for size in sizes:
        start = stop // size
        own = [cut for cut in cuts if start <= cut <= stop]
        found.append([high // low for low, high in itertools.pairwise(own)][::-1])
        stop = start
    return found
