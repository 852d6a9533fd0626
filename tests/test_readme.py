"""The README's code does what the README says; what takes a run is tested where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.readme import run_block
from tests.teachers import write_teacher

NETWORK = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )
"""


def test_the_stages_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_teacher(tmp_path, NETWORK, "small")
    monkeypatch.chdir(tmp_path)
    found = run_block(0, {'"resnet50.pt"': '"small.pt", "net.py:small", image_size=16'})
    plan = found["plan"]
    assert capsys.readouterr().out.startswith("True ")
    assert plan.after.params < 0.35 * plan.before.params
