"""A masked and a sliced network side by side, each constant of each node found by brute force.

Comes in: the nodes of a small network with their values, and which rows of every value are gone.
Goes out: whether every node of the sliced network gives what is left of the masked one's, in
float64, with some value of its constants (sizes, groups, widths, bounds).  Knows nothing of labels,
rules, plans, or of how the rows were found.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

aten = torch.ops.aten
Mask = NDArray[np.bool_]
Gone = Mapping[str, list[Mask]]  # node -> for each dimension, which rows are gone
CLOSE = 1e-10

SUMS = (aten.sum.dim_IntList, aten.mean.dim)
CONVOLUTIONS = (aten.conv2d.default, aten.conv_transpose2d.input)


@dataclass(frozen=True, slots=True)
class Trial:
    """``step`` gives a node's value from those of its operands."""

    nodes: Sequence[fx.Node]
    step: Callable[[fx.Node, Mapping[str, Any]], Any]
    gone: Gone

    def agree(self) -> bool:
        """Whether the sliced network agrees with the masked one at every node."""
        masked: dict[str, Any] = {}
        sliced: dict[str, Any] = {}
        for node in self.nodes:
            if node.op != "call_function":
                masked[node.name] = zeroed(self.step(node, {}), self.gone[node.name])
                sliced[node.name] = cut(masked[node.name], self.gone[node.name])
                continue
            masked[node.name] = self.step(node, self._gated(node, masked))
            names = [node.name]
            if isinstance(masked[node.name], list | tuple):
                names = [u.name for u in node.users if u.target is operator.getitem]
                kept = [int((~self.gone[n][1]).sum()) for n in names]
                if len(names) < len(masked[node.name]):
                    kept = [self._part(node, place) for place in range(2)]
                value = sliced[node.args[0].name]  # type: ignore[union-attr]
                if sum(kept) != value.shape[1]:
                    return False
                sliced[node.name] = node.target(value, kept, 1)  # type: ignore[operator]
                continue
            expected = cut(masked[node.name], self.gone[node.name])
            answer = self._searched(node, sliced, expected)
            if answer is None:
                return False
            sliced[node.name] = answer
        return True

    def _part(self, node: fx.Node, place: int) -> int:
        """Kept rows of a part that nothing reads: what is left of the operand."""
        sizes = np.cumsum([0, *node.args[1]])  # type: ignore[misc]
        rows = self.gone[node.args[0].name][1]  # type: ignore[union-attr]
        return int((~rows[sizes[place] : sizes[place + 1]]).sum())

    def _gated(self, node: fx.Node, masked: dict[str, Any]) -> dict[str, Any]:
        """Operands of a sum, zero where they are gone: a unit may be more than zero there."""
        summing = (aten.linear.default, aten.matmul.default, *CONVOLUTIONS, *SUMS)
        if node.target not in summing:
            return masked
        names = [used.name for used in node.all_input_nodes]
        return {n: zeroed(masked[n], self.gone[n]) for n in names}

    def _searched(self, node: fx.Node, sliced: dict[str, Any], expected: Tensor) -> Tensor | None:
        """The operator on sliced operands with whatever constants give what is expected."""
        for args in _constants(node, sliced, expected):
            plain = fx.map_arg(args, lambda used: sliced[used.name])
            try:
                answer = node.target(*plain)  # type: ignore[operator]
            except (RuntimeError, IndexError):
                continue
            if answer.shape == expected.shape:
                scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
                if not expected.numel() or float((answer - expected).abs().max()) <= CLOSE * scale:
                    return answer
        return None


def _constants(node: fx.Node, sliced: Mapping[str, Any], expected: Tensor) -> Iterator[Any]:
    """Arguments with every value that its constants may take."""
    args, target, shape = node.args, node.target, list(expected.shape)
    if target in (aten.view.default, aten.reshape.default, aten.expand.default):
        yield (args[0], shape)
    elif target is aten.pad.default:
        before, after = args[1][4:]  # type: ignore[index]
        for pair in itertools.product(range(before + 1), range(after + 1)):
            yield (args[0], [0, 0, 0, 0, *pair])
    elif target is aten.slice.Tensor:
        for start in range(sliced[args[0].name].shape[1]):  # type: ignore[union-attr]
            yield (args[0], 1, start, start + shape[1])
    elif target in CONVOLUTIONS:
        for groups in range(int(args[6]), 0, -1):  # type: ignore[arg-type]
            yield (*args[:6], groups, *args[7:])
    else:
        yield args


def elements(gone: Sequence[Mask]) -> Mask:
    shape = tuple(len(rows) for rows in gone)
    found = np.zeros(shape, dtype=np.bool_)
    for dim, rows in enumerate(gone):
        found |= rows.reshape([-1 if d == dim else 1 for d in range(len(shape))])
    return found


def zeroed(value: Tensor, gone: Sequence[Mask]) -> Tensor:
    return value.masked_fill(torch.from_numpy(elements(gone)), 0.0)


def cut(value: Tensor, gone: Sequence[Mask]) -> Tensor:
    for dim, rows in enumerate(gone):
        if rows.any():
            value = value.index_select(dim, torch.from_numpy(np.flatnonzero(~rows)))
    return value
