"""One forward pass over the graph: every dimension of every value gets its labels.

Comes in: a ``Graph``.  Goes out: a ``Labelling``: the labels of every node, what the rules
recorded, and the groups as arrays of units.  Computed anew wherever it is needed (about 0.1 s); it
holds fx nodes and never leaves the process.  ``analysis`` turns it into the plain ``Analysis``.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from compressor.graphs import Graph
from compressor.labels import ALWAYS, FIXED, Labels, Matrix
from compressor.rules import Call, Record, UnsupportedCallError, Value, find_rule
from compressor.rules.calls import Argument, Dims
from compressor.stored import Stored as Stored
from compressor.stored import label_stored

Known = Value | tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class GroupUnits:
    """Leaves of one group, in order, and whether zeroing them equals removing them."""

    units: Matrix
    exact: bool


@dataclass(frozen=True, slots=True)
class Labelling:
    record: Record
    nodes: dict[str, Known]
    stored: tuple[Stored, ...]
    groups: tuple[GroupUnits, ...]
    single: NDArray[np.bool_]  # leaf -> alone in its group, so it could only empty a dimension
    numbers: Matrix  # leaf -> global unit number, 0 where it belongs to no group
    group_of: Matrix  # global unit number -> index of its group, -1 for 0
    _known: dict[int, tuple[Matrix, Matrix | None]] = field(default_factory=dict, repr=False)

    def rows(self, labels: Labels) -> Matrix | None:
        """Labels as global unit numbers, (n, k); None where all rows always stay."""
        if labels is None:
            return None
        # Most nodes share the labels of their operands: asked for once, answered many times.
        known = self._known.get(id(labels))
        if known is None:
            rows = _numbered(self.numbers, self.record.units.resolve(labels))
            # The labels are held too: an id means nothing once its object is gone.
            known = self._known[id(labels)] = (labels, rows)
        return known[1]

    def kept(self, labels: Labels, keep: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Which rows stay under ``keep`` (by global unit number); None where all do."""
        rows = self.rows(labels)
        if rows is None:
            return None
        stays = np.asarray(keep[rows].all(axis=1))
        return None if stays.all() else stays


def label(graph: Graph) -> Labelling:
    """Run every node's rule once, in order, then collect units of the same members in groups."""
    record = Record(sizes=graph.sizes)
    stored = label_stored(graph, record)
    by_name = {name: item for item in stored for name in (item.name, *item.aliases)}
    nodes: dict[str, Known] = {}
    for node in graph.program.graph.nodes:
        known = _label_node(node, nodes, by_name, record)
        if known is not None:
            nodes[node.name] = known
    _keep_some(record)
    parameters = [labels for item in stored for labels in item.dims if labels is not None]
    resolved = {id(labels): record.units.resolve(labels) for labels in parameters}
    groups, single = _collect_groups(record, stored, resolved)
    numbers = np.zeros(len(record.units), dtype=np.int64)
    group_of = [-1]
    for index, group in enumerate(groups):
        start = len(group_of)
        numbers[group.units] = np.arange(start, start + len(group.units))
        group_of.extend([index] * len(group.units))
    return Labelling(
        record=record,
        nodes=nodes,
        stored=stored,
        groups=groups,
        single=single,
        numbers=numbers,
        group_of=np.asarray(group_of, dtype=np.int64),
        _known={
            id(labels): (labels, _numbered(numbers, resolved[id(labels)])) for labels in parameters
        },
    )


def _numbered(numbers: Matrix, leaves: Matrix) -> Matrix | None:
    rows = numbers[leaves]
    return rows if rows.any() else None


def _label_node(
    node: fx.Node, nodes: dict[str, Known], stored: dict[str, Stored], record: Record
) -> Known | None:
    shape = node.meta.get("shape")
    if node.op == "get_attr":
        return Value(node, stored[str(node.target)].shape, stored[str(node.target)].dims)
    if node.op == "placeholder":
        return _label_input(node, record) if isinstance(shape, tuple) else None
    if node.op == "output":
        for value in _values(node.args, nodes):
            for labels in value.dims:
                if labels is not None:
                    record.units.freeze(labels, record.reason(node, "is the network's output"))
        return None
    if node.target is operator.getitem and isinstance(nodes.get(_name(node.args[0])), tuple):
        return nodes[_name(node.args[0])][node.args[1]]  # type: ignore[index]
    made_from_sizes = not _values((node.args, node.kwargs), nodes)
    if not isinstance(shape, tuple | list) or (made_from_sizes and find_rule(node) is None):
        return _unlabelled(node, shape)  # arithmetic on sizes, assertions, tables of positions
    return _apply_rule(node, shape, nodes, record)


