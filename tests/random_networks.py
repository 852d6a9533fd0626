"""Small random networks, written straight as graphs of ATen operators: milliseconds each.

Comes in: a seed.  Goes out: a ``Graph`` of one to eight steps after a first convolution, over
pictures of 2 x 2 or 2 x 3, with at most 12 channels, and a linear head.  Widths, groups, cuts and
which earlier values are joined are drawn.  No norm, mean or softmax runs over channels: every group
is exact.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from compressor.annotation import Sizes
from compressor.graphs import Graph, build_program

aten = torch.ops.aten
HINT, CHANNELS_IN, CLASSES, WIDEST = 13, 2, 3, 12


class _Builder:
    """Nodes with their values at the batch hint, from which the shapes are read."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.graph = fx.Graph()
        self.tensors: dict[str, Tensor] = {}
        self.space = (2, int(self.draw.integers(2, 4)))
        shape = (HINT, CHANNELS_IN, *self.space)
        self.x = self._note(self.graph.placeholder("x"), self._random(shape))
        self.x.meta["free"] = (0,)
        self.open: list[fx.Node] = []  # values that may still be read

    def _random(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def _note(self, node: fx.Node, value: Any) -> fx.Node:
        several = isinstance(value, tuple | list)
        shape = tuple(tuple(v.shape) for v in value) if several else tuple(value.shape)
        node.meta = {"shape": shape, "where": "", "source": "", "value": value}
        return node

    def call(self, target: Any, *args: Any) -> fx.Node:
        plain = fx.map_arg(args, lambda node: node.meta["value"])
        return self._note(self.graph.call_function(target, args), target(*plain))

    def parameter(self, *shape: int, buffer: bool = False) -> fx.Node:
        name = f"p{len(self.tensors)}"
        value = self._random(shape)
        if buffer:
            value = value.abs() + 0.5
        self.tensors[name] = value if buffer else nn.Parameter(value)
        return self._note(self.graph.get_attr(name), value)

    # -- choices -----------------------------------------------------------------------------

    def pick(self, values: Any) -> Any:
        return values[int(self.draw.integers(len(values)))]

    def width(self) -> int:
        return int(self.draw.integers(2, 9))

    def divisor(self, count: int) -> int:
        found = [d for d in range(2, count) if count % d == 0]
        return int(self.pick(found)) if found else count

    def finish(self, result: fx.Node) -> Graph:
        self.graph.output(((result),))
        for node in self.graph.nodes:
            node.meta.pop("value", None)
        node = next(iter(self.graph.find_nodes(op="output")))
        node.meta = {"shape": None, "where": "", "source": ""}
        example = self._random((2, CHANNELS_IN, *self.space))
        return Graph(
            build_program(self.graph, self.tensors),
            example_inputs=(example,),
            sizes=Sizes(hints={HINT: 1}, symbolic={}),
            architecture="drawn",
        )


def channels(value: fx.Node) -> int:
    return int(value.meta["shape"][1])


Step = Callable[[_Builder, fx.Node], fx.Node]


def _convolved(b: _Builder, x: fx.Node, outputs: int, groups: int = 1) -> fx.Node:
    size = b.pick((1, 3))
    weight = b.parameter(outputs, channels(x) // groups, size, size)
    bias = b.parameter(outputs) if b.pick((True, False)) else None
    pads = [size // 2] * 2
    return b.call(aten.conv2d.default, x, weight, bias, [1, 1], pads, [1, 1], groups)


def convolution(b: _Builder, x: fx.Node) -> fx.Node:
    return _convolved(b, x, b.width())


def grouped(b: _Builder, x: fx.Node) -> fx.Node:
    groups = b.divisor(channels(x))
    return _convolved(b, x, groups * int(b.draw.integers(1, max(2, WIDEST // groups))), groups)


def depthwise(b: _Builder, x: fx.Node) -> fx.Node:
    times = 2 if channels(x) * 2 <= WIDEST and b.pick((True, False)) else 1
    return _convolved(b, x, channels(x) * times, channels(x))


def transposed(b: _Builder, x: fx.Node) -> fx.Node:
    groups = b.pick((1, b.divisor(channels(x))))
    weight = b.parameter(channels(x), max(1, b.width() // groups), 3, 3)
    return b.call(
        aten.conv_transpose2d.input, x, weight, None, [1, 1], [1, 1], [0, 0], groups, [1, 1]
    )


def normalised(b: _Builder, x: fx.Node) -> fx.Node:
    gains = [b.parameter(channels(x)) for _ in range(2)]
    statistics = [b.parameter(channels(x), buffer=True) for _ in range(2)]
    return b.call(aten.batch_norm.default, x, *gains, *statistics, False, 0.1, 1e-5, True)


def activated(b: _Builder, x: fx.Node) -> fx.Node:
    operators = (aten.relu.default, aten.sigmoid.default, aten.tanh.default, aten.exp.default)
    y = b.call(aten.tanh.default, x)
    return b.call(b.pick(operators), y)


def _alike(b: _Builder, x: fx.Node) -> fx.Node:
    """An earlier value of as many channels, else a layer that makes one."""
    found = [y for y in b.open if channels(y) == channels(x) and y is not x]
    return b.pick(found) if found else _convolved(b, b.pick(b.open), channels(x))


def joined(b: _Builder, x: fx.Node) -> fx.Node:
    return b.call(b.pick((aten.add.Tensor, aten.mul.Tensor)), x, _alike(b, x))


def concatenated(b: _Builder, x: fx.Node) -> fx.Node:
    parts = [x, b.pick(b.open)]
    if channels(parts[0]) + channels(parts[1]) > WIDEST:
        return activated(b, x)
    return b.call(aten.cat.default, parts, 1)


def split(b: _Builder, x: fx.Node) -> fx.Node:
    first = int(b.draw.integers(1, channels(x)))
    sizes = [first, channels(x) - first]
    parts = b.call(aten.split_with_sizes.default, x, sizes, 1)
    one, two = (_item(b, parts, place) for place in range(2))
    b.open.append(one)
    return two


def _item(b: _Builder, parts: fx.Node, place: int) -> fx.Node:
    node = b.graph.call_function(operator.getitem, (parts, place))
    return b._note(node, parts.meta["value"][place])


def gated(b: _Builder, x: fx.Node) -> fx.Node:
    if channels(x) % 2:
        return padded(b, x)
    half = channels(x) // 2
    parts = b.call(aten.split_with_sizes.default, x, [half, half], 1)
    one, two = (_item(b, parts, place) for place in range(2))
    return b.call(aten.mul.Tensor, one, b.call(aten.sigmoid.default, two))


def padded(b: _Builder, x: fx.Node) -> fx.Node:
    before, after = (int(n) for n in b.draw.integers(0, 3, 2))
    if channels(x) + before + after > WIDEST:
        return sliced(b, x)
    return b.call(aten.pad.default, x, [0, 0, 0, 0, before, after])


def sliced(b: _Builder, x: fx.Node) -> fx.Node:
    start = int(b.draw.integers(0, max(channels(x) - 1, 1)))
    end = int(b.draw.integers(start + 1, channels(x) + 1))
    return b.call(aten.slice.Tensor, x, 1, start, end)


def shuffled(b: _Builder, x: fx.Node) -> fx.Node:
    count, groups = channels(x), b.divisor(channels(x))
    y = b.call(aten.view.default, x, [-1, groups, count // groups, *b.space])
    y = b.call(aten.transpose.int, y, 1, 2)
    return b.call(aten.reshape.default, y, [-1, count, *b.space])


def scaled_by_heads(b: _Builder, x: fx.Node) -> fx.Node:
    """A number for each head, or for each place in a head."""
    count, heads = channels(x), b.divisor(channels(x))
    y = b.call(aten.view.default, x, [-1, heads, count // heads, *b.space])
    shape = b.pick(((heads, 1, 1, 1), (count // heads, 1, 1)))
    y = b.call(aten.mul.Tensor, y, b.parameter(*shape))
    return b.call(aten.view.default, y, [-1, count, *b.space])


def through_linear(b: _Builder, x: fx.Node) -> fx.Node:
    y = b.call(aten.permute.default, x, [0, 2, 3, 1])
    y = b.call(aten.linear.default, y, b.parameter(b.width(), channels(x)), None)
    return b.call(aten.permute.default, y, [0, 3, 1, 2])


def attended(b: _Builder, x: fx.Node) -> fx.Node:
    """Products of tokens with tokens, head by head, without a softmax."""
    count, heads = channels(x), b.divisor(channels(x))
    places = math.prod(b.space)
    y = b.call(aten.reshape.default, x, [-1, heads, count // heads, places])
    scores = b.call(aten.matmul.default, b.call(aten.transpose.int, y, 2, 3), y)
    y = b.call(aten.matmul.default, y, b.call(aten.tanh.default, scores))
    return b.call(aten.reshape.default, y, [-1, count, *b.space])


def tiled(b: _Builder, x: fx.Node) -> fx.Node:
    if channels(x) * 2 > WIDEST:
        return sliced(b, x)
    return b.call(aten.repeat.default, x, [1, 2, 1, 1])


def turned(b: _Builder, x: fx.Node) -> fx.Node:
    return b.call(aten.flip.default, x, [1])


def spread(b: _Builder, x: fx.Node) -> fx.Node:
    """One channel, the sum of all, put into as many as another value has."""
    y = b.call(aten.sum.dim_IntList, x, [1], True)
    return b.call(aten.expand.default, y, [-1, b.width(), -1, -1])


STEPS: tuple[Step, ...] = (
    convolution, convolution, grouped, depthwise, transposed, normalised, activated, joined, joined,
    concatenated, split, gated, padded, sliced, shuffled, scaled_by_heads, through_linear,
    attended, tiled, turned, spread,
)  # fmt: skip


def network(seed: int) -> Graph:
    """A network of three to eight steps."""
    b = _Builder(seed)
    b.open.append(_convolved(b, b.x, b.width()))
    for _ in range(int(b.draw.integers(2, 8))):
        x = b.open[-1] if b.pick((True, True, False)) else b.pick(b.open)
        y = b.pick(STEPS)(b, x)
        if channels(y) > 1:
            b.open.append(y)
    x = b.open[-1]
    if b.pick((True, False)):
        flat = b.call(aten.flatten.using_ints, x, 1)
    else:
        flat = b.call(aten.mean.dim, x, [2, 3])
    weight = b.parameter(CLASSES, flat.meta["shape"][1])
    return b.finish(b.call(aten.linear.default, flat, weight, None))
