"""Analysis: what moves together, what stays and why, what each part costs.

Comes in: a ``Graph``.  Goes out: an ``Analysis``, plain data that survives JSON.  Knows nothing of
scores, budgets or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from compressor.annotation import repeated
from compressor.graphs import Graph
from compressor.labelling import Labelling, Stored, frozen_reason, label
from compressor.labels import Labels, Matrix
from compressor.types import (
    ANALYSIS_FORMAT,
    Analysis,
    Axis,
    CostTerm,
    Frozen,
    Group,
    Input,
    Member,
    ModelFacts,
    Role,
    Span,
    Spans,
)


def analyze(graph: Graph) -> Analysis:
    """Groups, frozen dimensions with reasons, and cost terms of a captured network."""
    return summarize(graph, label(graph))


def summarize(graph: Graph, labelling: Labelling) -> Analysis:
    """The plain form of a labelling."""
    axes = _Axes(labelling)
    costs = (*_parameter_terms(labelling, axes), *_work_terms(graph, labelling, axes))
    whole = {
        kind: sum(
            term.factor * prod(axes.found[axis].size for axis in term.axes)
            for term in costs
            if term.of == kind
        )
        for kind in ("params", "macs")
    }
    members = _members(labelling)
    groups = tuple(
        Group(
            id=index,
            name=_group_name(members[index], index),
            units=len(group.units),
            exact=group.exact,
            members=tuple(members[index]),
        )
        for index, group in enumerate(labelling.groups)
    )
    return Analysis(
        format=ANALYSIS_FORMAT,
        fingerprint=graph.fingerprint,
        model=ModelFacts(
            architecture=graph.architecture, parameters=whole["params"], macs=whole["macs"]
        ),
        groups=groups,
        frozen=_frozen(labelling),
        prunable_parameters=_prunable_share(labelling),
        axes=tuple(axes.found),
        costs=costs,
        inputs=tuple(_inputs(graph)),
    )


def _inputs(graph: Graph) -> Iterator[Input]:
    nodes = [n for n in graph.program.graph.find_nodes(op="placeholder") if "free" in n.meta]
    for node, example in zip(nodes, graph.example_inputs, strict=False):
        dtype = str(example.dtype).removeprefix("torch.")
        shape, free = tuple(example.shape), node.meta["free"]
        yield Input(name=str(node.target), shape=shape, dtype=dtype, free=free)


def _group_name(members: list[Member], index: int) -> str:
    """Path of the module that first writes the units."""
    writers = [m for m in members if m.role == "writes"] or members
    return writers[0].parameter.rpartition(".")[0] or writers[0].parameter or f"group {index}"


def _members(labelling: Labelling) -> list[list[Member]]:
    found: list[list[Member]] = [[] for _ in labelling.groups]
    known: dict[bytes, tuple[tuple[int, Spans], ...]] = {}
    for item in labelling.stored:
        for dim, labels in enumerate(item.dims):
            rows = labelling.rows(labels)
            if rows is None:
                continue
            key = repr(rows.shape).encode() + rows.tobytes()
            if key not in known:  # a layer's weight, bias and norm hold the same rows
                known[key] = _spans_by_group(labelling.group_of[rows])
            names = (item.name, *item.aliases)
            roles = [labelling.record.roles.get((name, dim)) for name in names]
            role: Role = next((role for role in roles if role is not None), "carries")
            for index, touched in known[key]:
                found[index].append(Member(parameter=item.name, dim=dim, rows=touched, role=role))
    return found


def _spans_by_group(groups: Matrix) -> tuple[tuple[int, Spans], ...]:
    """The rows that hold each group, from the groups of every row (-1: none), shape (n, k)."""
    inside = groups >= 0
    rows, present = np.nonzero(inside)[0], groups[inside]
    if (np.diff(present) < 0).any():
        order = np.argsort(present, kind="stable")  # of equal groups the rows stay ascending
        rows, present = rows[order], present[order]
    breaks = np.flatnonzero((np.diff(present) != 0) | (np.diff(rows) > 1)) + 1
    starts = np.concatenate([[0], breaks])
    stops = np.concatenate([breaks, [len(rows)]]) - 1
    found: dict[int, list[Span]] = {}
    ends = zip(rows[starts].tolist(), (rows[stops] + 1).tolist(), strict=True)
    for index, span in zip(present[starts].tolist(), ends, strict=True):
        found.setdefault(index, []).append(span)
    return tuple((index, tuple(entries)) for index, entries in found.items())


def _prunable(labelling: Labelling, item: Stored) -> tuple[NDArray[np.bool_], ...]:
    """Per dimension, which rows belong to a group."""
    found: list[NDArray[np.bool_]] = []
    for size, labels in zip(item.shape, item.dims, strict=True):
        rows = labelling.rows(labels)
        whole = np.zeros(size, dtype=bool)
        found.append(whole if rows is None else np.asarray((rows > 0).any(axis=1)))
    return tuple(found)


def _prunable_share(labelling: Labelling) -> float:
    """Share of parameter elements with at least one removable row."""
    total = staying = 0.0
    for item in labelling.stored:
        if item.trained:
            shares = [
                float(rows.mean()) if rows.size else 0.0 for rows in _prunable(labelling, item)
            ]
            total += prod(item.shape)
            staying += prod(item.shape) * prod(1.0 - share for share in shares)
    return 1.0 - staying / total if total else 0.0


def _frozen(labelling: Labelling) -> tuple[Frozen, ...]:
    """Every reason with the parameter elements it freezes, dearest first.

    Reasons that touch no parameter are left out, except operators without a rule: those are told
    always.
    """
    elements: dict[int, int] = {}
    alone = 0
    for item in labelling.stored:
        for dim, (labels, rows) in enumerate(
            zip(item.dims, _prunable(labelling, item), strict=True)
        ):
            if labels is None or not item.trained or rows.all():
                continue
            others = prod(item.shape) // item.shape[dim]
            raw = labels[~rows]
            leaves = labelling.record.units.resolve(raw)
            if leaves.size and labelling.single[leaves].any():
                alone += others * len(raw)
            for reason, count in _reasons(labelling, raw):
                elements[reason] = elements.get(reason, 0) + count * others
    found = [
        Frozen(
            where=told.where,
            op=told.op,
            reason=told.text,
            parameters=elements.get(number, 0),
            node=told.node,
            source=told.source,
        )
        for number, told in enumerate(labelling.record.reasons, start=2)
        if elements.get(number) or told.text.startswith("no rule")
    ]
    if alone:
        text = "is the only unit of its group: removing it would empty a dimension"
        found.append(Frozen(where="", op="", reason=text, parameters=alone))
    return tuple(sorted(found, key=lambda entry: -entry.parameters))


def _reasons(labelling: Labelling, raw: Matrix) -> list[tuple[int, int]]:
    """Reason ids of frozen rows, with the number of rows of each."""
    whole = frozen_reason(labelling, raw)
    roots = labelling.record.units.find(raw[:, :1])
    if (roots < len(labelling.record.reasons) + 2).all():
        ids, counts = np.unique(roots, return_counts=True)
        return list(zip(ids.tolist(), counts.tolist(), strict=True))
    return [(whole, len(raw))]


# -- cost --------------------------------------------------------------------------------------


class _Axes:
    """Distinct label matrices, each written once."""

    def __init__(self, labelling: Labelling) -> None:
        self.labelling = labelling
        self.found: list[Axis] = []
        self._index: dict[bytes, int] = {}

    def add(self, rows: Matrix) -> int:
        key = repr(rows.shape).encode() + rows.tobytes()
        if key not in self._index:
            self._index[key] = len(self.found)
            columns = tuple(_runs(rows[:, j]) for j in range(rows.shape[1]))
            self.found.append(Axis(size=len(rows), columns=columns))
        return self._index[key]


def _runs(column: Matrix) -> tuple[tuple[int, int, int], ...]:
    """A column as arithmetic runs (first, step, length)."""
    steps = np.diff(column)
    changes = np.append(np.flatnonzero(np.diff(steps)) + 1, len(steps))
    found = []
    start = 0
    for change in changes.tolist():
        if start and change <= start:  # the step into this run ended the one before
            continue
        length = change - start + 1
        step = int(steps[start]) if length > 1 else 0
        found.append((int(column[start]), step, length))
        start = change + 1
    if start < len(column):
        found.append((int(column[start]), 0, 1))
    return tuple(found)


def _parameter_terms(labelling: Labelling, axes: _Axes) -> list[CostTerm]:
    terms = []
    for item in labelling.stored:
        if item.trained:
            pairs = list(zip(item.shape, item.dims, strict=True))
            factor, used = _factor_and_axes(labelling, axes, pairs)
            terms.append(CostTerm(of="params", where=item.name, factor=factor, axes=used))
    return terms


def _work_terms(graph: Graph, labelling: Labelling, axes: _Axes) -> list[CostTerm]:
    terms = []
    for work in labelling.record.work:
        sizes = _one_sample(graph, labelling, work.sizes)
        factor, used = _factor_and_axes(labelling, axes, sizes)
        terms.append(CostTerm(of="macs", where=work.where, factor=factor, axes=used))
    return terms


def _factor_and_axes(
    labelling: Labelling, axes: _Axes, pairs: Iterable[tuple[int, Labels]]
) -> tuple[int, tuple[int, ...]]:
    factor, used = 1, []
    for size, labels in pairs:
        rows = labelling.rows(labels)
        if rows is None:
            factor *= size
        else:
            used.append(axes.add(rows))
    return factor, tuple(used)


def _one_sample(
    graph: Graph, labelling: Labelling, sizes: tuple[tuple[int, Labels], ...]
) -> list[tuple[int, Labels]]:
    """The sizes for a batch of one at the captured length; work on weights alone has no such."""
    pairs: list[tuple[int, Labels]] = []
    for size, labels in sizes:
        rows = labelling.rows(labels)
        if rows is None or labels is None:
            pairs.append((graph.sizes.in_one_sample(size), labels))
        else:
            sample = labels[repeated(rows, graph.sizes.hints)]
            pairs.append((len(sample), sample))
    return pairs
