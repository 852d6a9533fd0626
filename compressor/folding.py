"""Folding: what is computed from parameters alone is computed once, and its result is stored.

Comes in: a ``Graph`` as captured.  Goes out: a graph of the same values, in which a weight under
weight norm, spectral norm or standardisation is a plain parameter, and a table made by a small
network or from frequencies is a plain tensor; and a note on each.  Opt-in, because fine-tuning then
trains the stored result, not what it was computed from.  Knows nothing of labels or plans.

What is folded: the largest sub-graphs that read parameters and buffers only.  What comes of trained
parameters becomes a parameter, all else a buffer, named ``<module>.folded_weight``,
``folded_bias`` or ``folded_table``.  What stays as it is:

- work whose sizes depend on the input, or that is random, written in place, or other in training
- trained parameters that are only moved or changed element by element (a table looked up by
  position, a scale behind an exponential): the rules follow these exactly
- trained parameters that something else reads as well: folding would cut the tie

Dropout and running statistics within such work are those of evaluation, and go with it.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.flattening import CHECKS
from compressor.graphs import TRAINING_ARGUMENT, Graph

aten = torch.ops.aten

_PRODUCTS = ("linear", "matmul", "mm", "bmm", "addmm", "conv1d", "conv2d", "conv3d")
_OWN_STATISTICS = (aten.batch_norm.default, aten.instance_norm.default)

# Operators that only make tensors of constants, or move, repeat or pick elements.
_MOVES = frozenset(
    {"view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as"}
    | {"permute", "transpose", "swapaxes", "t", "numpy_T", "unsqueeze", "squeeze"}
    | {"expand", "expand_as", "repeat", "repeat_interleave", "pad", "constant_pad_nd"}
    | {"contiguous", "clone", "detach", "alias", "to", "_to_copy", "type_as", "lift_fresh_copy"}
    | {"slice", "select", "unbind", "split_with_sizes", "cat", "concat", "stack", "roll", "flip"}
    | {"index", "index_select", "gather", "embedding", "arange", "linspace", "scalar_tensor"}
    | {"zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like"}
)


@dataclass(frozen=True, slots=True)
class _Fold:
    """One value to store, and the nodes that compute it (several where it is computed again)."""

    nodes: tuple[fx.Node, ...]
    sources: tuple[str, ...]  # parameters and buffers it is computed from
    trained: bool
    count: int  # operators that compute it


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph with parameter-only work done, and a line on everything that was folded.

    The result has tensors of its own.  Values are those of the graph, from the same operators run
    once: bit-identical where they leave the weight contiguous in memory (all but orthogonal ones,
    which agree to rounding).  A graph without such work comes back as a copy, with no notes.
    """
    own = graph.copy()
    program, tensors = copy.deepcopy(own.program.graph), own.tensors
    folds = _find_folds(program, tensors)
    stored: dict[str, Tensor] = dict(tensors)
    notes = []
    work = {used for found in folds for node in found.nodes for used in _region(node)}
    for found in folds:
        name = _name(found, stored)
        stored[name] = _value(found, tensors)
        for node in found.nodes:
            _replace(program, node, name, stored[name])
        kind = "parameter" if found.trained else "buffer"
        operators = f"{found.count} operator{'s' if found.count > 1 else ''}"
        notes.append(f"{kind} {name} holds the result of {operators} on {', '.join(found.sources)}")
    _erase_unread(program, work)
    names = {node.name for node in program.nodes}
    kept = {name: rows for name, rows in own.kept.items() if name in names}
    return own.rebuild(program, stored, kept=kept), tuple(notes)


# -- finding -----------------------------------------------------------------------------------


