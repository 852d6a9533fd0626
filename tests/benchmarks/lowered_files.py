"""Small networks as ONNX files of every precision.

residual    convolutions, a sum around two of them, a pool, a linear head
depthwise   filters for each channel, HardSwish, channels weighed by a gate, Clip, a linear head
heads       matrix products on two dimensions, two outputs added, a softmax
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from export.calibration import largest_values, minmax
from export.half import BFLOAT16, FLOAT16, to_half
from export.quantisation import Integers, to_int8

SHAPES = {"residual": (3, 8, 8), "depthwise": (3, 8, 8), "heads": (12,)}
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


class Weights:
    """Initializers, drawn one after the other."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.made: list[onnx.TensorProto] = []

    def __call__(self, name: str, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self.generator.standard_normal(shape).astype(np.float32) / fan_in**0.5
        self.made.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, name: str, value: float) -> str:
        self.made.append(numpy_helper.from_array(np.float32(value), name))
        return name


Nodes = list[onnx.NodeProto]


def residual(width: int, w: Weights) -> Nodes:
    inner, outer = width, 2 * width
    return [
        convolution("x", w, "stem", 3, outer, "s"),
        helper.make_node("Relu", ["s"], ["r"], "stem_relu"),
        convolution("r", w, "one", outer, inner, "a"),
        helper.make_node("Relu", ["a"], ["b"], "one_relu"),
        convolution("b", w, "two", inner, outer, "c"),
        helper.make_node("Add", ["c", "r"], ["d"], "sum"),
        helper.make_node("Relu", ["d"], ["e"], "sum_relu"),
        helper.make_node("GlobalAveragePool", ["e"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        linear("f", w, "fc", outer, 5, "y"),
    ]


def depthwise(width: int, w: Weights) -> Nodes:
    low, high = w.constant("low", 0.0), w.constant("high", 6.0)
    return [
        convolution("x", w, "stem", 3, width, "s"),
        helper.make_node("HardSwish", ["s"], ["t"], "stem_swish"),
        convolution("t", w, "each", width, width, "a", groups=width),
        helper.make_node("Clip", ["a", low, high], ["b"], "each_clip"),
        helper.make_node("GlobalAveragePool", ["b"], ["g"], "squeeze"),
        convolution("g", w, "down", width, 4, "h", size=1),
        helper.make_node("Relu", ["h"], ["i"], "down_relu"),
        convolution("i", w, "up", 4, width, "j", size=1),
        helper.make_node("HardSigmoid", ["j"], ["k"], "gate"),
        helper.make_node("Mul", ["b", "k"], ["l"], "weigh"),
        convolution("l", w, "last", width, width, "m", size=1),
        helper.make_node("GlobalAveragePool", ["m"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        linear("f", w, "fc", width, 5, "y"),
    ]


def heads(width: int, w: Weights) -> Nodes:
    return [
        linear("x", w, "in", 12, width, "a"),
        helper.make_node("Relu", ["a"], ["b"], "in_relu"),
        helper.make_node("MatMul", ["b", w("one.weight", width, 6)], ["c"], "one"),
        helper.make_node("MatMul", ["b", w("two.weight", width, 6)], ["d"], "two"),
        helper.make_node("Sigmoid", ["d"], ["e"], "two_sigmoid"),
        helper.make_node("Add", ["c", "e"], ["f"], "sum"),
        helper.make_node("Softmax", ["f"], ["y"], "softmax"),
    ]


NETWORKS: dict[str, Callable[[int, Weights], Nodes]] = {
    "residual": residual,
    "depthwise": depthwise,
    "heads": heads,
}


def convolution(
    source: str, w: Weights, name: str, inputs: int, outputs: int, result: str, *,
    groups: int = 1, size: int = 3,
) -> onnx.NodeProto:  # fmt: skip
    weight = w(f"{name}.weight", outputs, inputs // groups, size, size)
    bias = w(f"{name}.bias", outputs)
    return helper.make_node(
        "Conv", [source, weight, bias], [result], name, group=groups, pads=[size // 2] * 4,
        kernel_shape=[size, size],
    )  # fmt: skip


def linear(
    source: str, w: Weights, name: str, inputs: int, outputs: int, result: str
) -> onnx.NodeProto:
    weight, bias = w(f"{name}.weight", outputs, inputs), w(f"{name}.bias", outputs)
    return helper.make_node("Gemm", [source, weight, bias], [result], name, transB=1)


def write_network(path: Path, kind: str, width: int) -> Path:
    """In float32, the batch free."""
    weights = Weights()
    nodes = NETWORKS[kind](width, weights)
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPES[kind]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])],
        weights.made,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.save(model, path)
    return path


def lowered(source: Path, precision: str, kind: str) -> Path:
    """The file of a network in a precision, beside its float32 file."""
    if precision == "fp32":
        return source
    generator = np.random.default_rng(1)
    batches = [(generator.standard_normal((4, *SHAPES[kind]), dtype=np.float32),)]
    if precision == "int8":
        model = to_int8(source, minmax, batches, Integers(unsigned=True, reduce_range=False))
    else:
        half = {"fp16": FLOAT16, "bf16": BFLOAT16}[precision]
        model = to_half(ir.load(source), half, largest_values(source, batches)).model
    path = source.with_name(f"{source.stem}-{precision}.onnx")
    ir.save(model, path)
    return path


def write_pair(
    folder: Path, kind: str, precision: str, widths: tuple[int, int]
) -> tuple[Path, Path]:
    """Teacher and student."""
    teacher, student = (
        lowered(write_network(folder / f"{name}.onnx", kind, width), precision, kind)
        for name, width in zip(("teacher", "student"), widths, strict=True)
    )
    return teacher, student
