"""Dividing rows into sets, from a seed.

Comes in: labels or none, a count, shares.  Goes out: sorted row numbers.  Knows nothing of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def split_rows(
    labels: Tensor | None, count: int, shares: Sequence[float], seed: int
) -> tuple[Tensor, ...]:
    """Rows 0 .. count-1 divided by ``shares`` (which sum to 1), in every class alike.

    Without labels the rows are one class.  Every set after the first gets at least one row of the
    whole, and the first gets what is left.  The same arguments give the same rows.
    """
    generator = Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    if labels is not None:
        # Stable: inside a class the order stays random.
        order = order[torch.argsort(labels[order], stable=True)]
        place = _place_in_class(labels[order], torch.rand(count, generator=generator))
        # Spread each class evenly over [0, 1), so that a cut of the line cuts every class alike.
        order = order[torch.argsort(place, stable=True)]
    sizes = [max(round(share * count), 1) for share in shares[1:]]
    cuts = [count - sum(sizes), *sizes]
    return tuple(part.sort().values for part in order.split(cuts))


def _place_in_class(ordered: Tensor, jitter: Tensor) -> Tensor:
    """For labels in order: where in its class each row stands, in [0, 1).

    The jitter, in [0, 1), keeps small classes from all being cut at the same rank.
    """
    _, counts = torch.unique_consecutive(ordered, return_counts=True)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    sizes = torch.repeat_interleave(counts, counts)
    return (torch.arange(len(ordered)) - starts + jitter) / sizes
