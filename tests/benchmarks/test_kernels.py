"""Which operations an optimised graph's nodes stand for."""

from __future__ import annotations

from benchmarks.kernels import NCHWC, Node, assign
from benchmarks.operations import Operation


def operation(name: str, operator: str, inputs: str, output: str, macs: int = 0) -> Operation:
    return Operation(
        name=name,
        operator=operator,
        inputs=tuple(inputs.split()),
        outputs=(output,),
        weight=None,
        macs=macs,
        bytes_moved=0,
        in_width=None,
        out_width=None,
    )


def node(name: str, operator: str, inputs: str, output: str, domain: str = "") -> Node:
    return Node(
        name=name,
        operator=operator,
        domain=domain,
        inputs=tuple(inputs.split()),
        outputs=(output,),
    )


RESIDUAL = (  # b = relu(conv1 x); e = relu(conv2 b + conv3 b)
    operation("conv1", "Conv", "x", "a", 9),
    operation("relu1", "Relu", "a", "b"),
    operation("conv2", "Conv", "b", "c", 9),
    operation("conv3", "Conv", "b", "s", 9),
    operation("add", "Add", "c s", "d"),
    operation("relu2", "Relu", "d", "e"),
)


def test_blocked_convolutions_take_in_what_stands_behind_and_the_last_to_run_the_sum() -> None:
    nodes = (
        node("b_nchwc", "Conv", "x w", "t0", NCHWC),
        node("s_nchwc", "Conv", "t0 w", "t1", NCHWC),
        node("c_nchwc", "Conv", "t0 w t1", "t2", NCHWC),
        node("ReorderOutput", "ReorderOutput", "t2", "e", NCHWC),
    )
    assert assign(RESIDUAL, nodes) == (
        (("conv1", "relu1"), False),
        (("conv3",), False),
        (("conv2", "add", "relu2"), False),
        (("conv2",), True),
    )


def test_fused_convolution_and_loose_operators_keep_their_names() -> None:
    nodes = (
        node("conv1", "FusedConv", "x w", "b"),
        node("conv2", "Conv", "b w", "c"),
        node("ReorderInput", "ReorderInput", "b", "t0", NCHWC),
        node("s_nchwc", "Conv", "t0 w", "t1", NCHWC),
        node("ReorderOutput", "ReorderOutput", "t1", "s", NCHWC),
        node("add", "Add", "c s", "d"),
        node("relu2", "Relu", "d", "e"),
    )
    assert assign(RESIDUAL, nodes) == (
        (("conv1", "relu1"), False),
        (("conv2",), False),
        (("conv3",), True),
        (("conv3",), False),
        (("conv3",), True),
        (("add",), False),
        (("relu2",), False),
    )


def test_new_operator_covers_all_between_its_inputs_and_its_output() -> None:
    operations = (
        operation("fc", "MatMul", "x", "a", 9),
        operation("mean", "ReduceMean", "a", "m"),
        operation("sub", "Sub", "a m", "b"),
        operation("pow", "Pow", "b", "c"),
        operation("var", "ReduceMean", "c", "d"),
        operation("sqrt", "Sqrt", "d", "e"),
        operation("div", "Div", "b e", "f"),
    )
    nodes = (
        node("fc", "MatMul", "x w", "a"),
        node("LayerNormFusion", "LayerNormalization", "a scale", "f"),
    )
    assert assign(operations, nodes) == (
        (("fc",), False),
        (("mean", "sub", "pow", "var", "sqrt", "div"), False),
    )


def test_operations_on_constants_alone_are_covered_by_nobody() -> None:
    operations = (
        operation("turn", "Transpose", "", "w2"),
        operation("fc", "MatMul", "x w2", "a", 9),
    )
    assert assign(operations, (node("fc", "MatMul", "x w2", "a"),)) == ((("fc",), False),)


def test_operator_put_in_stands_with_its_reader_and_does_not_convert() -> None:
    operations = (
        operation("fc", "Gemm", "x", "a", 9),
        operation("act", "HardSwish", "a", "b"),
    )
    nodes = (
        node("fc", "Gemm", "x w", "a"),
        node("", "HardSigmoid", "a", "hidden"),
        node("", "Mul", "a hidden", "b"),
    )
    assert assign(operations, nodes)[1:] == ((("act",), False), (("act",), False))
