"""The measured choice of precision and memory layout."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from compressor.acceleration import (
    CANDIDATES,
    PLAIN,
    Acceleration,
    choose,
    decide,
    make_accelerator,
)
from compressor.graphs import Graph, capture

FLOAT32, LAST, BF16 = CANDIDATES


def small_graph(*layers: nn.Module) -> Graph:
    torch.manual_seed(0)
    return capture(nn.Sequential(*layers).eval(), (torch.zeros(2, 3, 8, 8),))


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ((100.0, 101.0, 90.0), FLOAT32),
        ((100.0, 110.0, 90.0), LAST),
        ((100.0, 110.0, 125.0), LAST),
        ((116.0, 130.0, 466.0), BF16),
        ((100.0, 90.0, 121.0), BF16),
    ],
)
def test_half_the_digits_are_given_up_only_for_a_plain_gain(
    rates: tuple[float, float, float], chosen: Acceleration
) -> None:
    offered = {candidate.name: candidate for candidate in CANDIDATES}
    found = decide(offered, dict(zip(offered, rates, strict=True)), [])
    assert found.name == chosen.name
    assert found.note.startswith(f"{chosen.name} chosen; measured images/s: float32 ")


def test_a_network_that_cannot_run_channels_last_says_so_and_is_not_changed() -> None:
    class View(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(x.shape[0], -1)

    graph = small_graph(nn.Conv2d(3, 4, 3), View(), nn.Linear(144, 2))
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    found = choose(graph, graph, torch.randn(16, 3, 8, 8), seconds=60.0, clock=time.perf_counter)
    assert found.name == PLAIN.name
    assert "float32 channels-last cannot run this network (view size is not compat" in found.note
    assert found.images_per_s is not None
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())
    assert all(parameter.grad is None for parameter in graph.parameters())
    assert not graph.training


def test_one_process_can_run_first_in_one_precision_and_then_in_another() -> None:
    assert make_accelerator(BF16, "cpu").mixed_precision == "bf16"
    plain = make_accelerator(PLAIN, "cpu")
    assert plain.mixed_precision == "no"
    assert plain.device.type == "cpu"


def test_measuring_ends_in_time_however_slow_the_network_is() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 10.0
        return now

    graph = small_graph(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    found = choose(graph, None, torch.randn(16, 3, 8, 8), seconds=20.0, clock=clock)
    assert found.name == PLAIN.name
    assert "float32 channels-last not tried: the others took the time" in found.note


def test_candidates_are_compared_on_what_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_graph(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    forward, sizes = Graph.forward, []

    def short(self: Graph, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 9:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        found: torch.Tensor = forward(self, pixels)
        return found

    monkeypatch.setattr(Graph, "forward", short)
    found = choose(graph, None, torch.randn(32, 3, 8, 8), seconds=60.0, clock=time.perf_counter)
    assert found.images_per_s is not None
    assert sizes.count(32) == 1
    assert sizes.count(16) == 1
    assert sizes[-1] == 8
