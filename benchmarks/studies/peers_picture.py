"""The picture of the study: differences with their intervals, one column per stage.

Comes in: comparisons.  Goes out: a whole SVG file, with its colours.  Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from benchmarks.formatting import share
from benchmarks.studies.peers_figures import Comparison, Difference
from benchmarks.studies.peers_records import STAGES

LABELS, COLUMN, GAP, ROW, TOP = 480, 200, 30, 24, 56  # pixels
HEADS = {"cut": "as cut", "repaired": "after repair", "trained": "after training"}
COLOURS = {1: "#1a7f37", 0: "#6e7781", -1: "#cf222e"}


def picture(compared: Sequence[Comparison]) -> Markup:
    """Ours minus torch-pruning's, in points; to the right of the line ours is ahead."""
    bottom = TOP + ROW * len(compared)
    width = LABELS + len(STAGES) * (COLUMN + GAP)
    out = [
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" '
            'height="{h}" font-family="sans-serif" font-size="12">'
            "<title>Top-1 of compressor minus top-1 of torch-pruning, with 95 % intervals</title>"
            '<rect width="100%" height="100%" fill="#ffffff"/>'
        ).format(w=width, h=bottom + 36)
    ]
    for number, one in enumerate(compared):
        out.append(
            Markup('<text x="8" y="{y}" fill="#24292f">{label}</text>').format(
                y=TOP + ROW * number + 16, label=_label(one)
            )
        )
    for number, stage in enumerate(STAGES):
        left = LABELS + number * (COLUMN + GAP)
        found = [one.stages[stage] for one in compared]
        out.append(_column(HEADS[stage], found, left, bottom))
    return Markup("\n").join([*out, Markup("</svg>\n")])


def _label(one: Comparison) -> str:
    ours = "same widths" if one.first.restricted else "all widths"
    theirs = one.second.title.removeprefix("torch-pruning").lstrip(",' s")
    return f"{one.network.title}, {share(one.sparsity, 0)}, {ours}: against {theirs}"


def _column(head: str, found: Sequence[Difference], left: int, bottom: int) -> Markup:
    farthest = max([abs(end) for one in found for end in one.interval] or [0.01])
    reach = max(farthest * 1.08, 0.002)

    def place(value: float) -> float:
        return round(left + COLUMN * (0.5 + value / (2 * reach)), 1)

    out = [
        Markup(
            '<text x="{x}" y="20" text-anchor="middle" fill="#24292f">{head}</text>'
            '<text x="{x}" y="38" text-anchor="middle" fill="#6e7781">points ahead</text>'
            '<line x1="{x}" x2="{x}" y1="{t}" y2="{b}" stroke="#24292f"/>'
        ).format(x=place(0), head=head, t=TOP - 8, b=bottom)
    ]
    for value in (-reach / 1.08, 0.0, reach / 1.08):
        out.append(
            Markup('<text x="{x}" y="{y}" text-anchor="middle" fill="#6e7781">{v}</text>').format(
                x=place(value), y=bottom + 18, v=f"{100 * value:+.1f}" if value else "0"
            )
        )
    for number, one in enumerate(found):
        y, colour = TOP + ROW * number + 12, COLOURS[one.sign]
        out.append(
            Markup(
                '<line x1="{a}" x2="{b}" y1="{y}" y2="{y}" stroke="{c}" stroke-width="2"/>'
                '<circle cx="{x}" cy="{y}" r="4" fill="{c}"/>'
            ).format(
                a=place(one.interval[0]),
                b=place(one.interval[1]),
                x=place(one.value),
                y=y,
                c=colour,
            )
        )
    return Markup("\n").join(out)
