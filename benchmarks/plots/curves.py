"""Teacher and student over something: latency by batch, p99 by rate of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from benchmarks.figures import Figure
from benchmarks.plots.scales import Height, LogScale, axis, side, stretched, ticks, written

TOP, BOTTOM = 22, 190
LEFT, RIGHT = 13, 97


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """``subject``: "t" or "s"; points in ascending x."""

    subject: str
    points: tuple[tuple[Figure, Figure], ...]


def curves(
    lines: Sequence[Curve], *, title: str, x_name: str, y_name: str, limit: Figure | None = None
) -> Markup:
    """All on one pair of logarithmic axes; ``limit``: a height that must be kept."""
    xs = [x.value for line in lines for x, _ in line.points]
    ys = [y.value for line in lines for _, y in line.points]
    ys += [] if limit is None else [limit.value]
    scale = LogScale(low=min(xs) / 1.1, high=max(xs) * 1.1, left=LEFT, right=100 - RIGHT)
    low, high = min(ys) / 1.15, max(ys) * 1.15
    height = Height(low=low, high=high, top=TOP, bottom=BOTTOM, warp=np.log)
    counted = len(set(xs)) <= 6 and all(isinstance(x, int) for x in xs)  # batches
    steps = sorted(set(xs)) if counted else ticks(scale.low, scale.high, 5)
    out = [
        Markup('<svg class="plot" width="100%" height="228" role="img"><title>{}</title>').format(
            title
        ),
        side(height, ticks(low, high, 5), LEFT, RIGHT, written),
        axis(scale, steps, TOP, BOTTOM),
        Markup(
            '<text class="tick" x="{l}%" y="12">{y}</text>'
            '<text class="tick" x="{r}%" y="222" text-anchor="end">{x}</text>'
        ).format(l=LEFT, r=RIGHT, y=y_name, x=x_name),
    ]
    if limit is not None:
        out.append(
            Markup(
                '<line class="one" x1="{l}%" x2="{r}%" y1="{y}" y2="{y}"/>'
                '<text class="tick" x="{l}%" dx="4" y="{t}">limit {v} ms</text>'
            ).format(
                l=LEFT, r=RIGHT, y=height.place(limit.value), t=height.place(limit.value) - 4,
                v=limit.svg,
            )
        )  # fmt: skip
    box = Height(low=low, high=high, top=0, bottom=100, warp=np.log)
    paths = Markup("").join(
        Markup('<path class="curve {name}" d="{d}" vector-effect="non-scaling-stroke"/>').format(
            name=line.subject,
            d="M"
            + "L".join(f"{scale.place(x.value)} {box.place(y.value)}" for x, y in line.points),
        )
        for line in lines
    )
    out.append(stretched(paths, TOP, BOTTOM - TOP))
    out += [
        Markup(
            '<circle class="dot {name}" cx="{x}%" cy="{y}" r="4"><title>{a}: {b}</title></circle>'
        ).format(name=line.subject, x=scale.place(x.value), y=height.place(y.value), a=x, b=y)
        for line in lines
        for x, y in line.points
    ]
    return Markup("").join([*out, Markup("</svg>")])
