"""Nodes of OpenVINO's own graph, made up as it tells them."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.operations import Operation
from benchmarks.steps import steps_of


@dataclass
class Fact:
    text: str

    def astype(self, kind: type) -> object:
        return kind(self.text)


@dataclass
class Source:
    node: FakeNode

    def get_source_output(self) -> Source:
        return self

    def get_node(self) -> FakeNode:
        return self.node


@dataclass
class FakeNode:
    friendly_name: str
    kind: str
    names: str
    precision: str
    sources: tuple[FakeNode, ...] = ()

    def inputs(self) -> list[Source]:
        return [Source(one) for one in self.sources]

    def get_rt_info(self) -> dict[str, Fact]:
        told = {
            "layerType": self.kind,
            "originalLayersNames": self.names,
            "runtimePrecision": self.precision,
        }
        return {key: Fact(text) for key, text in told.items()}


@dataclass
class FakeModel:
    nodes: tuple[FakeNode, ...]

    def get_ordered_ops(self) -> tuple[FakeNode, ...]:
        return self.nodes


def operation(
    name: str, operator: str, inputs: str, output: str, weight: str | None = None
) -> Operation:
    return Operation(
        name=name,
        operator=operator,
        inputs=tuple(inputs.split()),
        outputs=(output,),
        weight=weight,
        macs=9 if weight else 0,
        bytes_moved=0,
        in_width=None,
        out_width=None,
    )


OPERATIONS = (
    operation("conv", "Conv", "x", "a", "conv.weight"),
    operation("fc", "Gemm", "a", "b", "fc.weight"),
    operation("act", "Sigmoid", "b", "c"),
    operation("y_cast", "Cast", "c", "y"),
)


def test_a_weight_says_who_multiplies_where_the_name_has_moved() -> None:
    given = FakeNode("x", "Input", "x", "f32")
    stored = FakeNode("fc.weight", "Const", "fc.weight", "f32")
    turned = FakeNode("turned", "Transpose", "fc/WithoutBiases/transpose_b", "f32", (stored,))
    conv = FakeNode("conv/W", "Convolution", "conv/WithoutBiases,conv", "i8", (given,))
    product = FakeNode("Multiply_12", "FullyConnected", "Multiply_12", "u8", (conv, turned))
    beside = FakeNode("Sub", "Subgraph", "Convert_3,fc,act", "f32", (product,))
    way_out = FakeNode("y", "Subgraph", "y", "f32", (beside,))
    nodes = (given, stored, turned, conv, product, beside, way_out)
    found = steps_of(FakeModel(nodes), OPERATIONS)
    assert found["conv/W"].covers == ("conv",)
    assert found["conv/W"].computes_in == "int8"
    assert (found["Multiply_12"].covers, found["Multiply_12"].converts) == (("fc",), False)
    assert found["Sub"].covers == ("act",)
    assert (found["y"].covers, found["y"].converts) == (("act", "y_cast"), True)
    assert [name for name, one in found.items() if one.at_load] == ["fc.weight", "turned"]
