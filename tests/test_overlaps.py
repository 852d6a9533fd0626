"""Stored tensors that share memory: followed as windows, or frozen; they go on sharing it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.graphs import Graph
from compressor.overlaps import find_window, overlap, take
from compressor.proof import prove
from compressor.removal import mask, remove
from tests.rules.cases import drawn_cut
from tests.zoo import captured, randomised

WHOLE = torch.arange(5 * 6 * 7.0).view(5, 6, 7)
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda w: w[1:4],
    "inner": lambda w: w[:, 2:5, 3:],
    "turned": lambda w: w.permute(2, 0, 1)[1:3],
    "one_row": lambda w: w[:, 2],
    "one_row_kept": lambda w: w[3:4, :, 1:],
    "wrapped": lambda w: w[None, 2:, :, None, 4],
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_window_is_found_and_taken_anew(name: str) -> None:
    view = VIEWS[name](WHOLE)
    window = find_window(view, WHOLE)
    assert window is not None
    again = take(WHOLE, window, tuple(view.shape), lambda dim, row: row)
    assert torch.equal(again, view)
    assert again.data_ptr() == view.data_ptr()


def test_what_is_no_window_is_not_taken_for_one() -> None:
    assert find_window(WHOLE[::2], WHOLE) is None
    assert find_window(WHOLE.view(30, 7), WHOLE) is None
    assert find_window(WHOLE.view(30, 7)[3:9], WHOLE) is None
    assert find_window(WHOLE, WHOLE[1:]) is None
    assert find_window(WHOLE.view(torch.int32), WHOLE) is None
    assert not overlap(WHOLE[:2], WHOLE[2:])
    assert overlap(WHOLE[:3], WHOLE[2:])


class Sharing(nn.Module):
    """A parameter, and buffers that stand for parts of it."""

    first_rows: Tensor
    turned: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 6))
        self.register_buffer("first_rows", torch.randn(8, 6))
        self.register_buffer("turned", torch.randn(6, 16))
        self.last = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.sigmoid(x @ self.turned) + torch.tanh(x @ self.weight.t())
        return self.last(torch.cat([whole, torch.tanh(x @ self.first_rows.t())], -1))


def sharing(**views: Tensor) -> Graph:
    graph = captured(randomised(Sharing), (torch.randn(2, 5, 6),))
    return graph.rebuild(graph.program.graph, {**graph.tensors, **views})


def test_views_of_a_parameter_lose_its_rows_and_keep_its_memory() -> None:
    weight = nn.Parameter(torch.randn(16, 6))
    graph = sharing(weight=weight, first_rows=weight.detach()[:8], turned=weight.detach().t())
    analysis = analyze(graph)
    assert [group.units for group in analysis.groups] == [8, 8]
    chosen = drawn_cut(analysis, 0.5, np.random.default_rng(0))
    student = remove(graph, analysis, chosen)
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    for made in (student, mask(graph, analysis, chosen)):
        tensors = made.tensors
        rows = len(tensors["first_rows"])
        with torch.no_grad():
            tensors["weight"].fill_(3.0)
        assert torch.equal(tensors["first_rows"], tensors["weight"][:rows])
        assert torch.equal(tensors["turned"], tensors["weight"].t())


def test_memory_shared_in_another_way_is_frozen() -> None:
    memory = torch.randn(100)
    graph = sharing(
        weight=nn.Parameter(memory[:96].view(16, 6)), first_rows=memory[3:51].view(8, 6)
    )
    analysis = analyze(graph)
    assert not analysis.groups
    assert any(entry.reason == "shares its memory with weight" for entry in analysis.frozen)
