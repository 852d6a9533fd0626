"""A float32 ONNX file becomes one of float16 or bfloat16, its fragile operators left in float32.

Comes in: an ``onnx_ir`` model and the range of its tensors on real inputs.  Goes out: the same
function in halves, with float32 inputs and outputs, in standard operators: a drop-in for the file
it came from.  Knows nothing of files and runtimes.

A cast stands only between operators of unlike types, so that what flows from one fragile operator
to the next is never rounded: a large intermediate stays as large as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import (
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
    ShapeInferencePass,
)
from onnxscript import version_converter


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """``limit``: largest absolute value a tensor may have on real inputs for the operators that
    touch it to be computed in this type.  ``opset``: lowest in which convolutions know the type."""

    name: str
    type: ir.DataType
    limit: float
    opset: int


# Overflow is at 65504: a sixteenth of it leaves room for inputs that were not seen, and for sums.
FLOAT16 = Half(name="fp16", type=ir.DataType.FLOAT16, limit=65504 / 16, opset=18)
# As wide as float32, with 8 bits of precision.
BFLOAT16 = Half(name="bf16", type=ir.DataType.BFLOAT16, limit=float("inf"), opset=22)

# What torch.autocast computes in float32 (exponentials, logarithms, powers, sums, norms, softmax:
# https://docs.pytorch.org/docs/stable/amp.html, "ops that autocast to float32"), and means, which
# are sums: how a runtime adds up halves is its own affair.
FRAGILE = frozenset({
    "BatchNormalization", "CumSum", "Exp", "GroupNormalization", "InstanceNormalization",
    "LayerNormalization", "Log", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization",
    "Pow", "RMSNormalization", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Softmax",
    "Softplus", "Sqrt",
})  # fmt: skip
# Their result has the type that an attribute names: left alone, a cast follows where needed.
TYPED_BY_ATTRIBUTE = frozenset({
    "Bernoulli", "Cast", "Constant", "ConstantOfShape", "EyeLike", "Multinomial", "RandomNormal",
    "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Halved:
    """``kept``: operators that stay in float32 and take or give floats, by node name."""

    model: ir.Model
    kept: tuple[str, ...]


def to_half(model: ir.Model, half: Half, largest: Mapping[str, float]) -> Halved:
    """``model`` (changed in place) with every operator in ``half`` that can be.

    ``largest``: largest absolute value of a tensor on real inputs, by its name.  The opset is
    raised to the lowest one in which ``half`` is usable.
    """
    if model.opset_imports[""] < half.opset:
        version_converter.convert_version(model, half.opset)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    ShapeInferencePass()(model)
    opset = model.opset_imports[""]
    casts = _Casts(model.graph, half.type)
    kept = []
    for node in tuple(model.graph):
        if any(map(_is_float, (*node.inputs, *node.outputs))) and (
            _is_fragile(node, half, largest) or not _admits(node, half, opset)
        ):
            if node.op_type not in TYPED_BY_ATTRIBUTE:
                kept.append(node.name or node.op_type)
            casts.to_float(node)
        else:
            casts.to_half(node, opset)
    casts.outputs_to_float()
    RemoveUnusedNodesPass()(model)
    casts.name_constants()
    return Halved(model=model, kept=tuple(kept))


def round_results(model: ir.Model) -> None:
    """Rewrite a half model, in place, so that any runtime computes what half hardware does.

    Every half operator is computed in float32 and its result rounded, as where products are halves
    and sums are not.  Runtimes without half kernels otherwise skip the rounding: ONNX Runtime on
    x86 computes float16 files in float32 and never overflows.
    """
    for node in tuple(model.graph):
        if node.op_type == "Cast" or not any(map(_is_half, (*node.inputs, *node.outputs))):
            continue
        name = node.outputs[0].name
        for place, value in enumerate(node.inputs):
            if value is not None and _is_half(value):
                cast = _cast(value, ir.DataType.FLOAT, f"{name}_in_{place}")
                model.graph.insert_before(node, cast)
                node.replace_input_with(place, cast.outputs[0])
        for place, value in enumerate(node.outputs):
            if _is_half(value):
                kind = value.dtype
                assert kind is not None
                value.dtype = ir.DataType.FLOAT
                cast = _cast(value, kind, f"{name}_out_{place}")
                rounded = cast.outputs[0]
                ir.convenience.replace_all_uses_with(value, rounded)
                cast.replace_input_with(0, value)
                model.graph.insert_after(node, cast)


class _Casts:
    """The casts of one graph: each value is cast once to each type."""

    def __init__(self, graph: ir.Graph, kind: ir.DataType) -> None:
        self.graph = graph
        self.kind = kind
        self.made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.constants: list[tuple[ir.Value, ir.Value]] = []  # float32, half

    def to_float(self, node: ir.Node) -> None:
        """Give ``node``, and what the graphs inside it read, float32 in place of halves."""
        for one in (node, *_inside(node)):
            for place, value in enumerate(one.inputs):
                if value is not None and value.dtype == self.kind:
                    one.replace_input_with(place, self._of(value, ir.DataType.FLOAT, node))

    def to_half(self, node: ir.Node, opset: int) -> None:
        """Give ``node`` halves in place of float32, except where its operator wants float32."""
        takes, gives = _formal_types(node, opset)
        for place, value in enumerate(node.inputs):
            if value is not None and _is_float(value) and takes(place) != _FLOAT_ONLY:
                node.replace_input_with(place, self._of(value, self.kind, node))
            elif value is not None and value.dtype == self.kind and takes(place) == _FLOAT_ONLY:
                node.replace_input_with(place, self._of(value, ir.DataType.FLOAT, node))
        for place, value in enumerate(node.outputs):
            if _is_float(value) and gives(place) != _FLOAT_ONLY:
                value.dtype = self.kind

    def outputs_to_float(self) -> None:
        for place, value in enumerate(self.graph.outputs):
            if value.dtype == self.kind:
                name, node = value.name, value.producer()
                assert node is not None
                value.name = f"{name}_{self.kind.short_name()}"
                cast = _cast(value, ir.DataType.FLOAT, f"{name}_cast")
                cast.outputs[0].name = name
                self.graph.append(cast)
                self.graph.outputs[place] = cast.outputs[0]

    def name_constants(self) -> None:
        """A weight that is now wanted as a half alone has the name it had."""
        for whole, rounded in self.constants:
            if whole.name not in self.graph.initializers:
                assert rounded.name is not None
                self.graph.initializers.pop(rounded.name)
                rounded.name = whole.name
                self.graph.register_initializer(rounded)

    def _of(self, value: ir.Value, kind: ir.DataType, user: ir.Node) -> ir.Value:
        if (value, kind) not in self.made:
            if value.const_value is not None and value.is_initializer():
                self.made[value, kind] = self._constant(value, kind)
            else:
                cast = _cast(value, kind, f"{value.name}_to_{kind.short_name()}")
                self.made[value, kind] = cast.outputs[0]
                self.graph.insert_before(user, cast)
        return self.made[value, kind]

    def _constant(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        assert value.const_value is not None
        name = f"{value.name}_{kind.short_name()}"
        array = value.const_value.numpy().astype(kind.numpy())
        tensor = ir.Tensor(array, dtype=kind, name=name)
        made = ir.Value(name=name, shape=value.shape, type=ir.TensorType(kind), const_value=tensor)
        self.graph.register_initializer(made)
        self.constants.append((value, made))
        return made


def _cast(value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    node = ir.node("Cast", [value], {"to": kind}, name=name)
    output = node.outputs[0]
    output.name, output.shape, output.type = name, value.shape, ir.TensorType(kind)
    return node


def _inside(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the graphs that a loop or a branch holds, at any depth."""
    for one in node.attributes.values():
        if one.type == ir.AttributeType.GRAPH:
            yield from ir.traversal.RecursiveGraphIterator(one.as_graph())


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT


