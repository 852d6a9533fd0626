"""What a group's units are to people: heads, head width, residual width, channels, ...

Comes in: a graph and its labelling.  Goes out: a word per group, told by the operators that its
units pass through, never by a module's name.  Where no operator tells, it is "channels".  Knows
nothing of what the words are used for; no decision hangs on them.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import fx

from compressor.graphs import Graph
from compressor.labelling import Known, Labelling
from compressor.labels import Labels
from compressor.rules import Value

CHANNELS = "channels"
# Of several words that fit, the first is told.
WORDS = (
    "unused",
    "heads",
    "head width",
    "query/key width",
    "value width",
    "convolution groups",
    "channels per group",
    "recurrent width",
    "residual width",
    "MLP width",
    "embedding width",
)

Found = Iterator[tuple[str, Labels]]


def group_kinds(graph: Graph, labelling: Labelling) -> tuple[str, ...]:
    """The kind of every group, in the order of ``Analysis.groups``."""
    words: list[set[str]] = [set() for _ in labelling.groups]
    constant = _constants(graph)
    for node in graph.program.graph.nodes:
        if node.op == "call_function":
            for word, labels in _told(node, labelling, constant):
                for group in _groups(labelling, labels):
                    words[group].add(word)
    uses = _uses(graph)
    for group in _hidden(labelling, uses):
        words[group].add("MLP width")
    for group in _unused(labelling, uses):
        words[group].add("unused")
    return tuple(_first(found) for found in words)


def _first(found: set[str]) -> str:
    if "heads" not in found and {"query/key width", "value width"} <= found:
        return "head width"  # all three move together
    return next((word for word in WORDS if word in found), CHANNELS)


def _told(node: fx.Node, labelling: Labelling, constant: frozenset[str]) -> Found:
    name = str(node.target).rpartition(".")[0].rstrip("_")
    operands = [_value(labelling, argument) for argument in node.all_input_nodes]
    values = [v for v in operands if v is not None]
    if name == "aten.scaled_dot_product_attention":
        yield from _attention([_value(labelling, a) for a in node.args[:3]])
    elif name in ("aten.matmul", "aten.bmm", "aten.baddbmm"):
        active = [v for v in values if v.node.name not in constant]
        yield from _product(active[-2:])
    elif name == "aten.einsum":
        yield from _letters(str(node.args[0]), [v for v in values if v.node.name not in constant])
    elif name in ("aten.lstm", "aten.gru"):
        yield from (("recurrent width", value.dims[-1]) for value in _results(labelling, node)[:1])
    elif name in ("aten.conv1d", "aten.conv2d", "aten.conv3d"):
        yield from _grouped(node, values, labelling)
    elif name == "aten.add":
        active = [v for v in values if v.node.name not in constant]
        if len(active) == 2 and active[0].shape == active[1].shape:
            yield from (("residual width", labels) for labels in active[0].dims[1:])
    elif name == "aten.embedding":
        yield from (("embedding width", value.dims[-1]) for value in _results(labelling, node))


def _attention(operands: Sequence[Value | None]) -> Found:
    query, _, value = operands
    if query is not None and value is not None and len(query.shape) >= 3:
        yield from (("heads", labels) for labels in query.dims[:-2])
        yield "query/key width", query.dims[-1]
        yield "value width", value.dims[-1]


def _product(active: Sequence[Value]) -> Found:
    """Attention written out: activations against activations, apart for every head.

    What both operands share in front is heads.  A labelled dimension that is summed over is what
    queries and keys are compared by; any other of the last two is width of what is mixed.
    """
    if len(active) != 2 or min(len(v.shape) for v in active) < 3:
        return
    left, right = active
    yield from (("heads", labels) for value in active for labels in value.dims[:-2])
    yield from (("query/key width", labels) for labels in (left.dims[-1], right.dims[-2]))
    yield from (("value width", labels) for labels in (left.dims[-2], right.dims[-1]))


def _letters(equation: str, active: Sequence[Value]) -> Found:
    """Attention as an einsum of two activations: the letters all three share are heads."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    names = inputs.split(",")
    if len(active) != 2 or len(names) != 2 or "." in equation:
        return
    for letters, value in zip(names, active, strict=True):
        for letter, labels in zip(letters, value.dims, strict=True):
            if letter not in output:
                yield "query/key width", labels
            else:
                yield "heads" if all(letter in other for other in names) else "value width", labels


