"""Costs of nodes against torch's own counter, and what is said where nothing can be counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.operations import Operation, read_operations
from compressor.errors import LoadError
from tests.examples import times


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: tuple[int | str, ...],
    weights: dict[str, tuple[int, ...]],
    opset: int = 20,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(inputs))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(s, np.float32), name) for name, s in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("of.mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def torch_macs(module: torch.nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(shape))
    return counter.get_total_flops() // 2


@times(0.3)
@given(
    groups=st.integers(1, 3),
    inside=st.integers(1, 3),
    outside=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    batch=st.integers(1, 3),
    transposed=st.booleans(),
)
def test_convolutions_cost_what_torch_counts(
    tmp_path_factory: pytest.TempPathFactory,
    groups: int,
    inside: int,
    outside: int,
    kernel: int,
    stride: int,
    batch: int,
    transposed: bool,
) -> None:
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    module = kind(groups * inside, groups * outside, kernel, stride, groups=groups, bias=False)
    node = helper.make_node(
        "ConvTranspose" if transposed else "Conv",
        ["x", "w"],
        ["y"],
        group=groups,
        strides=[stride] * 2,
    )
    path = tmp_path_factory.mktemp("conv") / "conv.onnx"
    shape = (groups * inside, 7, 6)
    save(path, [node], ("batch", *shape), {"w": tuple(module.weight.shape)})
    (found,) = read_operations(path, shape, batch)
    assert found.macs == torch_macs(module, (batch, *shape))


@pytest.mark.parametrize(
    ("operator", "weight", "attributes", "macs"),
    [
        ("MatMul", (6, 5), {}, 2 * 4 * 6 * 5),
        ("Gemm", (5, 6), {"transB": 1}, None),  # takes two dimensions only
        ("Einsum", (6, 5), {"equation": "bij,jk->bik"}, 2 * 4 * 6 * 5),
        ("Einsum", (6, 5), {"equation": "...j,jk->...k"}, None),
        ("Relu", None, {}, 0),
    ],
)
def test_products_cost_rows_times_columns_times_depth(
    tmp_path: Path,
    operator: str,
    weight: tuple[int, ...] | None,
    attributes: dict[str, object],
    macs: int | None,
) -> None:
    inputs = ["x"] if weight is None else ["x", "w"]
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    path = tmp_path / "product.onnx"
    save(path, [node], ("batch", 4, 6), {} if weight is None else {"w": weight})
    (found,) = read_operations(path, (4, 6), 2)
    assert found.macs == macs


def test_recurrent_layer_uses_both_matrices_for_every_element(tmp_path: Path) -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3)
    path = save(tmp_path / "l.onnx", [node], (7, 2, 5), {"w": (1, 12, 5), "r": (1, 12, 3)}, 20)
    (found,) = read_operations(path, (2, 5), 7)
    assert found.macs == 7 * 2 * 12 * (5 + 3)


def test_bytes_widths_and_names_of_a_chain(pair: tuple[Path, Path]) -> None:
    found = {one.name: one for one in read_operations(pair[1], (3, 8, 8), 2)}
    conv = found["n_conv2"]
    assert (conv.layer, conv.in_width, conv.out_width) == ("conv2", 15, 15)
    assert conv.macs == 2 * 15 * 15 * 9 * 64
    assert conv.bytes_moved == 4 * (2 * 2 * 15 * 64 + 15 * 15 * 9)
    assert (found["n_fc"].macs, found["n_fc"].in_width, found["n_fc"].out_width) == (150, 15, 5)
    assert found["n_add"].macs == 0
    assert found["n_relu1"].layer == "n_relu1"


def test_weight_behind_a_dequantisation_keeps_its_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["fc.weight"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    path = save(tmp_path / "t.onnx", nodes, ("batch", 6), {"fc.weight": (5, 6)})
    assert [one.layer for one in read_operations(path, (6,))] == ["fc", "fc"]


def test_nodes_without_names_are_numbered(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    path = save(tmp_path / "r.onnx", nodes, ("batch", 6), {})
    assert [one.name for one in read_operations(path, (6,))] == ["Relu_0", "Relu_1"]


def test_mean_over_height_and_width_is_seen(tmp_path: Path) -> None:
    for axes, seen in (([2, 3], True), ([-1, -2], True), ([1, 2], False)):
        node = helper.make_node("ReduceMean", ["x"], ["y"], axes=axes)
        path = save(tmp_path / "m.onnx", [node], ("batch", 3, 4, 4), {}, opset=13)
        assert [one.over_space for one in read_operations(path, (3, 4, 4))] == [seen]


def test_operator_of_another_domain_is_not_counted(tmp_path: Path) -> None:
    node = helper.make_node("Secret", ["x"], ["y"], domain="of.mine")
    (found,) = read_operations(save(tmp_path / "s.onnx", [node], ("batch", 3), {}), (3,))
    assert (found.macs, found.operator) == (None, "of.mine.Secret")


def test_a_node_that_gives_nothing_is_not_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Secret", ["x"], ["a"], domain="of.mine"),  # of no known shape
        helper.make_node("Conv", ["a", "w"], []),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    path = save(tmp_path / "n.onnx", nodes, ("batch", 3, 4, 4), {"w": (2, 3, 1, 1)})
    found = read_operations(path, (3, 4, 4))
    assert [one.macs for one in found] == [None, None, 0]


def test_other_shape_and_other_bytes_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"input has size 8, not 9"):
        read_operations(pair[0], (3, 9, 9))
    with pytest.raises(LoadError, match="4 dimensions, not 2"):
        read_operations(pair[0], (3,))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(LoadError, match=r"broken\.onnx: cannot be read"):
        read_operations(broken, (3, 8, 8))


def quantised_chain(path: Path, channels: int) -> Path:
    """x -> Q -> DQ -> Conv with int8 weights behind DQ -> Q -> DQ -> y."""
    shape = (channels, 3, 3, 3)
    values = {
        "c.weight_quantized": np.ones(shape, np.int8),
        "c.bias_quantized": np.ones(channels, np.int32),
        "s": np.float32(0.1),
        "z": np.uint8(3),
        "wz": np.int8(0),
        "bz": np.int32(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"], "x_Q"),
        helper.make_node("DequantizeLinear", ["x_q", "s", "z"], ["x_d"], "x_DQ"),
        helper.make_node("DequantizeLinear", ["c.weight_quantized", "s", "wz"], ["w"], "w_DQ"),
        helper.make_node("DequantizeLinear", ["c.bias_quantized", "s", "bz"], ["b"], "b_DQ"),
        helper.make_node("Conv", ["x_d", "w", "b"], ["a"], "conv", pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["a_q"], "a_Q"),
        helper.make_node("DequantizeLinear", ["a_q", "s", "z"], ["y"], "a_DQ"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )
    return path


@pytest.mark.parametrize("channels", [4, 1])
def test_quantised_convolution_has_its_shapes_and_the_bytes_that_are_kept(
    tmp_path: Path, channels: int
) -> None:
    found = {
        one.name: one
        for one in read_operations(quantised_chain(tmp_path / "q.onnx", channels), (3, 6, 6), 2)
    }
    conv = found["conv"]
    assert (conv.layer, conv.in_width, conv.out_width, conv.groups) == ("c", 3, channels, 1)
    assert conv.macs == 2 * channels * 36 * 27
    assert conv.bytes_moved == 2 * 3 * 36 + channels * 27 + 4 * channels + 2 * channels * 36
    assert {name for name, one in found.items() if one.converts} == set(found) - {"conv"}
    assert found["w_DQ"].inputs == ()


@pytest.mark.parametrize(
    ("weight", "layer"),
    [
        ("a.b.weight", "a.b"), ("a.b.weight_quantized", "a.b"), ("a.weight_f16", "a"),
        ("a.weight_v.bias", "conv"), ("a.bias", "conv"), (None, "conv"),
    ],
)  # fmt: skip
def test_a_layer_is_called_by_its_weight_whatever_was_added(weight: str | None, layer: str) -> None:
    one = Operation(
        name="conv", operator="Conv", inputs=(), outputs=(), weight=weight, macs=1, bytes_moved=0,
        in_width=None, out_width=None,
    )  # fmt: skip
    assert one.layer == layer