def _find_folds(program: fx.Graph, tensors: Mapping[str, Tensor]) -> tuple[_Fold, ...]:
    """Constant values that something else reads, where folding them is worth it and cuts no tie."""
    keys = {name: _identity(name, tensor) for name, tensor in tensors.items()}
    trained = {keys[name] for name, tensor in tensors.items() if isinstance(tensor, nn.Parameter)}
    tied: set[Any] = set()  # trained tensors that are read otherwise too
    while True:
        constant = _constant_nodes(program, keys, tied)
        expressions = _expressions(constant, keys)
        folds: dict[int, list[fx.Node]] = {}
        seen: dict[Any, set[int]] = {}
        for node in constant:
            if all(user in constant or _is_check(user) for user in node.users):
                continue
            number = expressions[node]
            folds.setdefault(number, []).append(node)
            for name in _roots(node):
                seen.setdefault(keys[name], set()).add(number)
        more = {key for key, readers in seen.items() if key in trained and len(readers) > 1}
        if more <= tied:
            break
        tied |= more
    found = []
    for nodes in folds.values():
        region = _region(nodes[0])
        names = tuple(dict.fromkeys(str(n.target) for n in region if n.op == "get_attr"))
        work = [n for n in region if n.op == "call_function"]
        learns = any(keys[name] in trained for name in names)
        if names and _is_worth(work, learns) and isinstance(nodes[0].meta.get("shape"), tuple):
            found.append(_Fold(tuple(nodes), names, learns, len(work)))
    return tuple(found)


def _identity(name: str, tensor: Tensor) -> Any:
    """Equal for the names of one tensor."""
    place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset())
    return (*place, tuple(tensor.shape), tensor.stride()) if tensor.numel() else name


def _constant_nodes(
    program: fx.Graph, keys: Mapping[str, Any], tied: set[Any]
) -> dict[fx.Node, None]:
    """Nodes that depend on no input, in order; parameters among them unless tied."""
    written = _written(program)
    constant: dict[fx.Node, None] = {}
    for node in program.nodes:
        if node.op == "get_attr":
            if str(node.target) in keys and keys[str(node.target)] not in tied:
                constant[node] = None
        elif (
            node.op == "call_function"
            and all(used in constant for used in node.all_input_nodes)
            and _is_repeatable(node)
        ):
            constant[node] = None
    return _without_written(constant, written, keys)


def _is_repeatable(node: fx.Node) -> bool:
    """Whether running the operator again gives the same and changes nothing."""
    if node.target is operator.getitem:
        return True
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or _is_check(node):
        return False
    if target in TRAINING_ARGUMENT:
        position = TRAINING_ARGUMENT[target]
        training = node.args[position : position + 1] != (False,)
        own_statistics = target in _OWN_STATISTICS and node.args[3] is None
        return own_statistics or not training
    random = torch.Tag.nondeterministic_seeded in target.tags
    return not random and (not target._schema.is_mutable or _writes_over_nothing(node))


def _writes_over_nothing(node: fx.Node) -> bool:
    """Whether an operator in place, as a ReLU may be, writes into memory that none else reads."""
    value = node.args[0] if node.args else None
    target = getattr(value, "target", None)
    if not isinstance(target, torch._ops.OpOverload) or node.all_input_nodes != [value]:
        return False
    assert isinstance(value, fx.Node)
    makes_new = str(target).split(".")[1] in _PRODUCTS or torch.Tag.pointwise in target.tags
    shares = target._schema.is_mutable or any(r.alias_info for r in target._schema.returns)
    return makes_new and not shares and len(value.users) == 1


def _is_check(node: fx.Node) -> bool:
    return node.target in CHECKS


def _written(program: fx.Graph) -> set[fx.Node]:
    """Nodes whose value some operator changes in place."""
    found: set[fx.Node] = set()
    for node in program.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable and not _writes_over_nothing(node):
            found.update(node.all_input_nodes)
    return found


