"""What can be pruned, what stays and why, and one layer's answer, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.dimensions import Parameter, Side, Stay
from compressor.explanation import Explanation, FrozenFacts, GroupFacts
from compressor.tables.text import INDENT, NAME, columns, few, merged, percent, starred, wrapped
from compressor.types import Frozen

MOST_GROUPS = 12
MOST_FROZEN = 8
MOST_PARAMETERS = 12


def group_lines(found: Explanation, *, everything: bool) -> list[str]:
    """What can be pruned, largest first.  Cut lists show groups that differ by a number once."""
    if not found.groups:
        return ["Nothing can be pruned."]
    head = f"  {'group':{NAME}} {'units are':18} units  exact  parameters"
    lines = ["What can be pruned, largest first", head]
    alike = [(group,) for group in found.groups] if everything else _alike(found.groups)
    shown = alike if everything else alike[:MOST_GROUPS]
    for groups in shown:
        lines += _group(groups, everything)
    if len(shown) < len(found.groups):
        hidden = sum(len(groups) for groups in alike[len(shown) :])
        more = f"  ... {hidden} smaller groups are not shown" if hidden else "  (alike ones merged)"
        lines.append(f"{more}; --all lists each of the {len(found.groups)}")
    if not all(group.exact for group in found.groups):
        lines += wrapped(
            "exact no: a norm, mean or softmax runs over the units; what is proved there is the "
            "network with that operation restricted to the kept ones",
            "  ",
        )
    return lines


def frozen_lines(found: Explanation, *, everything: bool) -> list[str]:
    """What stays, why, where in the model's source, and what it costs, dearest first."""
    if not found.frozen:
        return ["Nothing is frozen."]
    lines = ["What stays, and why", "  parameters  reason"]
    shown = found.frozen if everything else found.frozen[:MOST_FROZEN]
    for facts in shown:
        lines += _reason(facts, everything)
    hidden = found.frozen[len(shown) :]
    if hidden:
        held = sum(facts.entry.parameters for facts in hidden)
        lines.append(f"  ... and {len(hidden)} more ({held:,} parameters); --all lists them")
    return lines


def summary_lines(found: Explanation) -> list[str]:
    """How large the network is and how much of it can go."""
    model = found.model
    stuck = round((1 - found.prunable_parameters) * model.parameters)
    groups = "1 group" if len(found.groups) == 1 else f"{len(found.groups)} groups"
    return [
        f"{model.architecture}: {model.parameters:,} parameters, "
        f"{model.macs:,} MACs for one sample",
        f"{percent(found.prunable_parameters)} of the parameters can be pruned, in {groups}; "
        f"{stuck:,} are in none",
    ]


def parameter_lines(
    found: Explanation, parameters: Sequence[Parameter], *, everything: bool
) -> list[str]:
    """One parameter or module: its dimensions, who moves with each, or why it stays."""
    lines = []
    shown = parameters if everything else parameters[:MOST_PARAMETERS]
    for parameter in shown:
        size = " x ".join(map(str, parameter.shape)) or "one number"
        same = f", the same as {', '.join(parameter.aliases)}" if parameter.aliases else ""
        buffer = "" if parameter.trained else ", a buffer"
        lines.append(f"{parameter.name}  ({size}{same}{buffer})")
        for side in parameter.sides:
            lines += _side(side, parameter.name, found, everything)
    if len(shown) < len(parameters):
        lines.append(f"... {len(parameters) - len(shown)} more parameters; --all shows them")
    return lines


def _group(groups: Sequence[GroupFacts], everything: bool) -> list[str]:
    first = groups[0]
    name = merged([group.name for group in groups])
    times = f"  x {len(groups)}" if len(groups) > 1 else ""
    row = (
        f"{first.kind:18} {first.units:6}  {'yes' if first.exact else 'no':5} "
        f"{first.parameters:11,}{times}"
    )
    lines = columns(name, row)
    for word, role in (("written by", "writes"), ("read by", "reads")):
        of_each = [getattr(group, role) for group in groups]
        if of_each[0]:
            told = map(merged, zip(*of_each, strict=True))
            lines += wrapped(f"{word} {few(told, everything)}", INDENT)
    if everything and first.carries:
        lines += wrapped(f"carried by {few(first.carries, everything)}", INDENT)
    return lines


def _alike(groups: Sequence[GroupFacts]) -> list[tuple[GroupFacts, ...]]:
    """Groups that differ in the numbers of their paths alone, in the order of the first."""
    found: dict[object, list[GroupFacts]] = {}
    for group in groups:
        key = (
            starred(group.name), group.kind, group.units, group.exact, group.parameters,
            tuple(map(starred, group.writes)), tuple(map(starred, group.reads)),
        )  # fmt: skip
        found.setdefault(key, []).append(group)
    return [tuple(same) for same in found.values()]


def _reason(facts: FrozenFacts, everything: bool) -> list[str]:
    entry = facts.entry
    lines = wrapped(f"  {entry.parameters:10,}  {entry.reason}", " " * 14, first="")
    place = _place(entry)
    if place:
        lines += wrapped(place, " " * 14)
    if facts.held:
        lines += wrapped(f"holds {few(facts.held, everything)}", " " * 14)
    return lines


def _place(told: Frozen | Stay) -> str:
    """Operator, module and line; the end and the beginning of a network are no operators."""
    operator = f"operator {told.op}" if told.op.startswith("aten.") else ""
    module = f"in {told.where}" if told.where else ""
    return ", ".join(part for part in (f"{operator} {module}".strip(), told.source) if part)


def _side(side: Side, name: str, found: Explanation, everything: bool) -> list[str]:
    lines = []
    for share in side.shares:
        group = found.group(share.group)
        exact = "exact" if group.exact else "not exact"
        lines += wrapped(
            f"dimension {side.dim}, {share.rows} of {side.size} rows: {side.role} group "
            f"{group.name} ({group.kind}, {group.units} units, {exact})",
            "  ",
        )
        others = [layer for layer in group.layers if not name.startswith(f"{layer}.")]
        moving = few(others, everything) if others else "nothing else"
        lines += wrapped(f"moves with {moving}", INDENT)
    for stay in side.stays:
        place = _place(stay)
        lines += wrapped(
            f"dimension {side.dim}, {stay.rows} of {side.size} rows: stays, {stay.reason}", "  "
        )
        lines += wrapped(place, INDENT) if place else []
    return lines
