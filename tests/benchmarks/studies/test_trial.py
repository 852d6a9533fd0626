"""A trial writes down how far a network came and why, whatever happens."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from benchmarks.studies import trial
from benchmarks.studies.networks import Network
from benchmarks.studies.records import Trial, read, trial_file
from compressor.errors import CaptureError
from compressor.types import Proof
from tests.zoo import ZOO


@pytest.fixture(autouse=True)
def network_of_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "build", lambda row: ZOO[row.factory].build())


def test_a_network_that_passes_is_written_down_whole(tmp_path: Path, row: Network) -> None:
    done = trial.run(row, tmp_path)
    assert (done.verdict, done.stage, done.reason) == ("passed", "done", "")
    assert done.half is not None
    assert done.half.passed
    assert done.half.achieved == pytest.approx(0.5, abs=0.01)
    assert done.extreme is not None
    assert done.extreme.passed
    assert done.extreme.achieved > done.half.achieved
    assert done.batches == (1, 3)
    assert done.trained
    assert {"build", "capture", "analysis", "plan", "removal", "proof"} <= done.seconds.keys()
    assert done.peak_gib > 0
    assert read(trial_file(tmp_path, row), Trial) == done


def test_unknown_operators_are_written_down_first(tmp_path: Path, row: Network) -> None:
    done = trial.run(dataclasses.replace(row, factory="unknown"), tmp_path)
    assert done.frozen[0].reason.startswith("no rule")


def raising(error: Exception) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "verdict", "reason"),
    [
        (CaptureError("it cannot be captured"), "refused", "CaptureError: it cannot be captured"),
        (ZeroDivisionError("of ours\nand more"), "defect", "ZeroDivisionError: of ours"),
    ],
)
def test_a_stated_refusal_and_a_defect_are_told_apart(
    tmp_path: Path,
    row: Network,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    verdict: str,
    reason: str,
) -> None:
    monkeypatch.setattr(trial, "analyze", raising(error))
    done = trial.run(row, tmp_path)
    assert (done.verdict, done.stage, done.reason) == (verdict, "analysis", reason)
    assert done.nodes > 0
    assert done.half is None


def test_a_failed_proof_is_wrong_and_the_other_checks_are_still_made(
    tmp_path: Path, row: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = trial.prove

    def fails(*args: Any) -> Proof:
        return dataclasses.replace(
            proven(*args), passed=False, first_wrong="relu: relative error 1"
        )

    monkeypatch.setattr(trial, "prove", fails)
    monkeypatch.setattr(trial, "train_a_step", raising(ZeroDivisionError()))
    done = trial.run(row, tmp_path)
    assert (done.verdict, done.stage) == ("wrong", "proof")
    assert done.reason == "relu: relative error 1"
    assert done.batches == (1, 3)
    assert not done.trained
    assert done.extreme is not None


def test_a_network_of_which_nothing_may_go_is_refused(
    tmp_path: Path, row: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Only(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu()

    monkeypatch.setattr(trial, "build", lambda row: Only())
    done = trial.run(row, tmp_path)
    assert (done.verdict, done.stage) == ("refused", "analysis")
    assert "no unit" in done.reason
