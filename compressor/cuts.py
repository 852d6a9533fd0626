"""A cut: a plan laid over a graph's labels, so that every dimension knows which rows stay.

Comes in: a ``Graph``, its ``Analysis``, a ``Plan`` made for this structure.  Goes out: a ``Cut``.
Labels are computed anew (about 0.1 s).  Knows nothing of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import PlanError
from compressor.graphs import Graph, Rows
from compressor.labelling import Known, Labelling, label
from compressor.labels import Labels
from compressor.planning import keep_mask
from compressor.rules import Value
from compressor.types import Analysis, Plan

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cut:
    """A plan laid over a graph's labels: which rows of every dimension stay."""

    labelling: Labelling
    keep: Mask  # by global unit number

    def rows(self, labels: Labels) -> Mask | None:
        """Which rows stay; None where all do."""
        return self.labelling.kept(labels, self.keep)

    def count(self, labels: Labels) -> int:
        rows = self.rows(labels)
        return len(labels) if rows is None else int(rows.sum())  # type: ignore[arg-type]


def lay(graph: Graph, analysis: Analysis, plan: Plan) -> Cut:
    """Check that the plan fits this graph and lay it over its labels.

    Raises PlanError for a plan or analysis of another structure.
    """
    if not graph.fingerprint == analysis.fingerprint == plan.fingerprint:
        raise PlanError(
            f"the plan was made for another structure than {graph.architecture}; "
            "analyse and plan this network, or load the one the plan belongs to"
        )
    return Cut(label(graph), keep_mask(analysis, plan))


def kept_rows_of(cut: Cut) -> dict[str, Mapping[int, Rows]]:
    """Node -> dimension -> kept rows, where something went."""
    kept: dict[str, Mapping[int, Rows]] = {}
    for name, known in cut.labelling.nodes.items():
        if not isinstance(known, Value):
            continue
        found = {dim: cut.rows(labels) for dim, labels in enumerate(known.dims)}
        gone = {d: tuple(np.flatnonzero(r).tolist()) for d, r in found.items() if r is not None}
        if gone:
            kept[name] = gone
    return kept


def shrunk(shape: Any, known: Known | None, cut: Cut) -> Any:
    """A node's shape, or those of its several results, after the cut."""
    if isinstance(known, Value):
        return tuple(
            size if labels is None else cut.count(labels)
            for size, labels in zip(known.shape, known.dims, strict=True)
        )
    if isinstance(known, tuple):
        return tuple(shrunk(None, value, cut) for value in known)
    return shape
