"""Positions that are known when the graph is read, and memory that several values share.

Comes in: nodes of the captured graph.  Goes out: the whole numbers that a stored table holds, and
whether a value is written in place.  Knows nothing of labels.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator

from torch import fx

from compressor.labels import Matrix
from compressor.rules.calls import Call, Value
from compressor.rules.registry import operator_name

_COPIES = (
    "aten.lift_fresh_copy",
    "aten.lift_fresh",
    "aten.clone",
    "aten.detach",
    "aten.detach_",
    "aten.alias",
    "aten.contiguous",
    "aten.to",
    "aten._to_copy",
)
# In evaluation these give out their operand itself, which their schemas do not say.
_SILENT_ALIASES = ("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.type_as")


def known_positions(call: Call, table: Value, size: int) -> Matrix | None:
    """The places in a dimension of ``size`` that a table of one dimension holds, as they are there.

    None where they are not known, are not places, or may be overwritten.
    """
    source = table.node
    while operator_name(source.target) in _COPIES and isinstance(source.args[0], fx.Node):
        if is_written(source):
            return None
        source = source.args[0]
    numbers = call.record.tables.get(str(source.target)) if source.op == "get_attr" else None
    if numbers is None or numbers.ndim != 1 or is_written(source):
        return None
    if not numbers.size or numbers.min() < -size or numbers.max() >= size:
        return None
    return numbers


def is_written(node: fx.Node) -> bool:
    """Whether an operator writes in place into this value, or one that may share its memory."""
    family, waiting = {node}, [node]
    while waiting:
        value = waiting.pop()
        for user in value.users:
            if any(into is value for into in _written(user)):
                return True
        related = [*_seen_through(value), *(u for u in value.users if value in _seen_through(u))]
        waiting += [other for other in related if other not in family]
        family.update(related)
    return False


def _seen_through(node: fx.Node) -> tuple[fx.Node, ...]:
    """Operands whose memory the result may share."""
    if node.target is operator.getitem or operator_name(node.target) in _SILENT_ALIASES:
        return tuple(node.all_input_nodes[:1])
    return tuple(operand for operand, _ in _marked(node))


def _written(node: fx.Node) -> tuple[fx.Node, ...]:
    if operator_name(node.target) == "aten.detach_":
        return ()  # its schema says that it writes, but no value changes
    return tuple(operand for operand, writes in _marked(node) if writes)


def _marked(node: fx.Node) -> Iterator[tuple[fx.Node, bool]]:
    """Operands that the schema marks as shared, and whether they are written."""
    schema = getattr(node.target, "_schema", None)
    for place, formal in enumerate(schema.arguments if schema is not None else ()):
        if formal.alias_info is None:
            continue
        given = node.args[place] if place < len(node.args) else node.kwargs.get(formal.name)
        for operand in given if isinstance(given, list | tuple) else (given,):
            if isinstance(operand, fx.Node):
                yield operand, formal.alias_info.is_write
