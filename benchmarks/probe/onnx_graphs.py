"""An operator's shape as a small ONNX graph, in which it costs what it costs inside a network.

Comes in: an ``Operator`` and a precision.  Goes out: an ``onnx.ModelProto`` with random weights and
a fixed batch.  Knows nothing of runtimes and clocks.

A runtime that keeps activations in a layout of its own converts at the ends of a graph, and more
than a layer costs.  So a convolution stands between two neighbours that cost next to nothing and
keep the layout: a 1 x 1 convolution that spreads one channel over all inputs, and a global average
pool.  It stands there several times, side by side, so that graphs of several and of one copy tell
what the neighbours and the call itself cost.  A width that the layout does not hold pays for its
conversions here as it would in a network.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compressor.staircases import Operator

OPSET, IR_VERSION = 21, 10
SCALE, WEIGHT_SCALE = np.float32(0.05), np.float32(0.005)  # any will do: time does not hang on them


def input_shape(operator: Operator, batch: int) -> tuple[int, ...]:
    """Of the graph's one input."""
    if operator.kind == "product":
        return (batch, *operator.space, operator.inputs)
    return (batch, 1, *operator.space)


def build_graph(operator: Operator, copies: int, precision: str, batch: int) -> onnx.ModelProto:
    """``precision``: "fp32" or "int8"; other precisions are the runtime's business ("bf16")."""
    graph = _Graph(quantised=precision == "int8")
    value = graph.quantised("input")
    ends = []
    if operator.kind == "product":
        value = graph.activated(value)
        ends = [graph.product(value, operator) for _ in range(copies)]
    else:
        taps = (1,) * len(operator.space)
        spread = Operator(
            kind="convolution",
            inputs=1,
            outputs=operator.inputs,
            space=operator.space,
            kernel=taps,
            stride=taps,
            padding=(0,) * len(taps),
            dilation=taps,
        )
        value = graph.activated(graph.convolution(value, spread))
        results = [graph.activated(graph.convolution(value, operator)) for _ in range(copies)]
        ends = [graph.quantised(graph.node("GlobalAveragePool", one)) for one in results]
    result: tuple[int, ...] = (batch, *operator.space, operator.outputs)
    if operator.kind == "convolution":
        result = (batch, operator.outputs, *(1 for _ in operator.space))
    return graph.model(input_shape(operator, batch), ends, result)


class _Graph:
    """Nodes and weights so far; every value has a number for a name."""

    def __init__(self, *, quantised: bool) -> None:
        self._quantised = quantised
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        result = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, [*inputs], [result], **attributes))
        return result

    def stored(self, array: np.ndarray | np.generic) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def activated(self, value: str) -> str:
        return self.quantised(self.node("Relu", value))

    def quantised(self, value: str) -> str:
        """The value through eight bits, unsigned, where the graph is quantised."""
        if not self._quantised:
            return value
        scale, zero = self.stored(SCALE), self.stored(np.uint8(0))
        whole = self.node("QuantizeLinear", value, scale, zero)
        return self.node("DequantizeLinear", whole, scale, zero)

    def convolution(self, value: str, operator: Operator) -> str:
        shape = (operator.outputs, operator.inputs // operator.groups, *operator.kernel)
        return self.node(
            "Conv",
            value,
            self._weight(shape, axis=0),
            self._bias(operator.outputs),
            kernel_shape=operator.kernel,
            strides=operator.stride,
            pads=operator.padding * 2,
            dilations=operator.dilation,
            group=operator.groups,
        )

    def product(self, value: str, operator: Operator) -> str:
        found = self.node(
            "MatMul", value, self._weight((operator.inputs, operator.outputs), axis=1)
        )
        return self.quantised(
            self.node("Add", found, self.stored(np.zeros(operator.outputs, np.float32)))
        )

    def _weight(self, shape: tuple[int, ...], *, axis: int) -> str:
        values = self._random.standard_normal(shape, dtype=np.float32)
        if not self._quantised:
            return self.stored(values / math.sqrt(shape[1 - axis] * math.prod(shape[2:])))
        channels = shape[axis]
        return self.node(
            "DequantizeLinear",
            self.stored(np.clip(40 * values, -127, 127).astype(np.int8)),
            self.stored(np.full(channels, WEIGHT_SCALE)),
            self.stored(np.zeros(channels, np.int8)),
            axis=axis,
        )

    def _bias(self, channels: int) -> str:
        if not self._quantised:
            return self.stored(np.zeros(channels, np.float32))
        return self.node(
            "DequantizeLinear",
            self.stored(np.zeros(channels, np.int32)),
            self.stored(np.full(channels, SCALE * WEIGHT_SCALE)),
            axis=0,
        )

    def model(
        self, shape: tuple[int, ...], ends: list[str], result: tuple[int, ...]
    ) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        results = [helper.make_tensor_value_info(end, TensorProto.FLOAT, result) for end in ends]
        graph = helper.make_graph(self._nodes, "operator", [given], results, self._weights)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
