"""An ONNX file's nodes with what each of them costs: multiply-accumulates, bytes, widths.

In come a file and the shape of one input; out come Operations in the file's order, for one call at
the given batch.  Sizes are taken from onnx's own shape inference, so any file will do, ours or not;
what cannot be counted is named.  Knows nothing of runtimes and clocks.

Files of lower precision say what they are by conversions: a convolution's weights, kept in 8 bits,
go through a DequantizeLinear, its result through a QuantizeLinear.  Here it has the shapes of what
it reads and the bytes of what is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from benchmarks.inputs import check_texts
from compressor.errors import LoadError, first_line

Shape = tuple[int, ...]

# Operators that change the type alone: no work of the network's own.
CONVERSIONS = ("Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One node of the file.  ``macs`` None: an operator that multiplies and is not counted here."""

    name: str
    operator: str  # "Conv"; with its domain where that is not ONNX's own
    inputs: tuple[str, ...]  # values computed by other nodes, or given; weights are not among them
    outputs: tuple[str, ...]
    weight: str | None  # name of the largest stored tensor it reads
    macs: int | None
    bytes_moved: int  # weights, inputs and outputs once each, as kept; 0 where shapes are unknown
    in_width: int | None  # channels or features of the first input
    out_width: int | None
    over_space: bool = False  # a mean over the last two of four dimensions
    groups: int = 1  # of a convolution

    @property
    def layer(self) -> str:
        """What people call it: the weight's module path, else the node's own name.

        Who lowers a precision adds to the weight's name: ``layer1.conv.weight_quantized``.
        """
        path, found, added = (self.weight or "").rpartition(".weight")
        if found and (not added or added.startswith("_")) and "." not in added:
            return path
        return self.name

    @property
    def converts(self) -> bool:
        return self.operator in CONVERSIONS


def read_operations(path: Path, input_shape: Shape, batch: int = 1) -> tuple[Operation, ...]:
    """Every node of the main graph, constants left out.

    ``input_shape`` is that of one input, without the batch.  Nodes without a name, or with one that
    is taken, get ``Operator_place``.  Raises LoadError where the file cannot be read or its shapes
    contradict ``input_shape``.
    """
    model = _inferred(path, (batch, *input_shape))
    graph = model.graph
    known = _Known(graph)
    names = unique_names(graph.node)
    return tuple(
        known.operation(node, name)
        for node, name in zip(graph.node, names, strict=True)
        if node.op_type != "Constant"
    )


def unique_names(nodes: Sequence[onnx.NodeProto]) -> tuple[str, ...]:
    """A name for every node: its own where it has one that no node before it has."""
    found: dict[str, None] = {}
    for place, node in enumerate(nodes):
        name = node.name
        if not name or name in found:
            name = f"{node.op_type}_{place}"
        found[name] = None
    return tuple(found)


def _inferred(path: Path, shape: Shape) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
        check_texts(model)
        stored = {one.name for one in model.graph.initializer}
        given = [one for one in model.graph.input if one.name not in stored]
        if len(given) != 1:
            raise LoadError(f"{path.name}: has {len(given)} inputs; one can be measured so far")
        dims = given[0].type.tensor_type.shape.dim
        if len(dims) != len(shape):
            raise LoadError(f"{path.name}: its input has {len(dims)} dimensions, not {len(shape)}")
        for dim, size in zip(dims, shape, strict=True):
            if dim.HasField("dim_value") and dim.dim_value not in (0, size):
                raise LoadError(f"{path.name}: its input has size {dim.dim_value}, not {size}")
            dim.dim_value = size
        del model.graph.value_info[:]  # they name the batch, which now has a size
        for one in model.graph.output:
            one.type.tensor_type.ClearField("shape")
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except LoadError:
        raise
    except Exception as problem:  # protobuf and onnx have a tree of errors each
        told = first_line(problem)
        raise LoadError(f"{path.name}: cannot be read as an ONNX file: {told}") from problem


