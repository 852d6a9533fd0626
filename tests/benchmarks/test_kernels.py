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


QUANTISED = (  # b = relu(conv x), y = gate(b), both between conversions; b has two readers
    operation("x_Q", "QuantizeLinear", "x", "x_q"),
    operation("x_DQ", "DequantizeLinear", "x_q", "x_d"),
    operation("w_DQ", "DequantizeLinear", "", "w_d"),
    operation("conv", "Conv", "x_d", "a", 9),
    operation("relu", "Relu", "a", "b"),
    operation("b_Q", "QuantizeLinear", "b", "b_q"),
    operation("b_DQ", "DequantizeLinear", "b_q", "b_d"),
    operation("fc", "Gemm", "b_d", "c", 9),
    operation("c_Q", "QuantizeLinear", "c", "c_q"),
    operation("c_DQ", "DequantizeLinear", "c_q", "c_d"),
    operation("gate", "HardSigmoid", "b_d", "g"),
    operation("g_Q", "QuantizeLinear", "g", "g_q"),
    operation("g_DQ", "DequantizeLinear", "g_q", "g_d"),
    operation("mul", "Mul", "c_d g_d", "y"),
)


def test_integer_kernels_take_conversions_in_and_those_that_remain_serve_their_reader() -> None:
    nodes = (
        node("x_Q", "QuantizeLinear", "x s z", "x_q"),
        node("Transpose", "Transpose", "x_q", "t0"),
        node("conv", "QLinearConv", "t0 s z w s z s z", "t1", "com.microsoft"),
        node("Transpose_1", "Transpose", "t1", "b_q"),
        node("fc", "QGemm", "b_q s z w s z", "c_q", "com.microsoft"),
        node("b_DQ/duplicated", "DequantizeLinear", "b_q s z", "b_d/duplicated"),
        node("gate", "HardSigmoid", "b_d/duplicated", "g"),
        node("g_Q", "QuantizeLinear", "g s z", "g_q"),
        node("mul", "QLinearMul", "c_q s z g_q s z", "y_q", "com.microsoft"),
        node("y_DQ", "DequantizeLinear", "y_q s z", "y"),
    )
    found = assign(QUANTISED, nodes)
    assert found[0] == (("conv", "x_Q", "x_DQ"), True)
    assert found[1] == (("conv",), True)
    assert found[2] == (("conv", "relu", "b_Q", "b_DQ"), False)
    assert found[3] == (("fc",), True)
    assert found[4][0][0] == "fc"
    assert found[4][1] is False
    assert found[5] == (("gate",), True)
    assert found[6] == (("gate",), False)
    assert found[7][0][0] == "mul"
    assert found[7][1] is True
    assert found[8][0][0] == "mul"
    assert found[9] == (("mul",), True)  # nobody reads it: the way out


def test_half_nodes_that_compute_in_float32_are_known_by_their_values() -> None:
    operations = (
        operation("to_half", "Cast", "x", "h"),
        operation("conv1", "Conv", "h", "a", 9),
        operation("relu1", "Relu", "a", "b"),
        operation("conv2", "Conv", "b", "c", 9),
        operation("to_float", "Cast", "c", "y"),
    )
    nodes = (
        node("to_half", "Cast", "x", "h"),
        node("InsertedCast_h", "Cast", "h", "InsertedCast_h"),
        node("InsertedCast_b_nchwc", "Conv", "InsertedCast_h w", "t0", NCHWC),
        node("InsertedCast_c_nchwc", "Conv", "t0 w", "t1", NCHWC),
        node("ReorderOutput", "ReorderOutput", "t1", "InsertedCast_c", NCHWC),
        node("InsertedCast_c", "Cast", "InsertedCast_c", "c"),
        node("to_float", "Cast", "c", "y"),
    )
    assert assign(operations, nodes) == (
        (("conv1", "to_half"), True),
        (("conv1",), True),
        (("conv1", "relu1"), False),
        (("conv2",), False),
        (("conv2",), True),
        (("conv2",), True),
        (("conv2", "to_float"), True),
    )


def test_new_operators_are_forms_of_those_of_the_file() -> None:
    forms = {
        "FusedConv": "Conv", "QLinearConv": "Conv", "QGemm": "Gemm", "QLinearMatMul": "MatMul",
        "MatMulIntegerToFloat": "MatMul", "QuickGelu": "QuickGelu", "Conv": "Conv",
    }  # fmt: skip
    assert {name: node("", name, "", "").plain for name in forms} == forms
