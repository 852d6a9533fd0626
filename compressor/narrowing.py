"""What a plan does to a network, said layer by layer: widths, parts, and choices between factors.

Comes in: a graph, its ``Analysis`` and a ``Plan``.  Goes out: a ``Narrowing``, plain values.
Costs are those of ``compressor.costs``; nothing is decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from compressor.costs import KeepMask, cost, cost_table, decode
from compressor.explanation import distinct_names, layer_of
from compressor.graphs import Graph
from compressor.kinds import group_kinds
from compressor.labelling import Labelling, label
from compressor.planning import keep_mask
from compressor.types import Analysis, Costs, CostTerm, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Units of a group before and after."""

    group: int
    name: str
    kind: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A weight that changes shape (layers whose parameters have one dimension follow theirs)."""

    parameter: str
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the network, by the beginning of the path; channels are not counted by part."""

    name: str
    before: Costs
    after: Costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Groups that are factors of one dimension: the plan may cut any of them, or several."""

    where: tuple[str, ...]  # layers with such a dimension
    widths: tuple[Width, ...]

    @property
    def chosen(self) -> tuple[Width, ...]:
        """The factors that are cut."""
        return tuple(width for width in self.widths if width.after < width.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """All of it, in network order."""

    widths: tuple[Width, ...]
    layers: tuple[Layer, ...]
    parts: tuple[Part, ...]
    contests: tuple[Contest, ...]


def narrow(graph: Graph, analysis: Analysis, plan: Plan) -> Narrowing:
    """Say what ``plan`` does; raises ``PlanError`` where it is for another structure."""
    labelling = label(graph)
    kinds = group_kinds(graph, labelling)
    keep = keep_mask(analysis, plan)
    names = distinct_names(analysis.groups, kinds)
    widths = tuple(
        Width(group=kept.group, name=name, kind=kind, before=kept.units, after=kept.width)
        for kept, kind, name in zip(plan.groups, kinds, names, strict=True)
    )
    return Narrowing(
        widths=widths,
        layers=_layers(labelling, keep),
        parts=_parts(analysis, keep),
        contests=_contests(analysis, widths),
    )


def _layers(labelling: Labelling, keep: KeepMask) -> tuple[Layer, ...]:
    found = []
    for item in labelling.stored:
        if not item.trained or len(item.shape) < 2:
            continue
        stays = [labelling.kept(labels, keep) for labels in item.dims]
        after = tuple(
            size if rows is None else int(np.count_nonzero(rows))
            for size, rows in zip(item.shape, stays, strict=True)
        )
        found.append(Layer(parameter=item.name, before=item.shape, after=after))
    return tuple(found)


# -- parts of the network ----------------------------------------------------------------------


def _parts(analysis: Analysis, keep: KeepMask) -> tuple[Part, ...]:
    """Costs by the beginning of the path."""
    depth = part_depth(
        [(_path(t), _whole(analysis, t)) for t in analysis.costs if t.of == "params"]
    )
    terms: dict[str, list[CostTerm]] = {}
    for term in analysis.costs:
        name = ".".join(_path(term).split(".")[:depth]) or "(no module)"
        terms.setdefault(name, []).append(term)
    whole = np.ones_like(keep)
    found = []
    for name, part in terms.items():
        portion = _portion(analysis, part)
        found.append(Part(name=name, before=cost(portion, whole), after=cost(portion, keep)))
    return tuple(found)


def _portion(analysis: Analysis, terms: Sequence[CostTerm]) -> Analysis:
    """The same units, with these costs alone."""
    used = sorted({axis for term in terms for axis in term.axes})
    place = {axis: number for number, axis in enumerate(used)}
    costs = tuple(replace(t, axes=tuple(place[axis] for axis in t.axes)) for t in terms)
    return replace(analysis, axes=tuple(analysis.axes[axis] for axis in used), costs=costs)


def _path(term: CostTerm) -> str:
    return layer_of(term.where) if term.of == "params" else term.where


def _whole(analysis: Analysis, term: CostTerm) -> int:
    return term.factor * prod(analysis.axes[axis].size for axis in term.axes)


def part_depth(sizes: Sequence[tuple[str, int]], most: int = 24) -> int:
    """How many pieces of a path name a part, given paths and their parameters.

    As many as it takes for no part to hold half of all, unless there were more than ``most`` then.
    """
    best = 1
    for depth in (1, 2, 3, 4):
        parts: Counter[str] = Counter()
        for path, size in sizes:
            parts[".".join(path.split(".")[:depth])] += size
        if len(parts) > most:
            break
        best = depth
        if max(parts.values(), default=0) <= 0.5 * parts.total():
            break
    return best


# -- factors of one dimension ------------------------------------------------------------------


def _contests(analysis: Analysis, widths: Sequence[Width]) -> tuple[Contest, ...]:
    """Groups that meet in one row of a parameter's dimension, each combination once."""
    offsets = cost_table(analysis).offsets
    met: list[tuple[tuple[int, ...], ...]] = []
    for axis in analysis.axes:
        units = decode(axis)
        groups = np.where(units > 0, np.searchsorted(offsets, units, side="right") - 1, -1)
        combined = {tuple(dict.fromkeys(row)) for row in np.unique(groups, axis=1).T.tolist()}
        found = (tuple(sorted(g for g in row if g >= 0)) for row in combined)
        met.append(tuple(row for row in found if len(row) > 1))
    where: dict[tuple[int, ...], dict[str, None]] = {}
    for term in analysis.costs:
        if term.of == "params":
            for number in term.axes:
                for row in met[number]:
                    where.setdefault(row, {})[layer_of(term.where)] = None
    return tuple(
        Contest(where=tuple(layers), widths=tuple(widths[group] for group in row))
        for row, layers in sorted(where.items())
    )
