"""Results that nobody reads: an operator of several becomes the one that gives the first alone.

A program that was decomposed norms by operators that give their statistics too; a largest element
comes with its place, along a dimension that must then stay whole.

Comes in: an annotated ``fx.Graph``.  Goes out: the same graph, changed in place; values that are
read are bit-identical.  Knows nothing of labels.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from compressor.carriers import bound

aten = torch.ops.aten

Written = tuple[Any, tuple[Any, ...]]  # operator, arguments


def write_first_results_alone(graph: fx.Graph) -> None:
    for node in graph.nodes:
        write = _ALONE.get(node.target)
        if write is None or not _is_read_first_alone(node):
            continue
        given = bound(node)
        _become_first_result(graph, node)
        node.target, node.args = write(given)
        node.kwargs = {}
        _erase_unread_sizes(graph, given)


def _is_read_first_alone(node: fx.Node) -> bool:
    read = [user for user in node.users if user.users]
    return all(user.target is operator.getitem and user.args[1] == 0 for user in read)


def _become_first_result(graph: fx.Graph, node: fx.Node) -> None:
    for user in list(node.users):
        if user.users:
            user.replace_all_uses_with(node)
        graph.erase_node(user)
    node.meta["shape"] = node.meta["shape"][0]


def _erase_unread_sizes(graph: fx.Graph, given: Mapping[str, Any]) -> None:
    """The batch, and the size of a picture, that a decomposed group norm was given."""
    waiting = [size for size in given.values() if isinstance(size, fx.Node)]
    while waiting:
        size = waiting.pop()
        if isinstance(size.meta["shape"], int) and not size.users:
            waiting += size.all_input_nodes
            graph.erase_node(size)


def _largest(given: Mapping[str, Any]) -> Written:
    return aten.amax.default, (given["self"], [given["dim"]], given["keepdim"])


def _smallest(given: Mapping[str, Any]) -> Written:
    return aten.amin.default, (given["self"], [given["dim"]], given["keepdim"])


def _layer_norm(given: Mapping[str, Any]) -> Written:
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    return aten.layer_norm.default, tuple(given[name] for name in names)


def _group_norm(given: Mapping[str, Any]) -> Written:
    names = ("input", "group", "weight", "bias", "eps")
    return aten.group_norm.default, tuple(given[name] for name in names)


def _batch_norm(given: Mapping[str, Any]) -> Written:
    names = ("input", "weight", "bias", "running_mean", "running_var")
    settings = (False, given["momentum"], given["eps"], True)
    return aten.batch_norm.default, (*(given[name] for name in names), *settings)


_ALONE: Mapping[Any, Callable[[Mapping[str, Any]], Written]] = {
    aten.max.dim: _largest,
    aten.min.dim: _smallest,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
}
