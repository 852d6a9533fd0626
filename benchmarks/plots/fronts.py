"""Accuracy against latency, with the front: what nothing else beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.figures import Figure
from benchmarks.plots.scales import Height, LogScale, axis, even_ticks, side, stretched, ticks

TOP, BOTTOM = 16, 262
LEFT, RIGHT = 13, 97
NEAR_X, NEAR_Y = 4.0, 14.0  # per cent of the width, pixels
Place = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """``mark``: the letter that the table below explains; ``subject``: "t" or "s"."""

    mark: str
    subject: str
    latency: Figure
    accuracy: Figure


def front(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """Those that nothing beats: no other is both as accurate and faster, or as fast and better."""
    found: list[Spot] = []
    for one in sorted(spots, key=lambda one: (one.latency.value, -one.accuracy.value)):
        if not found or one.accuracy.value > found[-1].accuracy.value:
            found.append(one)
    return tuple(found)


def accuracy_against_latency(spots: Sequence[Spot], metric: str) -> Markup:
    """Latency in milliseconds on a logarithmic axis, accuracy upwards."""
    latencies = [one.latency.value for one in spots]
    accuracies = [one.accuracy.value for one in spots]
    margin = max(0.15 * (max(accuracies) - min(accuracies)), 0.004)
    low, high = min(accuracies) - margin, max(accuracies) + margin
    scale = LogScale(
        low=min(latencies) / 1.25, high=max(latencies) * 1.25, left=LEFT, right=100 - RIGHT
    )
    height = Height(low=low, high=high, top=TOP, bottom=BOTTOM)
    places = 0 if high - low > 0.06 else 1
    out = [
        Markup('<svg class="plot" width="100%" height="300" role="img">'),
        Markup("<title>Accuracy against latency, teacher and student</title>"),
        side(height, even_ticks(low, high), LEFT, RIGHT, lambda one: f"{100 * one:.{places}f} %"),
        axis(scale, ticks(scale.low, scale.high, 6), TOP, BOTTOM),
        Markup(
            '<text class="tick" x="{l}%" y="9">{metric}</text>'
            '<text class="tick" x="{r}%" y="294" text-anchor="end">median latency, ms</text>'
        ).format(l=LEFT, r=RIGHT, metric=metric),
    ]
    box = Height(low=low, high=high, top=0, bottom=100)
    best = front(spots)
    corners = [f"M{scale.place(best[0].latency.value)} 100"]
    for one in best:
        corners += [f"H{scale.place(one.latency.value)}", f"V{box.place(one.accuracy.value)}"]
    corners.append(f"H{RIGHT}")
    path = Markup('<path class="front" d="{}" vector-effect="non-scaling-stroke"/>')
    out.append(stretched(path.format("".join(corners)), TOP, BOTTOM - TOP))
    where = {one.mark: (scale.place(one.latency.value), height.place(one.accuracy.value))
              for one in spots}  # fmt: skip
    out += [
        Markup(
            '<circle class="spot {kind}" cx="{x}%" cy="{y}" r="5">'
            "<title>{mark}: {b}, {a} ms</title></circle>"
        ).format(
            kind=one.subject,
            x=where[one.mark][0],
            y=where[one.mark][1],
            mark=one.mark,
            a=one.latency,
            b=one.accuracy,
        )
        for one in sorted(spots, key=lambda one: one.subject, reverse=True)
    ]
    out += [
        Markup('<text class="mark" x="{x}%" y="{y}" text-anchor="middle">{mark}</text>').format(
            x=x, y=y - 9, mark=" ".join(marks)
        )
        for (x, y), marks in clusters(where).items()
    ]
    return Markup("").join([*out, Markup("</svg>")])


def clusters(places: Mapping[str, Place]) -> dict[Place, list[str]]:
    """Marks whose spots lie so near that their letters would, under one place."""
    found: dict[Place, list[str]] = {}
    for mark, (x, y) in sorted(places.items(), key=lambda one: one[1]):
        near = next(
            (at for at in found if abs(at[0] - x) < NEAR_X and abs(at[1] - y) < NEAR_Y), None
        )
        found.setdefault(near or (x, y), []).append(mark)
    return found
