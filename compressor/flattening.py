"""Flattening: an exported graph becomes plain operator calls with plain results.

Comes in: the ``fx.Graph`` of an exported program and the module that holds its blocks.  Goes out:
the same graph, changed in place: blocks that export sets apart (no_grad, autocast off, activation
checkpoints) are written out, checks of metadata and sizes are dropped, inputs that would be written
over are copied first, results of a class of their own become a dict or a tuple of tensors.  No
value changes.  Knows nothing of shapes or labels.
"""

from __future__ import annotations

import dataclasses
import operator
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn

from compressor.annotation import source_line
from compressor.errors import CaptureError

aten = torch.ops.aten
# In evaluation their result is their input, which their schemas do not say.
_DROPOUTS = (aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)
CHECKS = frozenset(
    {
        aten._assert_tensor_metadata.default,
        aten._assert_scalar.default,
        aten._assert_async.default,
        aten._assert_async.msg,
        aten.sym_constrain_range.default,
        aten.sym_constrain_range_for_size.default,
    }
)


def flatten(graph: fx.Graph, module: nn.Module, name: str) -> tuple[str, ...]:
    """Apply all four; returns notes on results that were left out.

    Raises CaptureError for a block that cannot be written out.
    """
    write_out_blocks(graph, module, name)
    drop_checks(graph)
    spare_inputs(graph)
    return make_results_plain(graph)


def attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


# -- blocks --------------------------------------------------------------------------------------


def write_out_blocks(graph: fx.Graph, module: nn.Module, name: str) -> None:
    """Blocks that only change a mode are replaced by what they hold, inner ones too."""
    for node in graph.nodes:
        if node.op == "call_module" and str(node.target) == "_guards_fn":
            graph.erase_node(node)
    while blocks := [node for node in graph.nodes if _is_block(node)]:
        for node in blocks:
            _write_out(graph, node, module, name)
    for node in list(graph.find_nodes(op="get_attr")):
        if isinstance(attribute(module, node.target), Tensor):
            continue
        if node.users:
            raise CaptureError(f"{name} holds {node.target}, an object that is no tensor")
        graph.erase_node(node)
    for node in graph.nodes:
        if node.op in ("call_module", "call_method"):
            raise CaptureError(f"{name} holds a call of {node.target}, which is no operator")


def _is_block(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.HigherOrderOperator)


def _write_out(graph: fx.Graph, node: fx.Node, module: nn.Module, name: str) -> None:
    place = _place_of_block(node, module)
    _require_no_effect(node, place, module, name)
    owner = node.args[place]
    assert isinstance(owner, fx.Node)
    path, block = str(owner.target), attribute(module, str(owner.target))
    operands = iter(node.args[place + 1 :])
    known: dict[fx.Node, Any] = {}
    result: Any = None
    for inner in block.graph.nodes:
        if inner.op == "placeholder":
            known[inner] = next(operands)
        elif inner.op == "output":
            result = fx.map_arg(inner.args[0], known.__getitem__)
        else:
            with graph.inserting_before(node):
                known[inner] = graph.node_copy(inner, known.__getitem__)
            if inner.op == "get_attr":
                known[inner].target = f"{path}.{inner.target}"
    if _switches_gradients_off(node):
        result = fx.map_arg(result, lambda made: _detached(graph, node, made))
    for user in list(node.users):
        position: Any = user.args[1] if user.target is operator.getitem else None
        if isinstance(result, tuple | list) and isinstance(position, int):
            user.replace_all_uses_with(result[position])
            graph.erase_node(user)
    if node.users:
        node.replace_all_uses_with(result)
    graph.erase_node(node)


def _place_of_block(node: fx.Node, module: nn.Module) -> int:
    """Position of the block among the arguments: settings before it, operands behind; or -1."""
    for place, argument in enumerate(node.args):
        target = argument.target if isinstance(argument, fx.Node) else ""
        stored = isinstance(argument, fx.Node) and argument.op == "get_attr"
        if stored and isinstance(attribute(module, str(target)), fx.GraphModule):
            return place
    return -1


def _require_no_effect(node: fx.Node, place: int, module: nn.Module, name: str) -> None:
    """Only blocks whose values are those of the plain calls are written out."""
    kind = str(node.target)
    if place >= 0:
        if kind in ("wrap_with_set_grad_enabled", "tag_activation_checkpoint"):
            return
        if kind == "wrap_with_autocast" and node.args[2] is False:
            return
    what = (
        f"an autocast to {node.args[1]} on {node.args[0]}: remove it, the precision is chosen when "
        "the network runs"
        if kind == "wrap_with_autocast"
        else f"{kind}, a block that is not followed: write it with plain operators"
    )
    lines = (source_line(inner.meta.get("stack_trace") or "") for inner in _within(node, module))
    at = next((line for line in lines if ".py:" in line), "")
    raise CaptureError(f"{name} holds {what}{f' (at {at})' if at else ''}")


