"""Numbers to inline SVG: widths, distributions of samples, speed-ups with their intervals.

Out comes markup for a page that sets the colours (classes ``t`` teacher, ``s`` student).  Places
are in per cent of the width and text in pixels, so that pictures shrink and their words do not.
Everything that is not a number is escaped.  Knows nothing of files or of the page around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from benchmarks.formatting import TIMES, milliseconds, significant


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """A line of the forest picture."""

    label: str
    value: float
    interval: tuple[float, float] | None
    band: tuple[float, float] | None  # teacher against its twin
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScale:
    """Maps positive numbers to per cent of the width, ``left`` to 100 - ``right``."""

    low: float
    high: float
    left: float = 3.0
    right: float = 3.0

    def place(self, value: float) -> float:
        span = np.log(self.high / self.low) or 1.0
        share = float(np.clip(np.log(value / self.low) / span, 0, 1))
        return round(self.left + share * (100 - self.left - self.right), 2)


def ticks(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Round numbers between ``low`` and ``high`` for a logarithmic axis, about ``most`` at most."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    fine = np.round(np.linspace(low, high, 5), 1 - int(np.floor(np.log10(high - low))))
    steps = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
    best: tuple[float, ...] = ()
    for parts in steps:
        found = [part * 10.0**power for power in range(first, last + 1) for part in parts]
        inside = tuple(value for value in found if low <= value <= high)
        if len(inside) <= most and len(inside) > len(best):
            best = inside
    return (
        best if len(best) >= 2 else tuple(dict.fromkeys(float(v) for v in fine if low <= v <= high))
    )


def axis(scale: LogScale, values: Sequence[float], top: int, bottom: int, unit: str) -> Markup:
    """Vertical grid lines with a number under each."""
    out = []
    for value in values:
        out.append(
            Markup(
                '<line class="grid" x1="{x}%" x2="{x}%" y1="{t}" y2="{b}"/>'
                '<text class="tick" x="{x}%" y="{y}" text-anchor="middle">{v}{u}</text>'
            ).format(x=scale.place(value), t=top, b=bottom, y=bottom + 15, v=f"{value:.4g}", u=unit)
        )
    return Markup("").join(out)


def width_bar(kept: int, units: int, widest: int) -> Markup:
    """One group: the kept part solid, the removed part pale; ``widest`` fills the whole width."""
    return Markup(
        '<svg class="bar" aria-hidden="true">'
        '<rect class="gone" width="{before}%" height="100%" rx="1.5"/>'
        '<rect class="kept" width="{after}%" height="100%" rx="1.5"/></svg>'
    ).format(before=round(100 * units / widest, 2), after=round(100 * kept / widest, 2))


def steps(values_ms: Sequence[float], scale: LogScale, most: int = 240) -> str:
    """Path of the empirical distribution in a 100 by 100 box, at most ``most`` points."""
    ordered = np.sort(np.asarray(values_ms, dtype=float))
    picks = np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int))
    path, height = [f"M{scale.place(ordered[0])} 100"], 100.0
    for pick in picks:
        x, level = scale.place(ordered[pick]), round(100 - 100 * (pick + 1) / len(ordered), 2)
        path.append(f"H{x}V{level}")
        height = level
    return "".join([*path, f"H{100 - scale.right}" if height == 0 else ""])


def distribution(teacher_ms: Sequence[float], student_ms: Sequence[float]) -> Markup:
    """Share of calls done within a time, teacher and student, on a logarithmic axis.

    The axis ends where 99.5 % of the slower subject's calls are done.
    """
    low = 0.95 * min(min(teacher_ms), min(student_ms))
    high = 1.05 * max(float(np.quantile(teacher_ms, 0.995)), float(np.quantile(student_ms, 0.995)))
    scale = LogScale(low=low, high=high, left=9, right=2)
    top, bottom = 22, 190
    out = [
        Markup('<svg class="plot" width="100%" height="212" role="img">'),
        Markup("<title>Share of calls done within a time, teacher and student</title>"),
    ]
    for level in (0, 0.5, 0.9, 1):
        y = bottom - level * (bottom - top)
        out.append(
            Markup(
                '<line class="grid" x1="9%" x2="98%" y1="{y}" y2="{y}"/>'
                '<text class="tick" x="8%" y="{ty}" text-anchor="end">{v}</text>'
            ).format(y=round(y, 1), ty=round(y + 4, 1), v=f"{level:.0%}")
        )
    out.append(axis(scale, ticks(low, high, 5), top, bottom, ""))
    for name, values in (("t", teacher_ms), ("s", student_ms)):
        out.append(
            Markup(
                '<svg x="0" y="{top}" width="100%" height="{h}" viewBox="0 0 100 100" '
                'preserveAspectRatio="none" overflow="visible">'
                '<path class="curve {name}" d="{d}" vector-effect="non-scaling-stroke"/></svg>'
            ).format(top=top, h=bottom - top, name=name, d=steps(values, scale))
        )
    for name, word, values in (("t", "teacher", teacher_ms), ("s", "student", student_ms)):
        middle = float(np.median(values))
        x = scale.place(middle)
        out.append(
            Markup(
                '<circle class="dot {name}" cx="{x}%" cy="{cy}" r="4"><title>{word}: median {v} ms'
                "</title></circle>"
            ).format(name=name, x=x, cy=(top + bottom) / 2, v=milliseconds(middle), word=word)
        )
    return Markup("").join([*out, Markup("</svg>")])


def forest(lines: Sequence[Speedup]) -> Markup:
    """Speed-up of each workload with its interval, the line at 1 and the band of the noise."""
    ends = [value for one in lines for value in (one.value, *(one.interval or ()))]
    bands = [end for one in lines for end in one.band or ()]
    low = min(0.8, 0.93 * min([*ends, *(max(end, 0.5) for end in bands)]))
    high = max(1.25, 1.08 * max([*ends, *(min(end, 2) for end in bands)]))
    scale = LogScale(low=low, high=high, left=2, right=2)
    step, top = 46, 6
    bottom = top + step * len(lines)
    out = [
        Markup('<svg class="plot" width="100%" height="{}" role="img">').format(bottom + 24),
        Markup("<title>Speed-up of the student with its 95 % interval, by workload</title>"),
        axis(scale, [v for v in ticks(low, high) if v != 1], top, bottom, TIMES),
        axis(scale, [1.0], top, bottom, TIMES),
        Markup('<line class="one" x1="{x}%" x2="{x}%" y1="{t}" y2="{b}"/>').format(
            x=scale.place(1), t=top, b=bottom
        ),
    ]
    for number, one in enumerate(lines):
        out.append(forest_line(one, scale, top + step * number))
    return Markup("").join([*out, Markup("</svg>")])


def forest_line(one: Speedup, scale: LogScale, top: int) -> Markup:
    """Label above, band of the noise, whiskers and dot below."""
    y, out = top + 31, []
    if one.band is not None:
        left, right = scale.place(one.band[0]), scale.place(one.band[1])
        out.append(
            Markup(
                '<rect class="band" x="{x}%" y="{y}" width="{w}%" height="18">'
                "<title>teacher against its own copy: {a} to {b}</title></rect>"
            ).format(
                x=left,
                y=y - 9,
                w=round(max(right - left, 0.2), 2),
                a=significant(one.band[0]),
                b=significant(one.band[1]),
            )
        )
    said = f"{significant(one.value)}{TIMES}"
    if one.interval is not None:
        said += f" ({significant(one.interval[0])} to {significant(one.interval[1])})"
        ends = [scale.place(end) for end in one.interval]
        out.append(
            Markup('<line class="whisker" x1="{a}%" x2="{b}%" y1="{y}" y2="{y}"/>').format(
                a=ends[0], b=ends[1], y=y
            )
        )
        out += [
            Markup('<line class="whisker" x1="{x}%" x2="{x}%" y1="{a}" y2="{b}"/>').format(
                x=end, a=y - 5, b=y + 5
            )
            for end in ends
        ]
    out.append(
        Markup(
            '<circle class="point {kind}" cx="{x}%" cy="{y}" r="4"><title>{said}</title></circle>'
            '<text class="name" x="2%" y="{t}">{label}</text>'
            '<text class="value" x="98%" y="{t}" text-anchor="end">{said} {verdict}</text>'
        ).format(
            kind=one.verdict.split()[0],
            x=scale.place(one.value),
            y=y,
            said=said,
            t=top + 14,
            label=one.label,
            verdict=one.verdict,
        )
    )
    return Markup("").join(out)
