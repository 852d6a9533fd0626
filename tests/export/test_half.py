"""Float32 models in halves: what is kept, where casts stand, and that nothing else changes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from compressor.graphs import capture, export_program
from export.descriptions import Description
from export.half import BFLOAT16, FLOAT16, Half, round_results, to_half
from export.onnx_files import OnnxFile, save_onnx, write_onnx
from export.prediction import Array, predict

MakeNet = Callable[[str], nn.Module]
PLAIN = Description(architecture="tests:net", tool_version="0")


def model_of(text: str) -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


def run(model: ir.Model, *inputs: Array) -> Array:
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


CHAIN = """
<ir_version: 10, opset_import: ["": 20]>
net (float[batch, 3] input) => (float[batch, 3] logits)
<float[3] weight = {2.0, 3.0, 4.0}>
{
  scaled = Mul(input, weight)
  grown = Exp(scaled)
  back = Log(grown)
  logits = Add(back, weight)
}
"""


@pytest.mark.parametrize("form", ["module", "gate", "attention", "two outputs"])
@pytest.mark.parametrize("half", [FLOAT16, BFLOAT16], ids=lambda one: one.name)
def test_a_network_in_halves_is_near_and_takes_and_gives_float32(
    half: Half, form: str, make_net: MakeNet, images: torch.Tensor, tmp_path: Path
) -> None:
    graph = capture(make_net(form), (images[:2],))
    whole = write_onnx(export_program(graph), tmp_path / "whole.onnx", PLAIN)
    halved = to_half(ir.load(whole.path), half, {})
    written = save_onnx(halved.model, tmp_path / "half.onnx", PLAIN)
    proto = onnx.load(str(written.path))
    ends = [*proto.graph.input, *proto.graph.output]
    assert {one.type.tensor_type.elem_type for one in ends} == {onnx.TensorProto.FLOAT}
    assert written.opset == max(whole.opset, half.opset)
    kinds = {one.data_type for one in proto.graph.initializer}
    assert getattr(onnx.TensorProto, half.type.name) in kinds
    round_results(halved.model)
    twin = tmp_path / "twin.onnx"
    ir.save(halved.model, twin)
    wanted, got = predict(whole.path, [images.numpy()]), predict(twin, [images.numpy()])
    error = np.abs(wanted - got).max() / np.abs(wanted).max()
    assert 0 < error < 16 * (2**-11 if half is FLOAT16 else 2**-8)


def test_token_numbers_stay_whole_numbers(make_net: MakeNet, tmp_path: Path) -> None:
    tokens = torch.arange(35).reshape(7, 5) % 12
    graph = capture(make_net("tied"), (tokens[:2],))
    whole = write_onnx(export_program(graph), tmp_path / "whole.onnx", PLAIN)
    written = save_onnx(to_half(ir.load(whole.path), FLOAT16, {}).model, tmp_path / "h.onnx", PLAIN)
    wanted, got = (predict(one.path, [tokens.numpy()]) for one in (whole, written))
    assert ir.load(written.path).graph.inputs[0].dtype == ir.DataType.INT64
    assert np.abs(wanted - got).max() < 4e-3 * np.abs(wanted).max()


def test_fragile_neighbours_pass_float32_to_each_other() -> None:
    halved = to_half(model_of(CHAIN), FLOAT16, {})
    assert len(halved.kept) == 2
    # exp(30) is beyond float16; a cast between the two would make it infinite
    got = run(halved.model, np.full((1, 3), 10, np.float32))
    assert np.allclose(got, [[22, 33, 44]], rtol=1e-3)
    assert Counter(node.op_type for node in halved.model.graph)["Cast"] == 4


def test_a_value_cast_for_two_fragile_readers_is_cast_once() -> None:
    text = CHAIN.replace("back = Log(grown)", "back = Sqrt(scaled)").replace(
        "Add(back, weight)", "Add(back, grown)"
    )
    halved = to_half(model_of(text), FLOAT16, {})
    casts = [node for node in halved.model.graph if node.op_type == "Cast"]
    assert [node.inputs[0].name for node in casts if node.inputs[0].name == "scaled"] == ["scaled"]
    assert np.isfinite(run(halved.model, np.ones((2, 3), np.float32))).all()


def test_operators_that_touch_large_values_are_kept_and_others_not() -> None:
    largest = {"scaled": 40.0, "grown": 5.0, "back": 5.0, "logits": 9.0, "input": 1.0}
    text = CHAIN.replace("Exp", "Neg").replace("Log", "Neg")
    assert to_half(model_of(text), FLOAT16, largest).kept == ()
    largest["back"] = 10_000.0
    assert len(to_half(model_of(text), FLOAT16, largest).kept) == 2  # that gives it, that takes it
    assert to_half(model_of(text), BFLOAT16, largest).kept == ()


def test_a_weight_beyond_the_range_is_kept() -> None:
    text = CHAIN.replace("2.0, 3.0, 4.0", "2.0, 3.0, 100000.0").replace("Exp", "Neg")
    text = text.replace("Log", "Neg")
    model = to_half(model_of(text), FLOAT16, {}).model
    assert np.isfinite(run(model, np.ones((1, 3), np.float32) * 0.1)).all()


def test_what_the_standard_wants_in_float32_is_left() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20]>
    net (float[batch, 1, 2, 2] input) => (float[batch, 1, 4, 4] logits)
    <float[4] scales = {1.0, 1.0, 2.0, 2.0}>
    { doubled = Add(input, input)
      logits = Resize<mode="nearest">(doubled, , scales) }
    """
    model = to_half(model_of(text), FLOAT16, {}).model
    assert model.graph.initializers["scales"].dtype == ir.DataType.FLOAT
    assert (run(model, np.ones((2, 1, 2, 2), np.float32)) == 2).all()


