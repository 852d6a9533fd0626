"""Share of calls done within a time, teacher and student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from benchmarks.figures import Figure
from benchmarks.plots.scales import LogScale, axis, side, stretched, ticks

TOP, BOTTOM = 22, 190
WORDS = {"t": "teacher", "s": "student"}


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


def distribution(
    teacher_ms: Sequence[float], student_ms: Sequence[float], medians: Mapping[str, Figure | str]
) -> Markup:
    """Both on one logarithmic axis; ``medians``: of "t" and "s", as the report has them.

    The axis ends where 99.5 % of the slower subject's calls are done.
    """
    low = 0.95 * min(min(teacher_ms), min(student_ms))
    high = 1.05 * max(float(np.quantile(teacher_ms, 0.995)), float(np.quantile(student_ms, 0.995)))
    scale = LogScale(low=low, high=high, left=9, right=2)
    out = [
        Markup('<svg class="plot" width="100%" height="212" role="img">'),
        Markup("<title>Share of calls done within a time, teacher and student</title>"),
        side(_Share(), (0, 0.5, 0.9, 1), 9, 98, lambda level: f"{level:.0%}"),
        axis(scale, ticks(low, high, 5), TOP, BOTTOM),
    ]
    curves = Markup("").join(
        Markup('<path class="curve {name}" d="{d}" vector-effect="non-scaling-stroke"/>').format(
            name=name, d=steps(values, scale)
        )
        for name, values in (("t", teacher_ms), ("s", student_ms))
    )
    out.append(stretched(curves, TOP, BOTTOM - TOP))
    for name, median in medians.items():
        if isinstance(median, Figure):
            out.append(
                Markup(
                    '<circle class="dot {name}" cx="{x}%" cy="{y}" r="4"><title>{word}: median '
                    "{v} ms</title></circle>"
                ).format(
                    name=name,
                    x=scale.place(median.value),
                    y=(TOP + BOTTOM) / 2,
                    v=median,
                    word=WORDS[name],
                )
            )
    return Markup("").join([*out, Markup("</svg>")])


class _Share:
    def place(self, value: float) -> float:
        return round(BOTTOM - value * (BOTTOM - TOP), 1)
