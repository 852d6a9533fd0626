"""What a person asks of an analysis: what can go, what stays and why, and who moves with whom.

Comes in: a graph, its labelling and its ``Analysis``.  Goes out: an ``Explanation``, plain values
by path.  Knows nothing of plans, terminals or pages.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import msgspec

from compressor.dimensions import Parameter, Place, count, parameter_sides, places_of_ends
from compressor.errors import OptionError
from compressor.graphs import Graph
from compressor.kinds import group_kinds
from compressor.labelling import Labelling
from compressor.types import Analysis, Frozen, Group, Member, ModelFacts, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group as people ask about it; layers are module paths, in network order."""

    id: int
    name: str
    kind: str
    units: int
    exact: bool
    parameters: int  # elements of parameters in its rows
    writes: tuple[str, ...]
    carries: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that move together."""
        return tuple(dict.fromkeys((*self.writes, *self.carries, *self.reads)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenFacts:
    """A reason, what it costs (elements of parameters), and the parameters it holds in place."""

    entry: Frozen
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answers.  Groups and frozen entries come dearest first, parameters in network order."""

    model: ModelFacts
    prunable_parameters: float
    groups: tuple[GroupFacts, ...]
    frozen: tuple[FrozenFacts, ...]
    parameters: tuple[Parameter, ...]

    @property
    def freezers(self) -> frozenset[str]:
        """Nodes that freeze something."""
        return frozenset(facts.entry.node for facts in self.frozen if facts.entry.node)

    def group(self, number: int) -> GroupFacts:
        """The group with this id."""
        return next(group for group in self.groups if group.id == number)


def explain(graph: Graph, labelling: Labelling, analysis: Analysis) -> Explanation:
    """Answer for the whole network.  All three must be of the same graph."""
    places = places_of_ends(graph)
    parameters = parameter_sides(labelling, analysis, places)
    sizes = {item.name: prod(item.shape) for item in labelling.stored if item.trained}
    shapes = {item.name: item.shape for item in labelling.stored}
    kinds = group_kinds(graph, labelling)
    names = distinct_names(analysis.groups, kinds)
    groups = []
    for group, kind, name in zip(analysis.groups, kinds, names, strict=True):
        writes, reads = _layers(group.members, "writes"), _layers(group.members, "reads")
        carries = _layers(group.members, "carries")
        groups.append(
            GroupFacts(
                id=group.id,
                name=name,
                kind=kind,
                units=group.units,
                exact=group.exact,
                parameters=_touched(group.members, shapes, sizes),
                writes=writes,
                carries=tuple(layer for layer in carries if layer not in {*writes, *reads}),
                reads=reads,
            )
        )
    return Explanation(
        model=analysis.model,
        prunable_parameters=analysis.prunable_parameters,
        groups=tuple(sorted(groups, key=lambda group: -group.parameters)),
        frozen=_frozen(analysis, parameters, places),
        parameters=parameters,
    )


def distinct_names(groups: Sequence[Group], kinds: Sequence[str]) -> tuple[str, ...]:
    """Names of groups, with the id where another group of the kind has the name too."""
    counts = Counter((group.name, kind) for group, kind in zip(groups, kinds, strict=True))
    return tuple(
        f"{group.name} #{group.id}" if counts[group.name, kind] > 1 else group.name
        for group, kind in zip(groups, kinds, strict=True)
    )


def layer_of(parameter: str) -> str:
    """Path of the module that owns a parameter; its own name where it has no owner."""
    return parameter.rpartition(".")[0] or parameter


def find(explanation: Explanation, path: str) -> tuple[Parameter, ...]:
    """The parameters at or below ``path``, a module's or a parameter's; tied names count too.

    Raises OptionError when nothing is there; the message names what comes nearest.
    """
    found = tuple(
        parameter
        for parameter in explanation.parameters
        if any(f"{name}.".startswith(f"{path}.") for name in (parameter.name, *parameter.aliases))
    )
    if found:
        return found
    names = [name for p in explanation.parameters for name in (p.name, *p.aliases)]
    paths = dict.fromkeys(part for name in names for part in _prefixes(name))
    near = difflib.get_close_matches(path, paths, n=3, cutoff=0.5)
    hint = f"the nearest: {', '.join(near)}" if near else "analyze --all lists the names"
    raise OptionError(f"--layer {path}: no such module or parameter in the network; {hint}")


def document(
    analysis: Analysis, explanation: Explanation, layers: Iterable[Parameter] = ()
) -> dict[str, Any]:
    """The analysis in its file's form, with the answers added; ``layers`` where one was asked."""
    plain: dict[str, Any] = msgspec.to_builtins(analysis)
    for group in plain["groups"]:
        facts = explanation.group(group["id"])
        layered = {"writes": facts.writes, "carries": facts.carries, "reads": facts.reads}
        group.update(kind=facts.kind, parameters=facts.parameters, layers=layered)
    for entry, told in zip(plain["frozen"], explanation.frozen, strict=True):
        entry["held"] = told.held
    asked = [msgspec.to_builtins(parameter) for parameter in layers]
    return {**plain, "layers": asked} if asked else plain


def _prefixes(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _layers(members: Iterable[Member], role: Role) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer_of(m.parameter) for m in members if m.role == role))


def _touched(
    members: Iterable[Member], shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]
) -> int:
    """Elements of trained parameters in a row of any of these members."""
    staying: dict[str, float] = {}
    for member in members:
        if member.parameter in sizes:
            share = count(member.rows) / shapes[member.parameter][member.dim]
            staying[member.parameter] = staying.get(member.parameter, 1.0) * (1.0 - share)
    return round(sum(sizes[name] * (1.0 - share) for name, share in staying.items()))


def _frozen(
    analysis: Analysis, parameters: tuple[Parameter, ...], places: Mapping[str, Place]
) -> tuple[FrozenFacts, ...]:
    held: dict[tuple[str, str], dict[str, None]] = {}
    for parameter in parameters:
        for side in parameter.sides:
            for stay in side.stays:
                if parameter.trained:
                    held.setdefault((stay.node, stay.reason), {})[parameter.name] = None
    found = []
    for entry in analysis.frozen:
        where, source = places.get(entry.node, (entry.where, entry.source))
        holds = tuple(held.get((entry.node, entry.reason), {}))
        placed = replace(entry, where=where, source=source)
        found.append(FrozenFacts(entry=placed, held=holds))
    return tuple(found)