def _grouped(node: fx.Node, values: Sequence[Value], labelling: Labelling) -> Found:
    """Columns of the output rows that are constant inside a convolution's group, and those not."""
    if len(values) < 2:
        return
    channels, weight = values[0].shape[1], values[1]
    groups = channels // weight.shape[1] if weight.shape[1] else 1
    if groups <= 1 or weight.shape[1] == 1:
        return
    yield "channels per group", weight.dims[1]
    labels = weight.dims[0]
    if labels is None or len(labels) % groups:
        return
    leaves = labelling.record.units.resolve(labels)
    for column in leaves.T:
        block = column.reshape(groups, -1)
        word = "convolution groups" if (block == block[:, :1]).all() else "channels per group"
        yield word, column[:, None]


def _hidden(labelling: Labelling, linear: Mapping[str, bool]) -> set[int]:
    """Groups that only linear layers write and read, at least one of each."""
    writes: set[int] = set()
    reads: set[int] = set()
    others: set[int] = set()
    for item in labelling.stored:
        names = (item.name, *item.aliases)
        for dim, labels in enumerate(item.dims):
            groups = set(_groups(labelling, labels))
            roles = {labelling.record.roles.get((name, dim)) for name in names}
            if not all(linear.get(name, True) for name in names):
                others |= groups
            writes |= groups if "writes" in roles else set()
            reads |= groups if "reads" in roles else set()
    return (writes & reads) - others


def _unused(labelling: Labelling, used: Container[str]) -> set[int]:
    """Groups of parameters that nothing computes with."""
    alive: set[int] = set()
    dead: set[int] = set()
    for item in labelling.stored:
        groups = {group for labels in item.dims for group in _groups(labelling, labels)}
        if any(name in used for name in (item.name, *item.aliases)):
            alive |= groups
        else:
            dead |= groups
    return dead - alive


def _uses(graph: Graph) -> dict[str, bool]:
    """Parameters that are computed with, and whether by linear layers alone."""
    found: dict[str, bool] = {}
    for node in graph.program.graph.nodes:
        if node.op == "call_function":
            is_linear = str(node.target).startswith(("aten.linear", "aten.addmm"))
            for argument in node.all_input_nodes:
                if argument.op == "get_attr":
                    target = str(argument.target)
                    found[target] = found.get(target, True) and is_linear
    return found


def _constants(graph: Graph) -> frozenset[str]:
    """Nodes that depend on parameters, buffers and sizes alone, not on what is being computed."""
    found: set[str] = set()
    for node in graph.program.graph.nodes:
        if node.op == "get_attr":
            found.add(node.name)
        elif node.op == "call_function":
            tensors = [a for a in node.all_input_nodes if isinstance(a.meta.get("shape"), tuple)]
            if all(argument.name in found for argument in tensors):
                found.add(node.name)
    return frozenset(found)


def _value(labelling: Labelling, argument: object) -> Value | None:
    known: Known | None = (
        labelling.nodes.get(argument.name) if isinstance(argument, fx.Node) else None
    )
    return known if isinstance(known, Value) else None


def _results(labelling: Labelling, node: fx.Node) -> tuple[Value, ...]:
    known = labelling.nodes.get(node.name)
    if known is None:
        return ()
    return known if isinstance(known, tuple) else (known,)


def _groups(labelling: Labelling, labels: Labels) -> list[int]:
    rows = labelling.rows(labels)
    if rows is None:
        return []
    numbers: NDArray[np.int64] = np.unique(labelling.group_of[rows])
    return [int(number) for number in numbers if number >= 0]