def _is_half(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _is_fragile(node: ir.Node, half: Half, largest: Mapping[str, float]) -> bool:
    """By its kind, or because a tensor it touches is too large on real inputs."""
    if node.op_type in FRAGILE | TYPED_BY_ATTRIBUTE:
        return True
    return any(
        _largest(value, largest) > half.limit
        for value in (*node.inputs, *node.outputs)
        if value is not None
    )


def _largest(value: ir.Value, largest: Mapping[str, float]) -> float:
    if value.const_value is not None and value.dtype in (ir.DataType.FLOAT, None):
        array = value.const_value.numpy()
        # Infinities of a mask are infinities in every type.
        finite = np.abs(array[np.isfinite(array)]) if array.dtype.kind == "f" else array[:0]
        return float(finite.max(initial=0.0))
    return largest.get(value.name or "", 0.0)


_FLOAT_ONLY = "tensor(float)"


def _formal_types(node: ir.Node, opset: int) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """The type that the standard writes for an input and for an output, by place."""
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)

    def written(formals: Sequence[onnx.defs.OpSchema.FormalParameter]) -> Callable[[int], str]:
        # The last one stands for all that follow, where there may be any number.
        return lambda place: formals[min(place, len(formals) - 1)].type_str

    return written(schema.inputs), written(schema.outputs)


def _admits(node: ir.Node, half: Half, opset: int) -> bool:
    """Whether the standard defines the operator for halves; one with a graph inside is left."""
    if any(one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for one in node.attributes.values()):  # fmt: skip
        return False
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
    takes, gives = _formal_types(node, opset)
    wanted = f"tensor({'float16' if half.type == ir.DataType.FLOAT16 else 'bfloat16'})"
    formal = [takes(place) for place, value in enumerate(node.inputs) if _is_float(value)]
    formal += [gives(place) for place, value in enumerate(node.outputs) if _is_float(value)]
    return all(one == _FLOAT_ONLY or wanted in allowed.get(one, ()) for one in formal)
