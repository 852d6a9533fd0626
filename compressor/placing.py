"""Where the stops of a picture stand, and the lines between them, in pixels.

Comes in: a ``Flow`` and which of its stops are slim.  Goes out: ``Placed``.  Rows are depths from
top to bottom; side by side stand what runs in parallel, in lanes.  Knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from compressor.flow import Flow

PAGE = 880  # width to fill, in pixels; more lanes than fit make it wider
NARROWEST, WIDEST = 150, 520  # of a box
GAP = 9  # between rows
LANE_GAP = 16
TRACK = 8  # between lines that pass by on the left of a lane
MOST_TRACKS = 5
MOST_LINES = 4  # into one join; the nearest are drawn
HEIGHTS = {"layer": 22, "join": 16, "operator": 18, "input": 18, "output": 18}
SLIM = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Left upper corners by stop, sizes, and SVG paths of the lines."""

    x: tuple[int, ...]
    y: tuple[int, ...]
    heights: tuple[int, ...]
    box_width: int
    width: int
    height: int
    paths: tuple[str, ...]
    hidden: Mapping[int, int]  # join -> incoming lines that are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """An edge that passes other stops of its own lane, on a track beside it."""

    start: int
    stop: int
    track: int


def place(flow: Flow, slim: Collection[int]) -> Placed:
    """Give every stop a lane and a row, and every edge a line."""
    above = _incoming(flow)
    lanes = _lanes(flow, above)
    hidden = {
        stop: len(sources) - MOST_LINES
        for stop, sources in above.items()
        if len(sources) > MOST_LINES
    }
    edges = [(source, stop) for stop, found in above.items() for source in found[-MOST_LINES:]]
    passing = _tracks(flow, lanes, edges)
    count = max(lanes, default=0) + 1
    gutter = LANE_GAP + TRACK * (max((line.track for line in passing.values()), default=-1) + 1)
    box = max(NARROWEST, min(WIDEST, (PAGE - gutter) // count - gutter))
    heights = tuple(
        SLIM if stop.kind == "layer" and number in slim else HEIGHTS[stop.kind]
        for number, stop in enumerate(flow.stops)
    )
    tops = _rows(flow, heights)
    x = tuple(gutter + lane * (box + gutter) for lane in lanes)
    y = tuple(tops[stop.depth] for stop in flow.stops)
    spot = _Spots(x=x, y=y, heights=heights, box=box)
    return Placed(
        x=x,
        y=y,
        heights=heights,
        box_width=box,
        width=count * (box + gutter) + gutter,
        height=max((top + h for top, h in zip(y, heights, strict=True)), default=0) + GAP,
        paths=tuple(
            spot.beside(line) if (line := passing.get(edge)) else spot.down(*edge, lanes)
            for edge in edges
        ),
        hidden=hidden,
    )


def _incoming(flow: Flow) -> dict[int, list[int]]:
    """Sources of every stop, the nearest last."""
    found: dict[int, list[int]] = {}
    for source, stop in flow.edges:
        found.setdefault(stop, []).append(source)
    return {
        stop: sorted(sources, key=lambda source: flow.stops[source].depth)
        for stop, sources in found.items()
    }


def _lanes(flow: Flow, above: Mapping[int, list[int]]) -> tuple[int, ...]:
    """A stop stands below the leftmost of its sources, or in the next lane that is free there."""
    lanes = [0] * len(flow.stops)
    taken: set[tuple[int, int]] = set()
    for number, stop in enumerate(flow.stops):
        lane = min((lanes[source] for source in above.get(number, ())), default=0)
        while (stop.depth, lane) in taken:
            lane += 1
        taken.add((stop.depth, lane))
        lanes[number] = lane
    return tuple(lanes)


def _tracks(
    flow: Flow, lanes: tuple[int, ...], edges: list[tuple[int, int]]
) -> dict[tuple[int, int], _Line]:
    """Edges inside a lane that pass other stops, each on the first track that is free there."""
    depths: dict[int, list[int]] = {}
    for number, stop in enumerate(flow.stops):
        depths.setdefault(lanes[number], []).append(stop.depth)
    busy: dict[tuple[int, int], int] = {}  # (lane, track) -> depth up to which it is in use
    found = {}
    for source, target in sorted(edges, key=lambda edge: flow.stops[edge[0]].depth):
        first, last, lane = flow.stops[source].depth, flow.stops[target].depth, lanes[source]
        if lane != lanes[target] or not any(first < depth < last for depth in depths[lane]):
            continue
        free = (t for t in range(MOST_TRACKS) if busy.get((lane, t), -1) <= first)
        track = next(free, MOST_TRACKS - 1)
        busy[lane, track] = last
        found[source, target] = _Line(start=source, stop=target, track=track)
    return found


def _rows(flow: Flow, heights: tuple[int, ...]) -> tuple[int, ...]:
    """The top of every depth: rows are as high as what stands in them."""
    deepest = max((stop.depth for stop in flow.stops), default=-1)
    tallest = [0] * (deepest + 1)
    for stop, height in zip(flow.stops, heights, strict=True):
        tallest[stop.depth] = max(tallest[stop.depth], height)
    tops, top = [], GAP
    for height in tallest:
        tops.append(top)
        top += height + GAP
    return tuple(tops)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spots:
    """Draws lines between placed boxes."""

    x: tuple[int, ...]
    y: tuple[int, ...]
    heights: tuple[int, ...]
    box: int

    def down(self, source: int, stop: int, lanes: tuple[int, ...]) -> str:
        """Straight down; over to another lane at the beginning or, to the left, at the end."""
        x0, x1 = (self.x[number] + self.box // 2 for number in (source, stop))
        y0, y1 = self.y[source] + self.heights[source], self.y[stop]
        if x0 == x1:
            return f"M{x0} {y0}V{y1}"
        middle = GAP if lanes[stop] > lanes[source] else max(y1 - y0 - GAP, 0)
        turn = y0 + (middle // 2 if lanes[stop] > lanes[source] else middle + GAP // 2)
        return f"M{x0} {y0}V{turn}H{x1}V{y1}"

    def beside(self, line: _Line) -> str:
        """Out to the left, down past the boxes between, and in again."""
        x0, left = self.x[line.start], self.x[line.start] - TRACK * (line.track + 1)
        y0 = self.y[line.start] + self.heights[line.start] // 2
        y1 = self.y[line.stop] + self.heights[line.stop] // 2
        x1 = x0 + self.box // 2
        out = f"M{x1} {y0}H{left + 4}Q{left} {y0} {left} {y0 + 4}"
        return f"{out}V{y1 - 4}Q{left} {y1} {left + 4} {y1}H{x1}"