def _without_written(
    constant: dict[fx.Node, None], written: set[fx.Node], keys: Mapping[str, Any]
) -> dict[fx.Node, None]:
    """Drop whatever may share memory with a value that is changed in place."""
    reached = [node for node in constant if node in written]
    dropped: set[fx.Node] = set()
    while reached:
        node = reached.pop()
        if node in dropped or node not in constant:
            continue
        dropped.add(node)
        reached += [*node.all_input_nodes, *node.users]
        if node.op == "get_attr":
            key = keys[str(node.target)]
            reached += [n for n in constant if n.op == "get_attr" and keys[str(n.target)] == key]
    return {node: None for node in constant if node not in dropped}


def _expressions(constant: Iterable[fx.Node], keys: Mapping[str, Any]) -> dict[fx.Node, int]:
    """A number for every constant node; equal where the same is computed from the same."""
    numbers: dict[Any, int] = {}
    found: dict[fx.Node, int] = {}
    for node in constant:
        if node.op == "get_attr":
            text: Any = keys[str(node.target)]
        else:
            args = fx.map_arg((node.args, dict(node.kwargs)), lambda used: f"%{found[used]}")
            text = (str(node.target), repr(args))
        found[node] = numbers.setdefault(text, len(numbers))
    return found


def _region(node: fx.Node) -> tuple[fx.Node, ...]:
    """All that a constant node is computed from, itself among it, in the graph's order."""
    found: dict[fx.Node, None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting += one.all_input_nodes
    return tuple(n for n in node.graph.nodes if n in found)


def _roots(node: fx.Node) -> set[str]:
    return {str(used.target) for used in _region(node) if used.op == "get_attr"}


def _is_worth(work: Iterable[fx.Node], learns: bool) -> bool:
    """Whether something happens that moving does not do; elementwise too where nothing learns."""
    for node in work:
        if node.target is operator.getitem:
            continue
        name = str(node.target).split(".")[1]
        tagged = torch.Tag.pointwise in getattr(node.target, "tags", ())
        if name not in _MOVES and not (learns and tagged):
            return True
    return False


# -- rewriting ---------------------------------------------------------------------------------


def _value(found: _Fold, tensors: Mapping[str, Tensor]) -> Tensor:
    """Run the operators; the result is trained if anything it comes from is."""
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in _region(found.nodes[0]):
            if node.op == "get_attr":
                values[node] = tensors[str(node.target)].detach()
            else:
                args = fx.map_arg(node.args, values.__getitem__)
                kwargs = fx.map_arg(dict(node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        value: Tensor = values[found.nodes[0]].detach().clone(memory_format=torch.contiguous_format)
    if found.trained and value.is_floating_point():
        learns = any(tensors[name].requires_grad for name in found.sources)
        return nn.Parameter(value, requires_grad=learns)
    return value


def _name(found: _Fold, taken: Mapping[str, Tensor]) -> str:
    """``<module that reads it>.folded_weight``, numbered where that module has one already."""
    reader = next(user for user in found.nodes[0].users if not _is_check(user))
    schema = getattr(reader.target, "_schema", None)
    names = [formal.name for formal in schema.arguments] if schema else []
    formal = next(
        (n for n, arg in zip(names, reader.args, strict=False) if arg is found.nodes[0]), ""
    )
    kind = formal if formal in ("weight", "bias") else "table"
    where = reader.meta.get("where", "")
    name = f"{where}.folded_{kind}" if where else f"folded_{kind}"
    number, unique = 1, name
    while unique in taken:
        number, unique = number + 1, f"{name}_{number + 1}"
    return unique


def _replace(program: fx.Graph, node: fx.Node, name: str, value: Tensor) -> None:
    with program.inserting_before(node):
        stored = program.get_attr(name)
    stored.meta = dict(node.meta) | {"shape": tuple(value.shape)}
    node.replace_all_uses_with(stored)


def _erase_unread(program: fx.Graph, nodes: Iterable[fx.Node]) -> None:
    """Erase these nodes, and checks on them, where nothing reads them any more."""
    candidates = set(nodes)
    for node in reversed(list(program.nodes)):
        if node in candidates:
            for user in list(node.users):
                if _is_check(user):
                    program.erase_node(user)
            if not node.users:
                program.erase_node(node)