@pytest.mark.parametrize("half", [FLOAT16, BFLOAT16], ids=lambda one: one.name)
def test_rounded_results_are_those_of_the_reference(half: Half, pooled: OnnxFile) -> None:
    """Sums in float32 against sums in halves: as near as a few units in the last place."""
    model = to_half(ir.load(pooled.path), half, {}).model
    inputs = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    reference = ReferenceEvaluator(ir.serde.serialize_model(model)).run(None, {"input": inputs})[0]
    round_results(model)
    got = run(model, inputs)
    unit = 2**-11 if half is FLOAT16 else 2**-8
    assert np.abs(got - reference.astype(np.float32)).max() < 8 * unit * np.abs(got).max()


def test_rounding_shows_the_overflow_that_the_runtime_hides() -> None:
    text = CHAIN.replace("Exp", "Neg").replace("Log", "Neg").replace("2.0, 3.0", "2000.0, 3000.0")
    model = to_half(model_of(text), FLOAT16, {}).model
    round_results(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert not np.isfinite(run(model, np.full((1, 3), 100, np.float32))).all()


BRANCH = """
<ir_version: 10, opset_import: ["": 20]>
net (float[batch, 3] input) => (float[batch, 3] logits)
<float[3] weight = {2.0, 3.0, 4.0}>
{
  scaled = Mul(input, weight)
  total = ReduceSum <keepdims: int = 0> (input)
  choice = Cast <to: int = 9> (total)
  chosen = If (choice) <
    then_branch = left () => (float[batch, 3] one) { one = Relu(scaled) },
    else_branch = right () => (float[batch, 3] two) { two = Mul(scaled, weight) }
  >
  logits = Add(chosen, weight)
}
"""


@pytest.mark.parametrize("half", [FLOAT16, BFLOAT16], ids=lambda one: one.name)
def test_what_a_branch_reads_from_outside_stays_in_float32(half: Half) -> None:
    inputs = np.array([[1.0, -2.0, 0.5]], np.float32)
    wanted = run(model_of(BRANCH), inputs)
    halved = to_half(model_of(BRANCH), half, {}).model
    round_results(halved)
    assert np.allclose(run(halved, inputs), wanted, rtol=2e-2)
