"""What a probe found, as lines for the terminal.

Comes in: a ``Chosen`` and the groups' names.  Goes out: lines.  Measures and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from benchmarks.formatting import share
from benchmarks.probe.choices import Chosen
from compressor.staircases import TELLABLE, Choice
from compressor.tables.text import INDENT, few, wrapped


def number(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def probe_lines(found: Chosen, names: Sequence[str], *, everything: bool) -> list[str]:
    """``names`` of the groups.  Groups of the same widths share a line.  The first is a heading."""
    probe, place = found.probe, found.probe.environment
    threads = number(place["threads"], "thread", "threads")
    lines = [
        f"Widths worth having on {probe.target.name}, {threads}, batch {place['batch']}",
        f"  {place['runtime']} {place['version']}, {place['cpu']}; "
        f"{number(len(probe.staircases), 'staircase', 'staircases')}, {probe.new} measured now",
        "",
    ]
    alike: dict[object, list[Choice]] = {}
    for choice in found.choices:
        if choice.worth:
            alike.setdefault((choice.units, choice.worth), []).append(choice)
    for some in alike.values():
        cost, noise = (
            share(max(getattr(one, field) for one in some), 0)
            for field in ("largest_waste", "noise")
        )
        whole = f"{number(len(some), 'group', 'groups')} of {some[0].units}:"
        lines.append(f"  {whole:18} {' '.join(map(str, some[0].worth))}")
        named = few((names[one.group] for one in some), everything)
        lines += wrapped(f"a wrong width costs up to {cost}, noise {noise}; {named}", INDENT)
    return [*lines, *(line for text in _caveats(found) for line in wrapped(text, "  "))]


def document(found: Chosen, names: Sequence[str]) -> dict[str, Any]:
    """The same as plain values, and all that was measured of the groups."""
    groups = [
        {"name": name, **msgspec.to_builtins(choice)}
        for name, choice in zip(names, found.choices, strict=True)
    ]
    return {"format": 1, "target": found.facts(), "groups": groups}


def _caveats(found: Chosen) -> Iterator[str]:
    noisy = [one for one in found.choices if one.layers and not one.worth]
    if noisy:
        worst = max(one.noise for one in noisy)
        yield (
            f"too noisy to tell: {len(noisy)} groups, where the same width measured twice differs "
            f"by up to {share(worst)} (above {share(TELLABLE, 0)}); they get multiples as without "
            "a target. Probe again on a quieter machine, or with more --minutes and --anew"
        )
    blind = sum(not one.layers for one in found.choices)
    if blind:
        yield (
            f"not measured: {blind} groups, whose layers take next to no time, are of a kind that "
            "is not probed, or had no turn; they get multiples as without a target"
        )
    if found.probe.missing:
        missing = number(len(found.probe.missing), "staircase", "staircases")
        yield f"the time did not do for {missing}; the same command again measures them"


def note(found: Chosen) -> str:
    """One line for a build."""
    told = [one for one in found.choices if one.worth]
    noise = max((one.noise for one in told), default=0.0)
    cost = max((one.largest_waste for one in told), default=0.0)
    return (
        f"widths for {found.probe.target.name}: known for {len(told)} of {len(found.choices)} "
        f"groups, noise up to {share(noise)}, a wrong width costs a group up to {share(cost, 0)}"
    )
