"""A small run as its files would tell it, and two small networks as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.report import RunData
from benchmarks.sampling import SUBJECTS, Sample
from compressor.types import Analysis, Budget, Costs, Frozen, KeptUnits, ModelFacts, Plan


def small_report() -> dict[str, Any]:
    figures = {"median_ms": 3.1, "p90_ms": 3.4, "p99_ms": None, "throughput_per_s": 322.0, "n": 40}
    return {
        "format": 1,
        "teacher": {
            "name": "resnet8",
            "sha256": "ab" * 32,
            "trained": True,
            "parameters": 330_000,
            "macs": 12_000_000,
            "metrics": {"top1": 0.927},
        },
        "student": {
            "parameters": 100_000,
            "macs": 4_000_000,
            "metrics": {"top1": 0.912},
            "agreement": 0.95,
        },
        "budget": {"sparsity": 0.7, "of": "params", "achieved": 0.697},
        "recipe": {
            "name": "prune-then-distill",
            "form": "structured",
            "phases": [{"name": "distill", "metrics": {"top1": 0.912}, "seconds": 61.0}],
        },
        "stages": [
            {"name": "removed", "metrics": {"top1": 0.1}, "agreement": 0.11},
            {"name": "distilled", "metrics": {"top1": 0.912}, "agreement": 0.95},
        ],
        "proof": {
            "passed": True,
            "max_relative_error": 3.1e-15,
            "tolerance": 1e-9,
            "nodes_compared": 31,
            "moved": 0.83,
            "exact_groups": 2,
            "inexact_groups": 0,
        },
        "deployables": [
            {
                "file": f"onnx/{name}.onnx",
                "precision": "float32",
                "bytes": size,
                "sha256": "cd" * 32,
                "opset": 20,
                "parity": {"samples": 64, "max_abs_error": 2.1e-6, "agreement": 1.0},
                "metrics": None,
            }
            for name, size in (("student", 410_000), ("teacher", 1_330_000))
        ],
        "benchmarks": [
            {
                "runtime": "onnxruntime",
                "device": "cpu",
                "precision": "float32",
                "batch": 1,
                "threads": 1,
                "teacher": figures,
                "student": {**figures, "median_ms": 1.29},
                "speedup": 2.4,
                "interval": [2.3, 2.5],
                "verdict": "faster",
                "status": "VALID",
                "reasons": [],
                "twin_interval": [0.98, 1.02],
                "samples": "benchmarks/onnxruntime-b1.json",
            }
        ],
        "environment": {"cpu": "A Processor", "flags": ["avx2"], "packages": {"torch": "2.15.0"}},
        "seconds": {"capture": 2.1},
    }


@pytest.fixture
def report() -> dict[str, Any]:
    return small_report()


@pytest.fixture
def run() -> RunData:
    samples = tuple(
        Sample(subject=subject, round=turn, order=order, wall_ns=wall + 9000 * turn, cpu_ns=wall)
        for turn in range(40)
        for order, (subject, wall) in enumerate(
            zip(SUBJECTS, (3_100_000, 1_290_000, 3_100_000), strict=True)
        )
    )
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
        samples={"benchmarks/onnxruntime-b1.json": samples},
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
