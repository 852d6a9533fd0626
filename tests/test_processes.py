"""Two processes under torchrun build the student that one builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compressor.processes import agree_on, average, own_device, process_count
from compressor.types import Scores
from tests.test_builds import NETWORK

BUILD = (
    "build", "--teacher", "small.pt", "--arch", "net.py:small", "--image-size", "16", "--data",
    "digits", "--sparsity", "0.5", "--criterion", "magnitude", "--allocation", "uniform",
    "--epochs", "4", "--threads", "1", "--device", "cpu", "--bench-seconds", "0",
)  # fmt: skip


def test_alone_everything_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    scores = Scores(criterion="magnitude", fingerprint="x", values=((1.0, 2.0), (3.0,)))
    values = torch.tensor([1.0, 2.0])
    assert process_count() == 1
    assert agree_on(scores, "cpu") is scores
    assert average(values, "cpu") is values
    assert own_device("cuda") == "cuda"


@pytest.mark.slow
def test_two_processes_cut_the_same_units_and_learn_as_well(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    namespace: dict[str, object] = {}
    exec(NETWORK, namespace)
    torch.manual_seed(0)
    torch.save(namespace["small"]().state_dict(), tmp_path / "small.pt")  # type: ignore[operator]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m")
    reports = {}
    for name, start in (("one", (sys.executable, "-m")), ("two", launch)):
        done = subprocess.run(
            [*start, "compressor", *BUILD, "--out", name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("report: ") == 1  # one of them speaks
        reports[name] = json.loads((tmp_path / name / "report.json").read_bytes())
    plans = [(tmp_path / name / "plan.json").read_bytes() for name in ("one", "two")]
    assert plans[0] == plans[1]
    assert reports["two"]["proof"]["passed"]
    one, two = (reports[name]["student"]["agreement"] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=0.1)
    passes = [reports[name]["recipe"]["phases"][-1]["epochs"] for name in ("one", "two")]
    assert passes[0] == pytest.approx(passes[1], rel=0.02)
