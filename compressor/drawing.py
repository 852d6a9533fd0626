"""The picture of a network by depth, on one self-contained page.

Comes in: an ``Explanation`` and a ``Flow``.  Goes out: HTML that loads nothing; its small script
only highlights, and the page is complete without it.  Pure: the same values give the same page.
Everything that is not a number is escaped.  Knows nothing of torch or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from compressor.dimensions import Parameter, Side
from compressor.explanation import Explanation, GroupFacts, layer_of
from compressor.flow import Flow, Stop
from compressor.placing import Placed, place
from compressor.tables.text import percent

CHARACTER = 6.7  # width of one at 11 pixels, in pixels
SEGMENT = 56  # coloured end of a box, in pixels; at most a fifth of the box
GOLDEN_ANGLE = 137.508  # neighbouring groups get hues far apart
SIGNS = {"add": "+", "sub": "-", "mul": "\N{MULTIPLICATION SIGN}", "cat": "cat", "matmul": "@"}
SIGNS |= {"bmm": "@", "scaled_dot_product_attention": "att", "div": "/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every box looks up."""

    parameters: Mapping[str, Parameter]
    groups: Mapping[int, GroupFacts]
    freezers: Mapping[str, str]  # node -> why it freezes


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A piece of a coloured end: a group's, or hatched."""

    group: int | None
    rows: int
    title: str


