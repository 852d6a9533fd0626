"""A small run as its files would tell it."""

from __future__ import annotations

from typing import Any

import pytest

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
