"""A picture of differences with their intervals: a line for each row, a column for each stage.

Comes in: labels and differences.  Goes out: a whole SVG file, with its colours.  Knows nothing of
files, nor of what is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from benchmarks.studies.answers import Difference

COLUMN, GAP, ROW, TOP = 200, 30, 24, 56  # pixels
COLOURS = {1: "#1a7f37", 0: "#6e7781", -1: "#cf222e"}


def picture_of(
    title: str,
    labels: Sequence[str],
    columns: Mapping[str, Sequence[Difference]],
    *,
    margin: int = 480,
) -> Markup:
    """Differences in points, by the head of their column; ``margin`` pixels for the labels."""
    bottom = TOP + ROW * len(labels)
    width = margin + len(columns) * (COLUMN + GAP)
    out = [
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" '
            'height="{h}" font-family="sans-serif" font-size="12">'
            "<title>{title}</title>"
            '<rect width="100%" height="100%" fill="#ffffff"/>'
        ).format(w=width, h=bottom + 36, title=title)
    ]
    for number, label in enumerate(labels):
        out.append(
            Markup('<text x="8" y="{y}" fill="#24292f">{label}</text>').format(
                y=TOP + ROW * number + 16, label=label
            )
        )
    for number, (head, found) in enumerate(columns.items()):
        out.append(_column(head, found, margin + number * (COLUMN + GAP), bottom))
    return Markup("\n").join([*out, Markup("</svg>\n")])


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
