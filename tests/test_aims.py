"""What a target was chosen by is kept: a run that goes on aims at the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.probe import choices
from compressor.analysis import analyze
from compressor.building.targets import Aim, for_target
from compressor.graphs import capture
from compressor.planning import plan
from compressor.preparing import Studied
from compressor.runs import open_run
from compressor.scoring import magnitude, score
from compressor.types import Budget
from compressor.watching import Silent, Stopwatch


def test_a_continued_run_has_the_target_of_the_first_and_probes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten())
    network = nn.Sequential(*layers, nn.Linear(256, 4))
    graph = capture(network.eval(), (torch.zeros(2, 3, 8, 8),))
    analysis = analyze(graph)
    budget = Budget(sparsity=0.3, smallest_group=1)
    studied = Studied(graph=graph, analysis=analysis)

    def aim() -> Aim:
        run = open_run(tmp_path / "run", {"seed": 0})
        run.begin()
        told = ("onnxruntime", budget, studied, 1, 0.005, "cpu", Silent(), Stopwatch())
        return for_target(*told, run)

    def probe(*_: object, **__: object) -> None:
        raise AssertionError("probed again")

    first = aim()
    monkeypatch.setattr(choices, "choose_for", probe)
    again = aim()
    made = plan(analysis, score(graph, analysis, magnitude), budget)
    assert again.budget == first.budget
    assert again.told(made) == first.told(made)
    assert first.told(made)["expected_speedup"] > 0  # type: ignore[index]
