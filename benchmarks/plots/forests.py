"""Speed-ups with their intervals, the line at 1, and the band of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.figures import Figure, Phrase, phrase
from benchmarks.formatting import TIMES
from benchmarks.plots.scales import LogScale, axis, ticks

Ends = tuple[Figure, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """A line of the picture."""

    label: Phrase
    value: Figure
    interval: Ends | None
    band: Ends | None  # teacher against its twin
    verdict: str


def forest(lines: Sequence[Speedup]) -> Markup:
    """Speed-up of each workload on one logarithmic axis."""
    ends = [one.value for line in lines for one in (line.value, *(line.interval or ()))]
    bands = [one.value for line in lines for one in line.band or ()]
    low = min(0.8, 0.93 * min([*ends, *(max(end, 0.5) for end in bands)]))
    high = max(1.25, 1.08 * max([*ends, *(min(end, 2) for end in bands)]))
    scale = LogScale(low=low, high=high, left=2, right=2)
    step, top = 62, 4
    bottom = top + step * len(lines)
    out = [
        Markup('<svg class="plot" width="100%" height="{}" role="img">').format(bottom + 24),
        Markup("<title>Speed-up of the student with its interval, by workload</title>"),
        axis(scale, [v for v in ticks(low, high) if v != 1], top, bottom, TIMES),
        axis(scale, [1.0], top, bottom, TIMES),
        Markup('<line class="one" x1="{x}%" x2="{x}%" y1="{t}" y2="{b}"/>').format(
            x=scale.place(1), t=top, b=bottom
        ),
    ]
    out += [line(one, scale, top + step * number) for number, one in enumerate(lines)]
    return Markup("").join([*out, Markup("</svg>")])


def line(one: Speedup, scale: LogScale, top: int) -> Markup:
    """Label and figures above, band of the noise, whiskers and dot below."""
    y, out = top + 47, []
    if one.band is not None:
        left, right = (scale.place(end.value) for end in one.band)
        out.append(
            Markup(
                '<rect class="band" x="{x}%" y="{y}" width="{w}%" height="18">'
                "<title>teacher against its own copy: {a} to {b}</title></rect>"
            ).format(
                x=left, y=y - 9, w=round(max(right - left, 0.2), 2), a=one.band[0], b=one.band[1]
            )
        )
    said = phrase(one.value.svg, TIMES)
    if one.interval is not None:
        said = phrase(said, " (", one.interval[0].svg, " to ", one.interval[1].svg, ")")
        ends = [scale.place(end.value) for end in one.interval]
        out.append(_rule(ends[0], ends[1], y, y))
        out += [_rule(end, end, y - 5, y + 5) for end in ends]
    out.append(
        Markup(
            '<circle class="point {kind}" cx="{x}%" cy="{y}" r="4"/>'
            '<text class="name" x="2%" y="{t}">{label}</text>'
            '<text class="value" x="2%" y="{u}">{said} {verdict}</text>'
        ).format(
            kind=one.verdict.split()[0],
            x=scale.place(one.value.value),
            y=y,
            said=said,
            t=top + 15,
            u=top + 31,
            label=drawn(one.label),
            verdict=one.verdict,
        )
    )
    return Markup("").join(out)


def drawn(told: Phrase) -> Phrase:
    """The phrase with its figures as a picture's text has them."""
    return Phrase(
        tuple(
            drawn(part) if isinstance(part, Phrase)
            else part.svg if isinstance(part, Figure)
            else part
            for part in told.parts
        )
    )  # fmt: skip


def _rule(left: float, right: float, above: float, below: float) -> Markup:
    return Markup('<line class="whisker" x1="{a}%" x2="{b}%" y1="{c}" y2="{d}"/>').format(
        a=left, b=right, c=above, d=below
    )