def render(explanation: Explanation, flow: Flow) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("compressor"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context = Context(
        parameters={p.name: p for p in explanation.parameters},
        groups={group.id: group for group in explanation.groups},
        freezers={
            facts.entry.node: facts.entry.reason for facts in explanation.frozen if facts.entry.node
        },
    )
    return environment.get_template("analysis.html.j2").render(
        explanation=explanation,
        model=explanation.model,
        picture=picture(flow, context),
        layers=sum(stop.kind == "layer" for stop in flow.stops),
        hue=hue,
        tone=tone,
        percent=percent,
    )


def hue(group: int) -> int:
    """The colour of a group, the same on every page."""
    return round(group * GOLDEN_ANGLE + 205) % 360


def tone(group: int) -> int:
    """One of three lightnesses, so that hues that come near each other differ."""
    return group % 3


def picture(flow: Flow, context: Context) -> Markup:
    """Stops from top to bottom by depth, edges below them."""
    slim = {
        number for number, stop in enumerate(flow.stops) if not _has_ends(stop, context.parameters)
    }
    placed = place(flow, slim)
    out = [
        Markup(
            '<svg class="net" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img">'
            "<title>The network by depth</title><defs>"
            '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><rect class="hatch-paper" width="6" height="6"/>'
            '<rect class="hatch-ink" width="2" height="6"/></pattern></defs>'
        ).format(w=placed.width, h=placed.height)
    ]
    out += [Markup('<path class="edge" d="{}"/>').format(path) for path in placed.paths]
    out += [_stop(stop, number, placed, context) for number, stop in enumerate(flow.stops)]
    return Markup("\n").join([*out, Markup("</svg>")])


def _stop(stop: Stop, number: int, placed: Placed, context: Context) -> Markup:
    x, y, height = placed.x[number], placed.y[number], placed.heights[number]
    if stop.kind == "layer":
        return _layer(stop, x, y, placed.box_width, height, context)
    reason = context.freezers.get(stop.node)
    text = stop.node if stop.kind == "input" else SIGNS.get(stop.op, stop.op)
    named = stop.op if stop.kind == "join" else text
    title = f"{named} {stop.where}".rstrip()
    hidden = placed.hidden.get(number, 0)
    if hidden:
        title += f" (joins {hidden} more values that are not drawn)"
    if reason is not None:
        title += f": {reason}"
    shown = f"{text} +{hidden}" if hidden else text
    wide = max(height, round(CHARACTER * len(shown)) + 10)
    return Markup(
        '<g class="{kind}"><title>{title} {source}</title><rect class="{fill}" x="{x}" y="{y}" '
        'width="{w}" height="{h}" rx="{r}"/>'
        '<text x="{cx}" y="{ty}" text-anchor="middle">{text}</text></g>'
    ).format(
        kind=stop.kind,
        title=title,
        source=stop.source,
        fill="hatched" if reason is not None and stop.kind in ("join", "operator") else "plain",
        x=x + (placed.box_width - wide) // 2,
        y=y,
        w=wide,
        h=height,
        r=height // 2,
        cx=x + placed.box_width // 2,
        ty=y + height // 2 + 4,
        text=shown,
    )


# -- layers ------------------------------------------------------------------------------------


def _layer(stop: Stop, x: int, y: int, width: int, height: int, context: Context) -> Markup:
    known = [context.parameters[name] for name in stop.parameters if name in context.parameters]
    reads, writes = _ends(known)
    name = layer_of(stop.parameters[0])
    segment = min(SEGMENT, width // 5)
    left = segment if reads else 0
    right = segment if writes else 0
    room = int((width - left - right - 12) / CHARACTER)
    groups = dict.fromkeys(share.group for p in known for side in p.sides for share in side.shares)
    out = [
        Markup(
            '<g class="layer{slim}" data-g="{groups}"><title>{title}</title>'
            '<rect class="box" x="{x}" y="{y}" width="{w}" height="{h}" rx="3"/>'
        ).format(
            slim="" if reads else " slim",
            groups=" ".join(map(str, groups)),
            title=_title(stop, name, known),
            x=x,
            y=y,
            w=width,
            h=height,
        )
    ]
    if reads:
        out.append(_end(reads, x, y, left, height, context))
    if writes:
        out.append(_end(writes, x + width - right, y, right, height, context))
    out.append(
        Markup('<text x="{x}" y="{y}">{name}</text></g>').format(
            x=x + left + 6, y=y + height // 2 + 4, name=_shortened(name, room)
        )
    )
    return Markup("").join(out)


def _title(stop: Stop, name: str, known: Sequence[Parameter]) -> str:
    shapes = (f"{p.name} {' x '.join(map(str, p.shape)) or 'scalar'}" for p in known)
    return "\n".join([f"{name} ({stop.op})", *shapes, *([stop.source] if stop.source else ())])


def _ends(known: Iterable[Parameter]) -> tuple[tuple[Side, ...], tuple[Side, ...]]:
    """Dimensions that read and that write; what only carries is shown as what it writes."""
    sides = [side for parameter in known for side in parameter.sides]
    telling = [side for side in sides if side.shares or any(stay.op for stay in side.stays)]
    reads = _distinct(side for side in telling if side.role == "reads")
    writes = _distinct(side for side in telling if side.role == "writes")
    return reads, writes or _distinct(side for side in telling if side.role == "carries")


def _has_ends(stop: Stop, parameters: Mapping[str, Parameter]) -> bool:
    reads, _ = _ends(parameters[name] for name in stop.parameters if name in parameters)
    return bool(reads)


def _distinct(sides: Iterable[Side]) -> tuple[Side, ...]:
    """One of each: weight, bias, gain and statistics of a layer mostly share their dimension."""
    return tuple({(s.size, s.shares, s.stays): s for s in sides}.values())


def _end(
    sides: Sequence[Side], x: int, y: int, width: int, height: int, context: Context
) -> Markup:
    """A coloured end: its dimensions side by side, and the largest size on top."""
    each = width / len(sides)
    out = [
        _dimension(side, x + each * number, y, each, height, context)
        for number, side in enumerate(sides)
    ]
    out.append(
        Markup('<text class="size" x="{x}" y="{y}" text-anchor="middle">{size}</text>').format(
            x=x + width // 2, y=y + height // 2 + 4, size=max(side.size for side in sides)
        )
    )
    return Markup("").join(out)


def _dimension(side: Side, x: float, y: int, width: float, height: int, context: Context) -> Markup:
    """Slices as wide as their rows; factors of the same rows stand below each other."""
    levels = _levels(side, context)
    tall = height / len(levels)
    out = []
    for number, level in enumerate(levels):
        start, rows = 0, sum(piece.rows for piece in level)
        for piece in level:
            out.append(
                Markup(
                    '<rect {what} x="{x}" y="{y}" width="{w}" height="{h}"><title>{t}</title>'
                    "</rect>"
                ).format(
                    what=_fill(piece),
                    x=round(x + width * start / rows, 1),
                    y=round(y + tall * number, 1),
                    w=round(width * piece.rows / rows, 1),
                    h=round(tall, 1),
                    t=piece.title,
                )
            )
            start += piece.rows
    return Markup("").join(out)


def _fill(piece: Slice) -> Markup:
    if piece.group is None:
        return Markup('class="hatched"')
    return Markup('class="g t{}" style="--h:{}" data-g="{}"').format(
        tone(piece.group), hue(piece.group), piece.group
    )


def _levels(side: Side, context: Context) -> list[list[Slice]]:
    """Slices of one dimension; rows of several groups at once fill it more than once."""
    levels: list[list[Slice]] = [[]]
    room = side.size
    for piece in _slices(side, context):
        if piece.rows > room and levels[-1]:
            levels.append([])
            room = side.size
        levels[-1].append(piece)
        room -= piece.rows
    return levels


def _slices(side: Side, context: Context) -> list[Slice]:
    found = []
    for share in side.shares:
        group = context.groups[share.group]
        title = (
            f"{side.role} {group.name}: {group.units} units ({group.kind}), "
            f"{'exact' if group.exact else 'not exact'}; {len(group.layers)} layers move together"
        )
        found.append(Slice(group=share.group, rows=share.rows, title=title))
    for stay in side.stays:
        place = " ".join(part for part in (stay.op, stay.where, stay.source) if part)
        found.append(
            Slice(group=None, rows=stay.rows, title=f"stays: {stay.reason}\n{place}".rstrip())
        )
    return found


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else "\N{HORIZONTAL ELLIPSIS}" + name[-(max(most, 2) - 1) :]
