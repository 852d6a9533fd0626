"""One operator between two layers: what can be cut is proved, all else is frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.graphs import Graph
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from compressor.types import Analysis, Plan
from tests.zoo import captured, randomised

Middle = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """A layer of 16 units, something in the middle, a layer that reads the result."""

    def __init__(self, middle: Middle) -> None:
        super().__init__()
        self.middle = middle
        self.first = nn.Linear(6, 16)
        width = middle(torch.zeros(2, 5, 16)).shape[-1]
        self.last = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(torch.tanh(self.first(x))))


class BetweenPictures(nn.Module):
    """The same with convolutions, on pictures of 6 x 6."""

    def __init__(self, middle: Middle) -> None:
        super().__init__()
        self.middle = middle
        self.first = nn.Conv2d(3, 16, 1)
        self.last = nn.Conv2d(middle(torch.zeros(2, 16, 6, 6)).shape[1], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(torch.tanh(self.first(x))))


@dataclass(frozen=True, slots=True)
class Case:
    middle: Middle
    groups: tuple[int, ...]  # units of each group
    exact: bool = True
    told: str = ""  # part of a frozen reason


def drawn_cut(analysis: Analysis, share: float, generator: np.random.Generator) -> Plan:
    """Every unit stays with this probability; one of each group stays."""
    keep = [True]
    for group in analysis.groups:
        part = generator.random(group.units) < share
        part[generator.integers(group.units)] = True
        keep.extend(part.tolist())
    return plan_keeping(analysis, np.array(keep))


def assert_cuts_are_proved(graph: Graph, analysis: Analysis) -> Graph:
    """Two cuts drawn at random; returns the second student."""
    generator = np.random.default_rng(0)
    student = graph
    for share in (0.6, 0.2) if analysis.groups else ():
        chosen = drawn_cut(analysis, share, generator)
        student = remove(graph, analysis, chosen)
        proof = prove(graph, student, analysis, chosen)
        assert proof.passed, proof.first_wrong
        assert proof.max_relative_error < 1e-12
        assert sum(p.numel() for p in student.parameters()) == chosen.after.params
        assert analyze(student).model.macs == chosen.after.macs
    return student


def check(
    case: Case, between: Callable[[Middle], nn.Module] = Between, shape: tuple[int, ...] = (2, 5, 6)
) -> Graph:
    """Capture, compare the groups, cut, prove; returns the last student."""
    graph = captured(randomised(lambda: between(case.middle)), (torch.randn(*shape),))
    analysis = analyze(graph)
    assert sorted(group.units for group in analysis.groups) == sorted(case.groups)
    assert all(group.exact for group in analysis.groups) == (case.exact or not case.groups)
    reasons = [f"{entry.op}: {entry.reason}" for entry in analysis.frozen]
    assert not case.told or any(case.told in reason for reason in reasons), reasons
    return assert_cuts_are_proved(graph, analysis)