def _name(argument: Any) -> str:
    return argument.name if isinstance(argument, fx.Node) else ""


def _unlabelled(node: fx.Node, shape: Any) -> Known | None:
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return Value(node, shape, (None,) * len(shape))
    return None


def _label_input(node: fx.Node, record: Record) -> Value:
    """Batch and length are no units; whatever else comes in stays."""
    shape = node.meta["shape"]
    reason = record.reason(node, "is the network's input")
    dims = tuple(
        None if dim in node.meta["free"] or size < 2 else np.full((size, 1), reason, dtype=np.int64)
        for dim, size in enumerate(shape)
    )
    return Value(node, shape, dims)


def _values(argument: Any, nodes: dict[str, Known]) -> tuple[Value, ...]:
    found: list[Value] = []

    def visit(inner: fx.Node) -> fx.Node:
        known = nodes.get(inner.name)
        if known is not None:
            found.extend(known if isinstance(known, tuple) else (known,))
        return inner

    fx.map_arg(argument, visit)
    return tuple(found)


def _apply_rule(node: fx.Node, shape: Any, nodes: dict[str, Known], record: Record) -> Known | None:
    call = Call(node, _bind(node, nodes), record)
    several = bool(shape) and not isinstance(shape[0], int)
    shapes: tuple[tuple[int, ...], ...] = tuple(shape) if several else (shape,)
    _freeze_moving_bounds(call)
    values = []
    for size, dims in zip(shapes, _answers(call, shapes, several), strict=False):
        if size is None:
            continue
        values.append(Value(node, size, _checked(node, size, dims, record)))
    if several:
        return tuple(values)
    return values[0] if values else None


def _answers(call: Call, shapes: Sequence[tuple[int, ...] | None], several: bool) -> Sequence[Dims]:
    """What the rule says of every result; where there is none, or it refuses, everything stays.

    Single numbers have nothing to label, and no dimensions that a rule could look for.
    """
    ranks = [value.shape for value in call.operands]
    single = all(size == 1 for shape in (*shapes, *ranks) for size in shape or ())
    if single and () in ranks:
        return [(None,) * len(shape or ()) for shape in shapes]
    found = find_rule(call.node)
    counted = len(call.record.work)
    try:
        if found is None:
            raise UnsupportedCallError("no rule is known for this operator")
        answer = found(call)
        results: Sequence[Dims] = answer if several else (answer,)  # type: ignore[assignment]
        if any(len(dims) != len(size) for dims, size in zip(results, shapes, strict=False) if size):
            del call.record.work[counted:]
            raise UnsupportedCallError("its rule is for tensors of another rank")
    except UnsupportedCallError as refusal:
        return _freeze_everything(call, shapes, str(refusal))
    return results


def _freeze_moving_bounds(call: Call) -> None:
    """A bound that follows a free size (``table[:, :length]``) takes other rows at other lengths,
    so none of them may go, and not those behind the bound either."""
    given = (*call.node.args, *call.node.kwargs.values())
    moves = any(isinstance(a, fx.Node) and isinstance(a.meta.get("shape"), int) for a in given)
    if moves and isinstance(call.arguments.get("dim"), int) and call.operands:
        value = call.operands[0]
        call.freeze(value.dims[call.dim("dim", value)], "is cut where a free size ends")


def _freeze_everything(
    call: Call, shapes: Sequence[tuple[int, ...] | None], text: str
) -> tuple[Dims, ...]:
    reason = call.reason(text)
    for operand in call.operands:
        for labels in operand.dims:
            call.freeze(labels, text)
    return tuple(
        tuple(
            np.full((size, 1), reason, dtype=np.int64) if size > 1 else None
            for size in shape or ()  # an absent result keeps its place
        )
        for shape in shapes
    )


