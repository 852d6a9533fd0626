"""Two processes under torchrun build the student that one builds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from compressor.errors import SurroundingsError
from compressor.processes import (
    WholeBatchNorm,
    agree_on,
    all_shares,
    average,
    batch_mean,
    leave,
    own_device,
    process_count,
    share_of,
    wait,
)
from compressor.representations import cross_correlation_loss
from compressor.self_distillation import past_predictions
from compressor.stopping import STOPPED_TRAINING
from compressor.types import Scores
from tests.teachers import write_teacher
from tests.test_builds import NETWORK

BUILD = (
    "build", "--arch", "net.py:small", "--image-size", "16", "--data", "digits", "--sparsity",
    "0.5", "--threads", "1", "--device", "cpu", "--bench-seconds", "0", "--out",
)  # fmt: skip
RECIPES = {
    "prune-then-distill": (
        "--teacher", "small.pt", "--criterion", "magnitude", "--allocation", "uniform",
        "--epochs", "4",
    ),
    "epsd": ("--epochs", "4", "--self-distillation", "ps-kd"),
    "sdp": ("--teacher", "small.pt", "--epochs", "8", "--pruning-steps", "2"),
}  # fmt: skip
ONE = (sys.executable, "-m")
TWO = (*ONE, "torch.distributed.run", "--nproc-per-node", "2", "-m")


def test_alone_everything_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    scores = Scores(criterion="magnitude", fingerprint="x", values=((1.0, 2.0), (3.0,)))
    values = torch.tensor([1.0, 2.0])
    assert process_count() == 1
    assert agree_on(scores, "cpu") is scores
    assert average(values, "cpu") is values
    assert own_device("cuda") == "cuda"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_cut_the_same_units_and_learn_as_well(tmp_path: Path, recipe: str) -> None:
    write_teacher(tmp_path, NETWORK, "small")
    reports = {}
    for name, start in (("one", ONE), ("two", TWO)):
        done = ended(started(tmp_path, start, name, "--recipe", recipe, *RECIPES[recipe]))
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("report: ") == 1  # one of them speaks
        reports[name] = json.loads((tmp_path / name / "report.json").read_bytes())
    plans = [(tmp_path / name / "plan.json").read_bytes() for name in ("one", "two")]
    assert plans[0] == plans[1]
    assert reports["two"]["proof"]["passed"]
    one, two = (_metric(reports[name]) for name in ("one", "two"))
    assert two == pytest.approx(one, abs=0.1)
    passes = [reports[name]["recipe"]["phases"][-1]["epochs"] for name in ("one", "two")]
    assert passes[0] == pytest.approx(passes[1], rel=0.02)


@pytest.mark.slow
def test_two_processes_that_were_stopped_go_on_as_two_to_the_same_bytes(tmp_path: Path) -> None:
    write_teacher(tmp_path, NETWORK, "small")
    choices = ("--recipe", "epsd", "--epochs", "60", "--self-distillation", "dlb")
    whole = ended(started(tmp_path, TWO, "whole", *choices))
    assert whole.returncode == 0, whole.stderr[-2000:]
    launcher = started(tmp_path, TWO, "stopped", *choices)
    kept = tmp_path / "stopped/unfinished"
    while not any(kept.rglob("training.safetensors")):
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.terminate()  # it tells both
    stopped = ended(launcher)
    assert stopped.returncode != 0
    assert STOPPED_TRAINING in stopped.stderr
    assert any(kept.rglob("training.safetensors"))
    alone = ended(started(tmp_path, ONE, "stopped", *choices))
    assert alone.returncode == 2
    assert "begun by 2 processes" in alone.stderr
    again = ended(started(tmp_path, TWO, "stopped", *choices))
    assert again.returncode == 0, again.stderr[-2000:]
    for name in ("student.safetensors", "plan.json", "onnx/student.onnx"):
        there, here = (tmp_path / out / name for out in ("whole", "stopped"))
        assert there.read_bytes() == here.read_bytes()


def started(folder: Path, start: tuple[str, ...], out: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*start, "compressor", *BUILD, out, *more],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _metric(report: dict[str, Any]) -> float:
    student = report["student"]
    return float((student["metrics"] or {}).get("top1") or student["agreement"])


# -- two processes, each with half of a batch ----------------------------------------------------


def test_alone_a_batch_is_whole() -> None:
    values = torch.randn(5, 2)
    assert share_of(values) is values
    assert batch_mean(values) is values
    assert all_shares(values) is values
    with WholeBatchNorm():
        found = _normed(values[:, :, None], torch.ones(2), torch.zeros(2), torch.ones(2))
    assert torch.equal(
        found, _normed(values[:, :, None], torch.ones(2), torch.zeros(2), torch.ones(2))
    )


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Batch norms, cross-correlation and past predictions: values and gradients of the whole."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_laws, args=(port, str(tmp_path)), nprocs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def _laws(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_RANK": str(rank),
        "ACCELERATE_USE_CPU": "1",
    }
    average(torch.zeros(1), "cpu")  # they meet
    for law in (_shares_are_the_batch, _norms_are_whole, _correlations_are_whole, _past_is_shared):
        law()
    Path(folder, str(rank)).touch()
    wait("cpu")
    leave()
    os._exit(0)  # the interpreter's own end aborts now and then, after all is said


def _shares_are_the_batch() -> None:
    values = torch.arange(7.0)
    assert sorted(all_shares(share_of(values)).tolist()) == [0, 1, 2, 3, 4, 5]
    assert float(batch_mean(share_of(values).mean())) == 2.5
    with pytest.raises(SurroundingsError, match="2 processes share 1 images"):
        share_of(values[:1])


def _norms_are_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 3, 4, 2, generator=generator, dtype=torch.float64)
    mean, var = torch.zeros(3).double(), torch.ones(3).double()
    weight = torch.randn(3, generator=generator, dtype=torch.float64)
    slopes = torch.randn(6, 3, 4, 2, generator=generator, dtype=torch.float64)
    wanted_mean, wanted_var = mean.clone(), var.clone()

    def wanted(given: Tensor) -> Tensor:
        return (_normed(given, weight, wanted_mean, wanted_var) * slopes).sum()

    def found(given: Tensor) -> Tensor:
        with WholeBatchNorm():
            return (_normed(given, weight, mean, var) * share_of(slopes)).sum()

    _require_same_gradient(values, wanted, found)
    assert torch.allclose(mean, wanted_mean)
    assert torch.allclose(var, wanted_var)


def _normed(values: Tensor, weight: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return torch.ops.aten.batch_norm.default(
        values, weight, None, mean, var, True, 0.1, 1e-5, False
    )


def _correlations_are_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    teacher = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    os.environ["WORLD_SIZE"] = "1"
    wanted = torch.func.grad_and_value(lambda given: cross_correlation_loss(given, teacher))(
        student
    )
    os.environ["WORLD_SIZE"] = "2"
    share = share_of(student).clone().requires_grad_()
    loss = cross_correlation_loss(share, share_of(teacher))
    loss.backward()
    assert torch.allclose(loss, wanted[1])
    # Gradients are averaged over processes afterwards.
    assert torch.allclose(share.grad / 2, share_of(wanted[0]))  # type: ignore[operator]


def _past_is_shared() -> None:
    lessons = past_predictions(4)(lambda graph: graph)
    rows, labels = torch.arange(4), torch.tensor([0, 1, 2, 0])
    place = torch.tensor([[0, 4]]).expand(4, 2)
    logits = torch.eye(4, 3) * 2
    lesson = [share_of(part) for part in (logits, labels, rows, place)]
    lessons.loss(lambda pixels: (pixels, ()), tuple(lesson))
    table = lessons._table  # type: ignore[attr-defined]
    assert torch.allclose(table, logits.softmax(-1))  # of images that only the other one saw too


def _require_same_gradient(
    values: Tensor, wanted: Callable[[Tensor], Tensor], found: Callable[[Tensor], Tensor]
) -> None:
    whole = values.clone().requires_grad_()
    wanted(whole).backward()
    share = share_of(values).clone().requires_grad_()
    found(share).backward()
    assert torch.allclose(share.grad, share_of(whole.grad))  # type: ignore[arg-type]