class _Known:
    """Shapes and element sizes of a graph's values, which are stored, and in which form."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.shapes: dict[str, Shape] = {}
        self.sizes: dict[str, int] = {}  # bytes of an element
        self.kept_as: dict[str, str] = {}  # a value -> the same in the type that is kept or moved
        self.stored = {one.name: one.name for one in graph.initializer}
        self.values = {one.name: one for one in graph.initializer}
        for one in graph.initializer:
            self._learn(one.name, one.data_type, tuple(one.dims))
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            dims = tuple(dim.dim_value for dim in tensor.shape.dim)
            if tensor.HasField("shape") and all(dims):
                self._learn(value.name, tensor.elem_type, dims)
        for node in graph.node:  # a weight stays one behind what runtimes fold away at load
            if node.op_type == "Constant":
                self.stored[node.output[0]] = node.output[0]
            elif node.input and all(name in self.stored for name in node.input if name):
                largest = max(node.input, key=self.elements)
                self.stored.update(dict.fromkeys(node.output, self.stored[largest]))
        readers = Counter(name for node in graph.node for name in node.input)
        readers.update(one.name for one in graph.output)
        for node in graph.node:
            self._learn_form(node, readers)

    def _learn_form(self, node: onnx.NodeProto, readers: Counter[str]) -> None:
        """What is dequantised, or cast at load, is kept as it was; what is only quantised, after
        it."""
        kind = node.op_type
        if kind == "DequantizeLinear" or (kind == "Cast" and node.input[0] in self.stored):
            self.kept_as[node.output[0]] = node.input[0]
        elif kind == "QuantizeLinear" and readers[node.input[0]] == 1:
            self.kept_as[node.input[0]] = node.output[0]

    def _learn(self, name: str, kind: int, shape: Shape) -> None:
        self.shapes[name] = shape
        try:
            self.sizes[name] = onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
        except KeyError:
            self.sizes[name] = 0

    def elements(self, name: str) -> int:
        return math.prod(self.shapes.get(name, (0,)))

    def bytes_of(self, name: str) -> int:
        kept = self.kept_as.get(name, name)
        one = kept if kept in self.shapes else name
        return self.elements(one) * self.sizes.get(one, 0)

    def operation(self, node: onnx.NodeProto, name: str) -> Operation:
        read = [one for one in node.input if one]
        weights = [one for one in read if one in self.stored]
        computed = [one for one in read if one not in self.stored]
        largest = max(weights, key=self.elements, default=None)
        first = self.shapes.get(computed[0]) if computed else None
        last = self.shapes.get(node.output[0]) if node.output else None
        return Operation(
            name=name,
            operator=f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
            inputs=tuple(computed),
            outputs=tuple(node.output),
            weight=None if largest is None else self.stored[largest],
            macs=self.macs(node),
            bytes_moved=sum(map(self.bytes_of, (*read, *node.output))),
            in_width=_width(node.op_type, first),
            out_width=_width(node.op_type, last),
            over_space=node.op_type == "ReduceMean" and self._over_space(node),
            groups=_attribute(node, "group", 1) if "Conv" in node.op_type else 1,
        )

    def macs(self, node: onnx.NodeProto) -> int | None:
        """0 for an operator that does not multiply matrices; None where that cannot be said."""
        rule = RULES.get(node.op_type)
        if node.domain not in ("", "ai.onnx") or node.op_type in UNCOUNTED:
            return None
        if rule is None:
            return 0
        shapes = [self.shapes.get(name) for name in node.input]
        result = self.shapes.get(node.output[0]) if node.output else None
        if node.op_type not in RECURRENT and result is None:
            return None
        try:
            return rule(node, shapes, result or ())
        except (TypeError, IndexError):  # a shape that inference could not tell
            return None

    def _over_space(self, node: onnx.NodeProto) -> bool:
        shape, axes = self.shapes.get(node.input[0], ()), _attribute(node, "axes", ())
        if len(node.input) > 1 and node.input[1] in self.values:
            axes = tuple(numpy_helper.to_array(self.values[node.input[1]]).tolist())
        return len(shape) == 4 and sorted(axis % 4 for axis in axes) == [2, 3]


def _width(operator: str, shape: Shape | None) -> int | None:
    if not shape:
        return None
    last = operator.endswith(("MatMul", "Gemm", "Linear", "MatMulInteger", "LayerNormalization"))
    return shape[-1] if last or len(shape) < 3 else shape[1]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for one in node.attribute:
        if one.name == name:
            found = onnx.helper.get_attribute_value(one)
            return found.decode("utf-8", "replace") if isinstance(found, bytes) else found
    return default


# -- multiply-accumulates of one node: (node, shapes of its inputs, shape of its output) -----------

Shapes = Sequence[Shape | None]


def _known(shape: Shape | None) -> Shape:
    if shape is None:
        raise TypeError("unknown shape")
    return shape


def _convolution(weight: int) -> Callable[[onnx.NodeProto, Shapes, Shape], int]:
    """Each output element takes one product for every weight of its filter."""
    return lambda node, shapes, result: (
        math.prod(result) * math.prod(_known(shapes[weight])[1:])  # (out, in / groups, kernel...)
    )


def _transposed(node: onnx.NodeProto, shapes: Shapes, result: Shape) -> int:
    """Each *input* element goes through one filter (in, out / groups, kernel...)."""
    return math.prod(_known(shapes[0])) * math.prod(_known(shapes[1])[1:])


def _gemm(node: onnx.NodeProto, shapes: Shapes, result: Shape) -> int:
    rows_last = _attribute(node, "transA", 0)
    return math.prod(result) * _known(shapes[0])[0 if rows_last else 1]


def _product(node: onnx.NodeProto, shapes: Shapes, result: Shape) -> int:
    return math.prod(result) * _known(shapes[0])[-1]


def _einsum(node: onnx.NodeProto, shapes: Shapes, result: Shape) -> int:
    equation = str(_attribute(node, "equation", "")).replace(" ", "")
    if "..." in equation:
        raise TypeError("dimensions without letters")
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        sizes.update(zip(letters, _known(shape), strict=True))
    return math.prod(sizes.values())


def _recurrent(node: onnx.NodeProto, shapes: Shapes, result: Shape) -> int:
    """Input (length, batch, features); W and R are used once for each element of a sequence."""
    length, batch = _known(shapes[0])[:2]
    return length * batch * (math.prod(_known(shapes[1])) + math.prod(_known(shapes[2])))


RECURRENT = ("LSTM", "GRU", "RNN")
RULES: Mapping[str, Callable[[onnx.NodeProto, Shapes, Shape], int]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "DeformConv": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Einsum": _einsum,
    **dict.fromkeys(RECURRENT, _recurrent),
}
UNCOUNTED = ("Attention", "If", "Loop", "Scan")  # they multiply inside