def _checked(node: fx.Node, shape: tuple[int, ...], dims: Dims, record: Record) -> Dims:
    """Labels fit the sizes; a dimension of size one broadcasts from here on, so it is frozen."""
    assert len(dims) == len(shape), f"{node.target}: {len(dims)} labelled dimensions of {shape}"
    checked: list[Labels] = []
    for size, labels in zip(shape, dims, strict=True):
        if labels is not None:
            assert len(labels) == size, f"{node.target}: {len(labels)} labels for size {size}"
            if size <= 1:
                record.units.freeze(labels, record.reason(node, "is a dimension of size one"))
                labels = None
        checked.append(labels)
    return tuple(checked)


def _bind(node: fx.Node, nodes: dict[str, Known]) -> dict[str, Argument]:
    """Arguments by their names in the operator's schema, defaults filled in."""

    def plain(argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            known = nodes.get(argument.name)
            return known if known is not None else argument.meta.get("shape")
        if isinstance(argument, list | tuple):
            return tuple(plain(entry) for entry in argument)
        return argument

    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {f"arg{i}": plain(argument) for i, argument in enumerate(node.args)}
    bound = {}
    for place, formal in enumerate(schema.arguments):
        if place < len(node.args):
            bound[formal.name] = plain(node.args[place])
        else:
            bound[formal.name] = plain(node.kwargs.get(formal.name, formal.default_value))
    return bound


def _keep_some(record: Record) -> None:
    """A unit that every row of a part depends on would leave nothing of it."""
    for labels, reason in record.parts:
        leaves = record.units.resolve(labels)
        for unit in np.unique(leaves[:1]):
            if unit != ALWAYS and (leaves == unit).any(axis=1).all():
                record.units.freeze(np.array([[unit]]), reason)


# -- groups ------------------------------------------------------------------------------------


def _collect_groups(
    record: Record, stored: Sequence[Stored], resolved: Mapping[int, Matrix]
) -> tuple[tuple[GroupUnits, ...], NDArray[np.bool_]]:
    """Units with the same members (parameter, dimension, number of rows) and the same origin.

    Members are compared by the sum of a 64-bit hash per row of a parameter dimension, so the cost
    is one pass over all rows and one sort of the units.
    """
    count = len(record.units)
    single = np.zeros(count, dtype=bool)
    places = [labels for item in stored for labels in item.dims]
    parts = [
        np.zeros(0, np.int64) if labels is None else resolved[id(labels)].ravel()
        for labels in places
    ]
    where = np.repeat(np.arange(1, len(parts) + 1), [len(part) for part in parts])
    unit = np.concatenate([np.zeros(0, np.int64), *parts])
    where, unit = where[unit > ALWAYS], unit[unit > ALWAYS]
    signature = np.zeros(count, dtype=np.uint64)
    np.add.at(signature, unit, _mixed(where))
    _set_parts_apart(record, signature, first_number=len(parts) + 1)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, unit, where)
    leaves = np.flatnonzero(first < np.iinfo(np.int64).max)
    if not leaves.size:  # everything is frozen
        return (), single
    # Places and origins count from one: shifted, no origin has the hash of a place.
    keys = signature[leaves] + _mixed(record.units.origin(leaves) << 32)
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order])) + 1
    inexact = np.zeros(count, dtype=bool)
    inexact[_inexact_units(record)] = True
    groups = []
    for members in np.split(leaves[order], bounds):
        if len(members) == 1:
            single[members] = True
            continue
        group = GroupUnits(members, not inexact[members].any())
        groups.append((int(first[members].min()), int(members[0]), group))
    groups.sort(key=lambda entry: entry[:2])
    return tuple(group for _, _, group in groups), single


def _set_parts_apart(record: Record, signature: NDArray[np.uint64], first_number: int) -> None:
    """Rows cut out of a dimension are like a member: every group keeps a unit, so they do."""
    for number, (labels, _) in enumerate(record.parts, start=first_number):
        leaves = record.units.resolve(labels)
        if (leaves != ALWAYS).any(axis=1).all():  # else a row always stays
            np.add.at(signature, leaves[leaves != ALWAYS], _mixed(np.array([number]))[0])


def _mixed(numbers: Matrix) -> NDArray[np.uint64]:
    """splitmix64 (Steele, Lea & Flood 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _inexact_units(record: Record) -> Matrix:
    found = [
        record.units.resolve(labels).ravel()
        for entries in record.inexact.values()
        for labels in entries
        if labels is not None
    ]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def frozen_reason(labelling: Labelling, rows: Matrix) -> int:
    """The reason id of raw label rows that belong to no group; FIXED: none to tell."""
    return labelling.record.units.reason(rows) or FIXED
