"""Layers that are linear in their input, written as equations ``rows @ matrix = answers``.

Comes in: a node of a graph, the values at its input and output.  Goes out: the layer as a
``LinearLayer`` whose ``form`` turns values into rows and answers, and its weight into a matrix and
back.  Dense and grouped convolutions (depthwise ones too), transposed ones, and matrix products,
in one to three dimensions.  Knows nothing of students, teachers or how equations are solved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from compressor.carriers import bound

aten = torch.ops.aten

_CONVOLUTIONS: Mapping[object, int] = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
}
_PRODUCTS: Mapping[object, str] = {aten.matmul.default: "other", aten.mm.default: "mat2"}
_TRANSPOSED: Mapping[object, int] = {
    aten.conv_transpose1d.default: 1,
    aten.conv_transpose2d.input: 2,
    aten.conv_transpose3d.input: 3,
}


class Form(Protocol):
    """How a layer's values and weight become equations, for each of its ``groups`` apart."""

    @property
    def groups(self) -> int: ...

    def places(self, output: Tensor) -> int:
        """Rows that one sample gives."""

    def channel(self, rank: int) -> int:
        """Which dimension of an output of so many holds what the layer's outputs are."""

    def rows(self, value: Tensor, shape: torch.Size, picked: Tensor) -> Tensor:
        """The input at the picked places, (groups, samples x picked, inputs)."""

    def answers(self, output: Tensor, picked: Tensor) -> Tensor:
        """The output there, (groups, samples x picked, outputs)."""

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as (groups, inputs, outputs)."""

    def weight(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """The inverse of ``matrix``."""

    def taps(self, shape: torch.Size) -> int:
        """Inputs of ``matrix`` that read one row of the weight's summed dimension, side by side."""

    def place(self, row: int, shape: torch.Size) -> int:
        """Which of them, counted in rows inside a group."""

    @property
    def sharing(self) -> int:
        """Rows of the summed dimension that have one place, one for each group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearLayer:
    """``value``: node of the input; ``summed``: the weight's dimension that is summed over."""

    node: fx.Node
    value: str
    weight: str
    bias: str | None
    summed: int
    form: Form


