"""Layers refitted in closed form: exact where kept units can say all, sane where they cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compressor import reconstruction
from compressor.analysis import analyze
from compressor.evaluation import distance
from compressor.graphs import Graph, capture
from compressor.planning import plan_keeping
from compressor.reconstruction import inputs_within, reconstruct
from compressor.refitting import reestimate_batch_norm
from compressor.removal import remove
from compressor.stepping import alive_bytes


class Doubled(nn.Module):
    """Every hidden unit is there twice, so that one half can stand for both."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        if kind == "linear":
            self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 5)
        else:
            self.first, self.second = nn.Conv2d(6, 16, 3, 2, 1), nn.Conv2d(16, 5, 3, 2, 1)
        with torch.no_grad():
            self.first.weight[8:] = self.first.weight[:8]
            self.first.bias[8:] = self.first.bias[:8]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(F.relu(self.first(x)))


def halved(kind: str) -> tuple[Graph, Graph, torch.Tensor]:
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    if kind == "conv":
        x = torch.randn(64, 6, 9, 9, generator=torch.Generator().manual_seed(1))
    graph = capture(Doubled(kind).eval(), (x[:2],))
    analysis = analyze(graph)
    keep = np.ones(17, dtype=bool)
    keep[9:] = False
    return graph, remove(graph, analysis, plan_keeping(analysis, keep)), x


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_units_that_are_there_twice_are_recovered_exactly(kind: str) -> None:
    teacher, student, x = halved(kind)
    found = reconstruct(student, teacher, x)
    with torch.no_grad():
        wanted = teacher(x)
        assert float((student(x) - wanted).abs().max()) > 0.05
        # the ridge pulls a thousandth of the way back to the inherited weights
        assert float((found.graph(x) - wanted).abs().max()) < 2e-2 * float(wanted.abs().max())
    assert found.fitted == ("second.weight",)
    assert found.kept_as_they_were == ()


class Stream(nn.Module):
    """Two blocks that add to a stream, each with a batch norm at its end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide = nn.ModuleList([nn.Conv2d(6, 24, 1), nn.Conv2d(6, 24, 1)])
        self.back = nn.ModuleList([nn.Conv2d(24, 6, 3, padding=1, bias=False) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(6) for _ in range(2)])
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for wide, back, norm in zip(self.wide, self.back, self.norms, strict=True):
            x = x + norm(back(F.relu(wide(x))))
        return self.head(x.mean((2, 3)))


def cut_stream() -> tuple[Graph, Graph, torch.Tensor]:
    x = torch.randn(128, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    module = Stream().train()
    module(x)
    graph = capture(module.eval(), (x[:2],))
    analysis = analyze(graph)
    keep = np.ones(49, dtype=bool)
    keep[1:17] = False
    return graph, remove(graph, analysis, plan_keeping(analysis, keep)), x


def test_what_one_block_lost_the_next_makes_up_for() -> None:
    teacher, student, x = cut_stream()
    found = reconstruct(student, teacher, x)
    assert {"back.0.weight", "wide.1.weight", "back.1.weight"} <= set(found.fitted)
    new = torch.randn(64, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    assert distance(found.graph, teacher, [new]) < 0.25 * distance(student, teacher, [new])


def test_batch_norms_are_restated_so_that_estimating_them_again_changes_little() -> None:
    teacher, student, x = cut_stream()
    found = reconstruct(student, teacher, x).graph
    with torch.no_grad():
        before, after = found(x), reestimate_batch_norm(found, [x])(x)
    assert float((after - before).abs().max()) < 1e-3 * float(before.abs().max())


def test_as_many_inputs_are_used_as_fit_into_memory() -> None:
    teacher, student, x = cut_stream()
    each = alive_bytes(teacher) + alive_bytes(student)
    assert len(inputs_within(10 * each, student, teacher, x)) == 10
    assert len(inputs_within(1, student, teacher, x)) == 2
    # conv, relu, conv ... : 24 + 6 channels of 8 x 8 numbers of 4 bytes at least
    assert alive_bytes(teacher) >= 30 * 64 * 4


def test_arguments_stay_as_they_are() -> None:
    teacher, student, x = halved("conv")
    before = {name: value.clone() for name, value in student.state_dict().items()}
    refitted = reconstruct(student, teacher, x).graph
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert refitted.fingerprint == student.fingerprint


def test_inputs_that_never_vary_give_no_nan() -> None:
    teacher, student, x = halved("linear")
    refitted = reconstruct(student, teacher, torch.zeros_like(x)).graph
    assert all(bool(value.isfinite().all()) for value in refitted.state_dict().values())


def test_inputs_that_are_not_finite_leave_the_layer_as_it_was() -> None:
    teacher, student, x = halved("linear")
    x[0, 0] = float("inf")
    found = reconstruct(student, teacher, x)
    assert found.kept_as_they_were == ("second.weight",)
    assert torch.equal(
        found.graph.state_dict()["second.weight"], student.state_dict()["second.weight"]
    )


@pytest.mark.parametrize("far", [0.0, 30.0, 1000.0])
def test_units_far_from_zero_are_recovered_as_well(far: float) -> None:
    """A hidden unit that hardly varies beside its mean says as much as any other."""
    module = Doubled("linear")
    with torch.no_grad():
        module.first.bias.add_(far)
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
    teacher = capture(module.eval(), (x[:2],))
    analysis = analyze(teacher)
    keep = np.ones(17, dtype=bool)
    keep[9:] = False
    student = remove(teacher, analysis, plan_keeping(analysis, keep))
    assert distance(reconstruct(student, teacher, x).graph, teacher, [x]) < 1e-6


@pytest.mark.parametrize("count", [2, 3, 5, 65, 129])
def test_a_fifth_of_the_inputs_chooses_the_ridge_however_many_there_are(count: int) -> None:
    teacher, student, x = halved("linear")
    inputs = x[:1].repeat(count, 1)
    held: list[int] = []

    class Counting(reconstruction.Sides):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            held.append(sum(len(piece) for piece in arguments[2][-self.held_out :]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction, "Sides", Counting)
        reconstruct(student, teacher, inputs)
    assert 1 <= held[0] <= max(1, round(0.34 * count))
