"""The picture of the study: differences with their intervals, one column per stage.

Comes in: comparisons.  Goes out: a whole SVG file.  Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from benchmarks.formatting import share
from benchmarks.studies.intervals import picture_of
from benchmarks.studies.peers_figures import Comparison
from benchmarks.studies.peers_records import STAGES

HEADS = {"cut": "as cut", "repaired": "after repair", "trained": "after training"}


def picture(compared: Sequence[Comparison]) -> Markup:
    """Ours minus torch-pruning's, in points; to the right of the line ours is ahead."""
    return picture_of(
        "Top-1 of compressor minus top-1 of torch-pruning, with 95 % intervals",
        [_label(one) for one in compared],
        {HEADS[stage]: [one.stages[stage] for one in compared] for stage in STAGES},
    )


def _label(one: Comparison) -> str:
    ours = "same widths" if one.first.restricted else "all widths"
    theirs = one.second.title.removeprefix("torch-pruning").lstrip(",' s")
    return f"{one.network.title}, {share(one.sparsity, 0)}, {ours}: against {theirs}"