@dataclass(frozen=True, slots=True)
class Product:
    """``linear``; with ``turned`` the weight is (inputs, outputs), as in ``x @ weight``."""

    turned: bool = False
    groups: int = 1
    sharing: int = 1

    def places(self, output: Tensor) -> int:
        return math.prod(output.shape[1:-1])

    def channel(self, rank: int) -> int:
        return rank - 1

    def rows(self, value: Tensor, shape: torch.Size, picked: Tensor) -> Tensor:
        return value.reshape(len(value), -1, value.shape[-1])[:, picked].flatten(0, 1)[None]

    def answers(self, output: Tensor, picked: Tensor) -> Tensor:
        return output.reshape(len(output), -1, output.shape[-1])[:, picked].flatten(0, 1)[None]

    def matrix(self, weight: Tensor) -> Tensor:
        return (weight if self.turned else weight.T)[None]

    def weight(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        return matrix[0] if self.turned else matrix[0].T

    def taps(self, shape: torch.Size) -> int:
        return 1

    def place(self, row: int, shape: torch.Size) -> int:
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A row is what lies under the kernel at one place, channel by channel."""

    groups: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def sharing(self) -> int:
        return 1

    def places(self, output: Tensor) -> int:
        return math.prod(output.shape[2:])

    def channel(self, rank: int) -> int:
        return 1

    def rows(self, value: Tensor, shape: torch.Size, picked: Tensor) -> Tensor:
        sides = [pad for size in reversed(self.padding) for pad in (size, size)]
        return _under_kernel(
            F.pad(value, sides), shape[2:], self.stride, self.dilation, picked, self.groups
        )

    def answers(self, output: Tensor, picked: Tensor) -> Tensor:
        return _by_group(output.flatten(2)[:, :, picked].transpose(1, 2), self.groups)

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.groups, len(weight) // self.groups, -1).transpose(1, 2)

    def weight(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        return matrix.transpose(1, 2).reshape(shape)

    def taps(self, shape: torch.Size) -> int:
        return math.prod(shape[2:])

    def place(self, row: int, shape: torch.Size) -> int:
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedConvolution:
    """A convolution of stride 1 over the input with zeros between its elements, kernel turned."""

    groups: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]

    @property
    def sharing(self) -> int:
        return self.groups

    def places(self, output: Tensor) -> int:
        return math.prod(output.shape[2:])

    def channel(self, rank: int) -> int:
        return 1

    def rows(self, value: Tensor, shape: torch.Size, picked: Tensor) -> Tensor:
        sizes = [(s - 1) * step + 1 for s, step in zip(value.shape[2:], self.stride, strict=True)]
        wide = value.new_zeros(*value.shape[:2], *sizes)
        steps = tuple(slice(None, None, step) for step in self.stride)
        wide[(slice(None), slice(None), *steps)] = value
        sides: list[int] = []
        for dim in reversed(range(len(sizes))):
            reach = self.dilation[dim] * (shape[2 + dim] - 1) - self.padding[dim]
            sides += [reach, reach + self.output_padding[dim]]
        ones = (1,) * len(sizes)
        return _under_kernel(
            F.pad(wide, sides), shape[2:], ones, self.dilation, picked, self.groups
        )

    def answers(self, output: Tensor, picked: Tensor) -> Tensor:
        return _by_group(output.flatten(2)[:, :, picked].transpose(1, 2), self.groups)

    def matrix(self, weight: Tensor) -> Tensor:
        turned = weight.flip(tuple(range(2, weight.ndim))).movedim(1, -1)
        return turned.reshape(self.groups, -1, weight.shape[1])

    def weight(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        turned = matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
        return turned.flip(tuple(range(2, len(shape))))

    def taps(self, shape: torch.Size) -> int:
        return math.prod(shape[2:])

    def place(self, row: int, shape: torch.Size) -> int:
        return row % (shape[0] // self.groups)


def pick_places(form: Form, output: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Places of an output drawn so that all its samples together give about so many rows.

    What stands first in the output need not be samples (sequences may come first).
    """
    places = form.places(output)
    picked = torch.randperm(places, generator=generator)[: -(-rows // len(output))]
    return picked.to(output.device)


def find_layer(node: fx.Node) -> LinearLayer | None:
    """The layer that a node is, where its weight is stored and read by nothing else."""
    arguments = bound(node) if node.op == "call_function" else {}
    if node.target is aten.linear.default:
        return _layer(node, arguments, "input", "weight", 1, Product())
    if node.target is aten.addmm.default:
        plain = arguments["beta"] == 1 and arguments["alpha"] == 1
        renamed = arguments | {"bias": arguments["self"]}
        return _layer(node, renamed, "mat1", "mat2", 0, Product(turned=True)) if plain else None
    if node.target in _PRODUCTS and _rank(arguments[_PRODUCTS[node.target]]) == 2:
        return _layer(node, arguments, "self", _PRODUCTS[node.target], 0, Product(turned=True))
    if node.target in _CONVOLUTIONS:
        count = _CONVOLUTIONS[node.target]
        form = Convolution(groups=arguments["groups"], **_sliding(arguments, count))
        return _layer(node, arguments, "input", "weight", 1, form)
    if node.target in _TRANSPOSED:
        count = _TRANSPOSED[node.target]
        turned = TransposedConvolution(
            groups=arguments["groups"],
            output_padding=_each(arguments["output_padding"], count),
            **_sliding(arguments, count),
        )
        return _layer(node, arguments, "input", "weight", 0, turned)
    return None


def _layer(
    node: fx.Node, arguments: dict[str, Any], value: str, weight: str, summed: int, form: Form
) -> LinearLayer | None:
    given, stored, bias = arguments[value], arguments[weight], arguments.get("bias")
    if not isinstance(given, fx.Node) or not _own(stored) or not (bias is None or _own(bias)):
        return None
    return LinearLayer(
        node=node,
        value=given.name,
        weight=str(stored.target),
        bias=None if bias is None else str(bias.target),
        summed=summed,
        form=form,
    )


def _rank(node: fx.Node) -> int:
    return len(node.meta["shape"])


def _own(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr" and len(node.users) == 1


def _sliding(arguments: dict[str, Any], count: int) -> dict[str, tuple[int, ...]]:
    return {name: _each(arguments[name], count) for name in ("stride", "padding", "dilation")}


def _each(given: Sequence[int], count: int) -> tuple[int, ...]:
    """One number stands for all dimensions."""
    return tuple(given) * count if len(given) == 1 else tuple(given)


def _under_kernel(
    padded: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    picked: Tensor,
    groups: int,
) -> Tensor:
    """(groups, samples x picked, channels of a group x taps); only picked places are copied."""
    view = padded
    for dim, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
        view = view.unfold(2 + dim, gap * (size - 1) + 1, step)
    skipped = tuple(slice(None, None, gap) for gap in dilation)
    view = view[(slice(None),) * (2 + len(kernel)) + skipped]
    places = view.shape[2 : 2 + len(kernel)]
    at: tuple[Tensor, ...] = tuple(torch.unravel_index(picked, places))
    rows = view.movedim(1, -1).movedim(0, -1)[at]  # (picked, taps ..., channels, samples)
    rows = rows.movedim((-1, -2), (0, 1))  # (samples, channels, picked, taps ...)
    return _by_group(rows.transpose(1, 2).flatten(2), groups)


def _by_group(rows: Tensor, groups: int) -> Tensor:
    """(samples, picked, groups x n) -> (groups, samples x picked, n)."""
    samples, picked, _ = rows.shape
    return rows.reshape(samples * picked, groups, -1).transpose(0, 1)
