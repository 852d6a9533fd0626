"""Carriers: operators that take a dimension along, done to one position of that dimension.

Only operators that move or copy elements: arithmetic over one position alone may round otherwise
than over all (vector code handles the ends of rows in another way).

Comes in: a node of an annotated ``fx.Graph`` and the place of a dimension in its operand.  Goes
out: the dimension's place in the result, and what does the same to one position by itself.  Knows
nothing of what the dimension stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)
_COPIES = (
    aten.contiguous.default,
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.to.dtype,
)


@dataclass(frozen=True, slots=True)
class Carried:
    """Where the dimension is after the operator, and the operator for one position (None: none)."""

    dim: int
    target: Any = None
    args: tuple[Any, ...] = ()  # after the tensor


def carry(node: fx.Node, dim: int) -> Carried | None:
    """How ``node`` takes dimension ``dim`` of its first argument along; None where it does not."""
    for targets, carrier in _CARRIERS.items():
        if node.target in targets:
            return carrier(node, dim)
    return None


def bound(node: fx.Node) -> dict[str, Any]:
    """Arguments by their names in the operator's schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    return {
        formal.name: node.args[place]
        if place < len(node.args)
        else node.kwargs.get(formal.name, formal.default_value)
        for place, formal in enumerate(schema.arguments)
    }


def operand_shape(node: fx.Node) -> tuple[int, ...]:
    """Sizes of the first argument, at the batch hint."""
    value = node.args[0]
    assert isinstance(value, fx.Node)
    shape: tuple[int, ...] = value.meta["shape"]
    return shape


def without(sizes: Any, place: int) -> tuple[Any, ...]:
    return (*sizes[:place], *sizes[place + 1 :])


def _reorder(node: fx.Node, dim: int) -> Carried:
    arguments, rank = bound(node), len(node.meta["shape"])
    if node.target is aten.permute.default:
        order = [place % rank for place in arguments["dims"]]
    else:
        order = list(range(rank))
        a, b = arguments["dim0"] % rank, arguments["dim1"] % rank
        order[a], order[b] = b, a
    after = order.index(dim)
    rest = [place - (place > dim) for place in order if place != dim]
    return Carried(after) if rest == sorted(rest) else Carried(after, aten.permute.default, (rest,))


def _unsqueeze(node: fx.Node, dim: int) -> Carried:
    place = bound(node)["dim"] % len(node.meta["shape"])
    return Carried(dim + (place <= dim), aten.unsqueeze.default, (place - (place > dim),))


def _squeeze(node: fx.Node, dim: int) -> Carried:
    shape, given = operand_shape(node), bound(node)["dim"]
    places = [place % len(shape) for place in ([given] if isinstance(given, int) else given)]
    dropped = [place for place in places if shape[place] == 1]
    after = dim - sum(place < dim for place in dropped)
    rest = [place - (place > dim) for place in dropped]
    return Carried(after, aten.squeeze.dims, (rest,)) if dropped else Carried(after)


def _slice(node: fx.Node, dim: int) -> Carried | None:
    """Rows of another dimension; ``x[:, 0]`` starts with all rows of the first."""
    place = bound(node)["dim"] % len(node.meta["shape"])
    if place == dim:
        return None
    return Carried(dim, node.target, (place - (place > dim), *node.args[2:]))


def _copy(node: fx.Node, dim: int) -> Carried | None:
    if node.kwargs.get("memory_format") in (torch.channels_last, torch.channels_last_3d):
        return None  # a layout for this very number of dimensions
    return Carried(dim, node.target, node.args[1:])


def _reshape(node: fx.Node, dim: int) -> Carried | None:
    """A reshape that leaves this dimension alone."""
    shape, old = node.meta["shape"], operand_shape(node)
    for after, size in enumerate(shape):
        if size == old[dim] and prod(shape[after:]) == prod(old[dim:]):
            return Carried(after, aten.reshape.default, (list(without(node.args[1], after)),))
    return None


_CARRIERS: Mapping[tuple[Any, ...], Callable[[fx.Node, int], Carried | None]] = {
    (aten.permute.default, aten.transpose.int): _reorder,
    (aten.unsqueeze.default,): _unsqueeze,
    (aten.squeeze.dim, aten.squeeze.dims): _squeeze,
    (aten.slice.Tensor,): _slice,
    _COPIES: _copy,
    RESHAPES: _reshape,
}
