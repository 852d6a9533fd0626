"""A small run as its files would tell it, and two small networks as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.report import RunData
from compressor.types import Analysis, Budget, Costs, Frozen, KeptUnits, ModelFacts, Plan
from tests.benchmarks.reports import sample_file, small_report


@pytest.fixture
def report() -> dict[str, Any]:
    return small_report()


@pytest.fixture
def run() -> RunData:
    facts = ModelFacts(architecture="resnet8", parameters=330_000, macs=12_000_000)
    frozen = tuple(
        Frozen(where=f"layer{n}", op="aten.odd.default", reason="no rule", parameters=n)
        for n in range(12)
    )
    costs = Costs(params=330_000, macs=12_000_000, channels=48)
    return RunData(
        report=small_report(),
        analysis=Analysis(
            format=1,
            fingerprint="f",
            model=facts,
            groups=(),
            frozen=frozen,
            prunable_parameters=0.99,
            axes=(),
            costs=(),
        ),
        plan=Plan(
            format=1,
            fingerprint="f",
            budget=Budget(0.7),
            achieved=0.697,
            multiple_of=8,
            criterion="taylor",
            groups=(
                KeptUnits(group=0, name="stem", units=16, kept=((0, 4), (8, 12))),
                KeptUnits(group=1, name="layer1.conv1", units=32, kept=((0, 8),)),
            ),
            before=costs,
            after=costs,
        ),
        samples={"benchmarks/onnxruntime-b1.json": sample_file()},
    )


def write_chain(path: Path, width: int) -> Path:
    """conv1 -> relu -> conv2 -> + relu -> relu -> pool -> fc, ``width`` channels, 3 x 8 x 8 in."""
    generator = np.random.default_rng(0)

    def stored(name: str, *shape: int) -> onnx.TensorProto:
        values = generator.standard_normal(shape).astype(np.float32)
        return numpy_helper.from_array(values / shape[1] ** 0.5, name)

    weights = [
        stored("conv1.weight", width, 3, 3, 3),
        stored("conv2.weight", width, width, 3, 3),
        stored("fc.weight", 5, width),
    ]
    nodes = [
        helper.make_node("Conv", ["input", "conv1.weight"], ["a"], "n_conv1", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "n_relu1"),
        helper.make_node("Conv", ["b", "conv2.weight"], ["c"], "n_conv2", pads=[1] * 4),
        helper.make_node("Add", ["c", "b"], ["d"], "n_add"),
        helper.make_node("Relu", ["d"], ["e"], "n_relu2"),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], "n_pool"),
        helper.make_node("Flatten", ["f"], ["g"], "n_flat"),
        helper.make_node("Gemm", ["g", "fc.weight"], ["logits"], "n_fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two chains as ONNX files: 32 channels, and 15, which is no multiple of 4."""
    return write_chain(tmp_path / "teacher.onnx", 32), write_chain(tmp_path / "student.onnx", 15)
