"""A plan as lines of text: widths, shapes, competing granularities, costs by part."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.narrowing import Contest, Narrowing, Part, Width
from compressor.tables.text import INDENT, NAME, columns, few, merged, starred, wrapped
from compressor.types import Plan

MOST_WIDTHS = 40
MOST_PARTS = 30
MOST_CONTESTS = 6


def width_lines(made: Narrowing, *, everything: bool) -> list[str]:
    """Units of every group before and after, in network order.

    In a long list, groups that differ in the numbers of their paths alone share a line.
    """
    lines = ["Widths", f"  {'group':{NAME}} {'units are':18}  before -> after       kept"]
    if everything or len(made.widths) <= MOST_WIDTHS:
        for width in made.widths:
            lines += _width([width])
        return lines
    alike: dict[object, list[Width]] = {}
    for width in made.widths:
        alike.setdefault((starred(width.name), width.kind, width.before), []).append(width)
    shown = sorted(alike.values(), key=_left)[:MOST_WIDTHS]
    for widths in alike.values():
        if widths in shown:
            lines += _width(widths)
    hidden = len(made.widths) - sum(map(len, shown))
    more = (
        f"  ... {hidden} groups that lose less are not shown" if hidden else "  (alike ones merged)"
    )
    return [*lines, f"{more}; --all shows each of the {len(made.widths)}"]


def layer_lines(made: Narrowing) -> list[str]:
    """Shapes of all weights that change."""
    changed = [layer for layer in made.layers if layer.before != layer.after]
    lines = ["Weights that change shape"]
    for layer in changed:
        before, after = (" x ".join(map(str, shape)) for shape in (layer.before, layer.after))
        lines += columns(layer.parameter, f"{before} -> {after}")
    return lines


def part_lines(made: Narrowing, plan: Plan, *, everything: bool) -> list[str]:
    """Parameters and MACs before and after, by part and in all."""
    head = f"  {'part':14} {'parameters':>26} {'MACs':>28}"
    lines = ["Costs", head]
    shown = made.parts if everything else made.parts[:MOST_PARTS]
    for part in shown:
        lines += _part(part)
    if len(shown) < len(made.parts):
        lines.append(f"  ... {len(made.parts) - len(shown)} more parts; --all shows them")
    lines += _part(Part(name="in all", before=plan.before, after=plan.after))
    gone = 1 - plan.after.channels / plan.before.channels if plan.before.channels else 0.0
    lines.append(
        f"  {plan.before.channels:,} -> {plan.after.channels:,} units ({100 * gone:.1f} % fewer)"
    )
    return lines


def contest_lines(made: Narrowing, *, everything: bool) -> list[str]:
    """Where groups are factors of one dimension: which of them the plan cuts, and how far.

    Unless all are asked for, those alike but for the numbers of their paths share a line.
    """
    if not made.contests:
        return []
    alike: dict[object, list[Contest]] = {}
    for number, contest in enumerate(made.contests):
        paths = tuple(map(starred, contest.where))
        before = tuple((width.kind, width.before) for width in contest.widths)
        key = (paths, before, _verdict(contest))
        alike.setdefault(number if everything else key, []).append(contest)
    lines = ["Where granularities compete (factors of one dimension)"]
    found = list(alike.values())
    shown = found if everything else found[:MOST_CONTESTS]
    for contests in shown:
        lines += wrapped(_contest(contests), INDENT, first="  ")
    if len(shown) < len(found):
        rest = sum(map(len, found[len(shown) :]))
        lines.append(f"  ... {rest} more are not shown; --all shows them")
    return lines


def _contest(contests: list[Contest]) -> str:
    where = [merged(paths) for paths in zip(*(c.where for c in contests), strict=True)]
    factors = zip(*(contest.widths for contest in contests), strict=True)
    told = ", ".join(f"{w[0].kind} {w[0].before} -> {_after(w)}" for w in factors)
    times = f" (x {len(contests)})" if len(contests) > 1 else ""
    return f"{few(where, False, most=2)}: {told}; {_verdict(contests[0])}{times}"


def _verdict(contest: Contest) -> str:
    chosen = contest.chosen
    if not chosen:
        return "none is cut"
    if len(chosen) == len(contest.widths):
        return "all are cut"
    return f"cut: {' and '.join(dict.fromkeys(width.kind for width in chosen))}"


def _width(widths: Sequence[Width]) -> list[str]:
    first = widths[0]
    times = f"  x {len(widths)}" if len(widths) > 1 else ""
    kept = f"{100 * sum(w.after for w in widths) / sum(w.before for w in widths):.0f} %"
    row = f"{first.kind:18} {first.before:7} -> {_after(widths):9}  {kept:>5}{times}"
    return columns(merged([width.name for width in widths]), row)


def _after(widths: Sequence[Width]) -> str:
    """One width, or from the least to the most."""
    least, most = (extreme(width.after for width in widths) for extreme in (min, max))
    return f"{least}" if least == most else f"{least}-{most}"


def _left(widths: Sequence[Width]) -> float:
    return sum(width.after for width in widths) / sum(width.before for width in widths)


def _part(part: Part) -> list[str]:
    before, after = part.before, part.after
    params = f"{before.params:11,} -> {after.params:11,} {_gone(before.params, after.params)}"
    macs = f"{_short(before.macs):>8} -> {_short(after.macs):>8} {_gone(before.macs, after.macs)}"
    row = f"{params}  {macs}"
    if len(part.name) <= 14:
        return [f"  {part.name:14} {row}"]
    return [f"  {part.name}", f"  {'':14} {row}"]


def _gone(before: int, after: int) -> str:
    return f"{100 * (after / before - 1):+4.0f} %" if before else " " * 6


def _short(number: int) -> str:
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.2f} {letter}"
    return str(number)
