"""What becomes of an operator's constants when labelled dimensions shrink.

A rule says one of these of an argument; ``removal`` carries it out once a plan is laid over the
labels.  Knows nothing of groups, plans or graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.labels import Labels, Matrix


@dataclass(frozen=True, slots=True)
class Kept:
    """A constant that becomes the number of kept rows of these labels; -1 in a list stays -1."""

    labels: Matrix


@dataclass(frozen=True, slots=True)
class Shifted:
    """A shift that becomes the number of kept rows of these labels, also where it was -1."""

    labels: Matrix


@dataclass(frozen=True, slots=True)
class Pinned:
    """A hidden default that must keep the value it had in the teacher."""

    value: float


Rewrite = Kept | Shifted | Pinned | None | tuple["Rewrite", ...]


@dataclass(frozen=True, slots=True)
class Picked:
    """Rows picked by their places along a labelled dimension.

    Where rows go, the places that are left count the kept rows: a strided slice stays a slice
    where they have one distance, else it becomes an ``index_select``; a table is written anew, for
    this call alone.
    """

    dim: int
    labels: Matrix  # of the whole dimension
    places: Matrix  # (m,)


def kept(labels: Labels) -> Rewrite:
    return None if labels is None else Kept(labels)
