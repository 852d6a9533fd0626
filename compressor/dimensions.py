"""Parameters dimension by dimension: which groups hold their rows, and why other rows stay.

Comes in: a graph, its labelling and its ``Analysis``.  Goes out: plain values by path.  Knows
nothing of plans, terminals or pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.graphs import Graph
from compressor.labelling import Labelling, Stored, frozen_reason
from compressor.labels import FIXED, Matrix
from compressor.types import Analysis, Role, Spans

ALONE = "is the only unit of its group: removing it would empty a dimension"
KERNEL = "is a kernel, batch or space dimension"

Place = tuple[str, str]  # module path, source line


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Rows of one dimension that belong to a group."""

    group: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Rows of one dimension that stay, and why."""

    rows: int
    reason: str
    op: str = ""
    where: str = ""
    source: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One dimension of a parameter.  Rows of several groups at once are in several shares."""

    dim: int
    size: int
    role: Role
    shares: tuple[Share, ...]
    stays: tuple[Stay, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter or buffer that the analysis follows, dimension by dimension."""

    name: str
    aliases: tuple[str, ...]  # other names of the same tensor
    shape: tuple[int, ...]
    trained: bool
    sides: tuple[Side, ...]


def places_of_ends(graph: Graph) -> dict[str, Place]:
    """Inputs and outputs have no line of their own: that of the call beside them is told."""
    found = {}
    for node in graph.program.graph.nodes:
        if node.op in ("placeholder", "output"):
            beside = node.users if node.op == "placeholder" else node.all_input_nodes
            told = (n.meta for n in beside if isinstance(n.meta.get("shape"), tuple))
            meta: Mapping[str, str] = next((meta for meta in told if meta.get("source")), {})
            found[node.name] = (meta.get("where", ""), meta.get("source", ""))
    return found


def count(rows: Spans) -> int:
    """Number of rows."""
    return sum(stop - start for start, stop in rows)


def parameter_sides(
    labelling: Labelling, analysis: Analysis, places: Mapping[str, Place]
) -> tuple[Parameter, ...]:
    """All trained parameters, and buffers that groups reach, in network order."""
    shares: dict[tuple[str, int], list[Share]] = {}
    roles: dict[tuple[str, int], Role] = {}
    for group in analysis.groups:
        for member in group.members:
            key = (member.parameter, member.dim)
            shares.setdefault(key, []).append(Share(group=group.id, rows=count(member.rows)))
            roles[key] = member.role
    found = []
    for item in labelling.stored:
        sides = tuple(
            Side(
                dim=dim,
                size=size,
                role=roles.get((item.name, dim)) or _role(labelling, item, dim),
                shares=tuple(shares.get((item.name, dim), ())),
                stays=_stays(labelling, item, dim, places),
            )
            for dim, size in enumerate(item.shape)
        )
        if item.trained or any(side.shares for side in sides):
            found.append(
                Parameter(
                    name=item.name,
                    aliases=item.aliases,
                    shape=item.shape,
                    trained=item.trained,
                    sides=sides,
                )
            )
    return tuple(found)


def _role(labelling: Labelling, item: Stored, dim: int) -> Role:
    roles = [labelling.record.roles.get((name, dim)) for name in (item.name, *item.aliases)]
    return next((role for role in roles if role is not None), "carries")


def _stays(
    labelling: Labelling, item: Stored, dim: int, places: Mapping[str, Place]
) -> tuple[Stay, ...]:
    """Rows of a dimension that no group holds, by reason, most rows first."""
    labels = item.dims[dim]
    if labels is None:
        return () if item.shape[dim] != 1 else (Stay(rows=1, reason="has size one"),)
    rows = labelling.rows(labels)
    free = np.zeros(len(labels), dtype=bool) if rows is None else (rows > 0).any(axis=1)
    if free.all():
        return ()
    parts = _by_reason(labelling, labels[~free])
    told = [_stay(labelling, raw, rows, places) for raw, rows in parts]
    return tuple(sorted(told, key=lambda stay: -stay.rows))


def _by_reason(labelling: Labelling, raw: Matrix) -> list[tuple[Matrix, int]]:
    """Label rows that stay, cut by the reason of their first unit where all have one."""
    roots = labelling.record.units.find(raw[:, 0])
    if not (roots < len(labelling.record.reasons) + FIXED + 1).all():
        return [(raw, len(raw))]
    ids: NDArray[np.int64] = np.unique(roots)
    return [(raw[roots == number], int((roots == number).sum())) for number in ids]


def _stay(labelling: Labelling, raw: Matrix, rows: int, places: Mapping[str, Place]) -> Stay:
    leaves = labelling.record.units.resolve(raw)
    if leaves.size and labelling.single[leaves].any():
        return Stay(rows=rows, reason=ALONE)
    told = labelling.record.told(frozen_reason(labelling, raw))
    if told is None:
        return Stay(rows=rows, reason=KERNEL)
    where, source = places.get(told.node, (told.where, told.source))
    return Stay(
        rows=rows,
        reason=told.text,
        op=told.op,
        where=where,
        source=source,
        node=told.node,
    )
