"""A graph executed node by node, keeping only the values that are still needed.

Comes in: a ``Graph`` and inputs.  Goes out: each node's value, when asked to step.  Proof and
reconstruction run two graphs side by side this way.  Knows nothing of either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from compressor.flattening import CHECKS
from compressor.graphs import Graph


def unchanged(value: Any) -> Any:
    return value


class Stepper:
    """One run over the input tensors, in order.

    ``stored`` is applied to inputs and parameters, ``constants`` to arguments.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: tuple[Tensor, ...],
        *,
        stored: Callable[[Tensor], Tensor] = unchanged,
        constants: Callable[[Any], Any] = unchanged,
    ) -> None:
        self.nodes: list[fx.Node] = list(graph.program.graph.nodes)
        self.values: dict[str, Any] = {}
        self._tensors = graph.tensors
        self._inputs = iter(inputs)
        self._stored, self._constants = stored, constants
        self._last: dict[str, str] = {}
        for node in self.nodes:
            for used in node.all_input_nodes:
                self._last[used.name] = node.name

    def step(self, node: fx.Node) -> Any:
        """Execute one node, whose operands were stepped before; returns its value."""
        if node.op == "placeholder" and "constant" in node.meta:
            value = node.meta["constant"]  # what the capture fixed
        elif node.op == "placeholder":
            value = self._stored(next(self._inputs))
        elif node.op == "get_attr":
            value = self._stored(self._tensors[str(node.target)].detach())
        elif node.op == "output":
            return fx.map_arg(node.args[0], self._value)
        elif node.target in CHECKS:
            return None
        else:
            args = self._constants(fx.map_arg(node.args, self._value))
            kwargs = self._constants(fx.map_arg(node.kwargs, self._value))
            value = node.target(*args, **kwargs)  # type: ignore[operator]
        self.values[node.name] = value
        return value

    def _value(self, node: fx.Node) -> Any:
        return self.values[node.name]

    def release(self, node: fx.Node) -> None:
        """Forget values that no later node reads."""
        for used in (*node.all_input_nodes, node):
            if self._last.get(used.name, used.name) == node.name:
                self.values.pop(used.name, None)


def alive_bytes(graph: Graph, element: int = 4) -> int:
    """Bytes of the values alive at once while one sample steps through, at most."""
    last: dict[str, int] = {}
    nodes = list(graph.program.graph.nodes)
    for place, node in enumerate(nodes):
        for used in (*node.all_input_nodes, node):
            last[used.name] = place
    ends: dict[int, list[int]] = {}
    alive = most = 0
    for place, node in enumerate(nodes):
        size = element * _elements(node.meta.get("shape"), graph.batch_hint)
        alive += size if node.op == "call_function" else 0
        most = max(most, alive)
        if node.op == "call_function":
            ends.setdefault(last[node.name], []).append(size)
        alive -= sum(ends.pop(place, ()))
    return most


def _elements(shape: Any, batch: int) -> int:
    """Of one sample, in a shape whose batch is written as a prime; 0 for what has no batch."""
    if not isinstance(shape, tuple):
        return 0
    if any(isinstance(part, tuple) for part in shape):
        return sum(_elements(part, batch) for part in shape)
    whole = math.prod(shape)
    return whole // batch if any(size % batch == 0 for size in shape if size) else 0