def _within(node: fx.Node, module: nn.Module) -> Iterator[fx.Node]:
    """The node, then what its blocks hold: blocks often have no place of their own."""
    yield node
    for used in node.all_input_nodes:
        block = attribute(module, str(used.target)) if used.op == "get_attr" else None
        if isinstance(block, fx.GraphModule):
            yield from block.graph.nodes


def _switches_gradients_off(node: fx.Node) -> bool:
    return str(node.target) == "wrap_with_set_grad_enabled" and node.args[0] is False


def _detached(graph: fx.Graph, block: fx.Node, made: fx.Node) -> fx.Node:
    """No gradient passed through the block, so none passes here."""
    value = made.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return made
    with graph.inserting_before(block):
        detached = graph.call_function(aten.detach.default, (made,))
    detached.meta = dict(made.meta)
    return detached


# -- checks --------------------------------------------------------------------------------------


def drop_checks(graph: fx.Graph) -> None:
    """Checks go, and the size arithmetic that only they read; those of counted values stay.

    A count that depends on values (``nonzero``) is bounded by its checks only, and whoever exports
    the graph again needs them.
    """
    for node in reversed(list(graph.nodes)):
        if node.users or node.op != "call_function":
            continue
        metadata = node.target is aten._assert_tensor_metadata.default
        size = node.target in CHECKS and not any(map(_depends_on_values, node.all_input_nodes))
        arithmetic = isinstance(
            node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat
        ) and not _depends_on_values(node)
        if metadata or size or arithmetic:
            graph.erase_node(node)


def spare_inputs(graph: fx.Graph) -> None:
    """What changes its input in place gets a copy: batches are used again, for the teacher too."""
    for given in graph.find_nodes(op="placeholder"):
        if isinstance(given.meta.get("val"), Tensor) and _is_written_over(given):
            with graph.inserting_after(given):
                copied = graph.call_function(aten.clone.default, (given,))
            copied.meta = {"val": given.meta["val"]}
            given.replace_all_uses_with(copied, delete_user_cb=lambda user, own=copied: user != own)


def _is_written_over(given: fx.Node) -> bool:
    """Whether an operator writes into the memory of this value, through views of it too."""
    reached, pending = {given}, [given]
    while pending:
        for user in pending.pop().users:
            schema = getattr(user.target, "_schema", None)
            if schema is None or user in reached:
                continue
            if any(
                formal.is_write and value in reached
                for formal, value in zip(schema.arguments, user.args, strict=False)
            ):
                return True
            if user.target in _DROPOUTS or any(part.alias_info for part in schema.returns):
                reached.add(user)
                pending.append(user)
    return False


def _depends_on_values(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return True
    symbols = getattr(getattr(value, "node", None), "expr", None)
    return any(str(s).startswith(("u", "zuf")) for s in getattr(symbols, "free_symbols", ()))


# -- results -------------------------------------------------------------------------------------


def make_results_plain(graph: fx.Graph) -> tuple[str, ...]:
    """Results in a class of their own become a dict (named) or a tuple; returns what was left out.

    Nested dicts, lists and tuples stay as they are, so such a program needs torch alone.
    """
    info = graph._codegen.pytree_info  # type: ignore[attr-defined]
    output = next(iter(graph.find_nodes(op="output")))
    flat = tuple(output.args[0])
    # Tensors stand for the results: classes look at the kind and rank of what they are built from.
    stands = [torch.full((1, 1, 1, 1), place) for place in range(len(flat))]
    notes: list[str] = []
    plain = _plain(pytree.tree_unflatten(stands, info.out_spec), "the result", notes)
    leaves, spec = pytree.tree_flatten(plain)
    kept = [int(leaf) for leaf in leaves]
    if spec == info.out_spec and kept == list(range(len(flat))):
        return ()
    output.args = (tuple(flat[place] for place in kept),)
    graph._codegen.pytree_info = info._replace(out_spec=spec)  # type: ignore[attr-defined]
    if len(kept) < len(flat):
        _drop_unused(graph)
    return tuple(notes)


_LEFT_OUT = object()


def _plain(value: Any, name: str, notes: list[str]) -> Any:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        fields = dict(value)
    elif dataclasses.is_dataclass(value):
        fields = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
        fields = {key: entry for key, entry in fields.items() if entry is not None}
    elif isinstance(value, tuple | list):
        entries = [_plain(entry, f"{name}[{i}]", notes) for i, entry in enumerate(value)]
        kept = [entry for entry in entries if entry is not _LEFT_OUT]
        return kept if isinstance(value, list) else tuple(kept)
    else:
        notes.append(f"{name} is left out: a {type(value).__name__} is no tensor")
        return _LEFT_OUT
    made = {key: _plain(entry, f"{name}.{key}", notes) for key, entry in fields.items()}
    kept_fields = {key: entry for key, entry in made.items() if entry is not _LEFT_OUT}
    return OrderedDict(kept_fields) if type(value) is OrderedDict else kept_fields


def _drop_unused(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and not _has_effects(node):
            graph.erase_node(node)


def _has_effects(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.target in CHECKS or (schema is not None and schema.is_mutable)
