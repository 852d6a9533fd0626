"""Units before and after, group by group, in network order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.blocks import BarGroup, BarLine, Bars, Section, Text, keys
from benchmarks.entries import Entry
from benchmarks.figures import Phrase, derive, phrase, show
from benchmarks.formatting import grouped
from benchmarks.plots.bars import part_bar
from compressor.types import KeptUnits, Plan

DENSE = 70  # more groups than this are drawn as thin bars under headings
Numbered = tuple[int, KeptUnits]


def widths(plan: Plan | None) -> Section | None:
    """None where nothing was removed."""
    if plan is None:
        return None
    whole = Entry(msgspec.to_builtins(plan), "plan.json")
    dense = len(plan.groups) > DENSE
    said = phrase(
        derive("length", whole.get("groups"), form=grouped),
        " groups of units that only go together, in network order: ",
        show(whole.get("after", "channels"), grouped),
        " of ",
        show(whole.get("before", "channels"), grouped),
        " units stay. ",
        keys(("kept", "kept"), ("gone", "removed")),
    )
    return Section(
        title="Widths, before and after",
        blocks=(Text(said=said), Bars(groups=groups(plan, whole, dense=dense), dense=dense)),
    )


def groups(plan: Plan, whole: Entry, *, dense: bool) -> tuple[BarGroup, ...]:
    widest = max((group.units for group in plan.groups), default=1)
    return tuple(
        BarGroup(
            heading=heading(name, members, whole) if dense else phrase(),
            lines=tuple(line(number, group, whole, widest) for number, group in members),
        )
        for name, members in stages(plan.groups)
    )


def heading(name: str, members: Sequence[Numbered], whole: Entry) -> Phrase:
    entries = [whole.get("groups", number) for number, _ in members]
    before = derive("sum", *(one.get("units") for one in entries), form=grouped)
    after = derive("widths", *(one.get("kept") for one in entries), form=grouped)
    return phrase(name, " ", before, " → ", after)


def line(number: int, group: KeptUnits, whole: Entry, widest: int) -> BarLine:
    entry = whole.get("groups", number)
    before = show(entry.get("units"), grouped)
    after = derive("width", entry.get("kept"), form=grouped)
    gone = derive("gone", entry.get("units"), entry.get("kept"), form=grouped)
    return BarLine(
        name=shorten(group.name),
        bar=part_bar(group.width, group.units, widest),
        said=phrase(before, " → ", after),
        hint=phrase(group.name, ": ", before, " units, ", after, " kept, ", gone, " removed"),
    )


def stages(found: Sequence[KeptUnits]) -> list[tuple[str, list[Numbered]]]:
    """Neighbouring groups under headings by the part of the path they share."""
    told: list[tuple[str, list[Numbered]]] = []
    depth = heading_depth([group.name for group in found])
    for number, group in enumerate(found):
        name = ".".join(group.name.split(".")[:depth])
        if not told or told[-1][0] != name:
            told.append((name, []))
        told[-1][1].append((number, group))
    return told


def heading_depth(names: Sequence[str], fewest: int = 4) -> int:
    """How many parts of the paths to share a heading by: the first that gives ``fewest`` parts."""
    for depth in (1, 2, 3):
        if len({tuple(name.split(".")[:depth]) for name in names}) >= fewest:
            return depth
    return 1


def shorten(name: str, most: int = 30) -> str:
    """The end of a path says more than its beginning."""
    return name if len(name) <= most else "…" + name[-(most - 1) :]
