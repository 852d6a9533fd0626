"""A small run as its files would tell it."""

from __future__ import annotations

from typing import Any

import pytest

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
