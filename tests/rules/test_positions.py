"""Rows picked by place: strided slices, tables, single rows, rolls, flips; and sorting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from tests.rules.cases import Case, assert_cuts_are_proved, check
from tests.zoo import captured, randomised

ORDER = torch.tensor([3, 0, 7, 7, 15, -1, 2, 8])
PLACES = ORDER % 16


def woven(x: Tensor) -> Tensor:
    """Written through strided slices, which must stay slices."""
    y = torch.zeros(x.shape)
    y[..., ::2] = x[..., :8]
    y[..., 1::2] = x[..., 8:]
    return y


def written_under_a_slice(x: Tensor) -> Tensor:
    y = x.clone()
    odd = y[..., 1::2]
    y.add_(1.0)
    return odd * 2


def written_off_its_period(x: Tensor) -> Tensor:
    y = x[..., :15].clone()
    y[..., ::2] += 1
    return y


def rotated(x: Tensor) -> Tensor:
    """Interleaved pairs turned by an angle, as in GPT-J and EVA-02."""
    return x + torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)


def put(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, torch.tensor([0, 3])] = x[:, 1:3].exp()
    return y


def put_units(x: Tensor) -> Tensor:
    y = x.clone()
    y[..., torch.tensor([0, 3])] = 2.0
    return y


def chosen_by(x: Tensor) -> Tensor:
    return x.gather(1, x.argsort(1)[:, :3])


def first_of_few(x: Tensor) -> Tensor:
    """Of each token picked, the first units alone: were these to go, there would be no mean."""
    places = torch.tensor([0, 2]).view(1, 2, 1).expand(x.shape[0], 2, 4)
    return x - x.gather(1, places).mean(-1, keepdim=True).mean(1, keepdim=True)


def added_at(x: Tensor) -> Tensor:
    return x.scatter_add(1, x.argsort(1)[:, :4], x[:, :4].exp())


CASES = {
    "table_in_the_code": Case(lambda x: x[..., torch.tensor([-16, 15, 3, 0])], (13, 2)),
    "every_second": Case(lambda x: x[..., ::2].contiguous(), (8, 8)),
    "every_third_from_one": Case(lambda x: x[..., 1:14:3], (5, 11)),
    "pairs_rotated": Case(rotated, (8,)),
    "written_in_stride": Case(woven, (8,)),
    "written_under_a_slice": Case(written_under_a_slice, (8,)),
    "written_off_its_period": Case(written_off_its_period, (), told="does not fit its size"),
    "table": Case(lambda x: x[..., ORDER], (4, 2, 10)),
    "index_select": Case(lambda x: x.index_select(-1, PLACES), (4, 2, 10)),
    "table_twice": Case(lambda x: torch.cat([x[..., ORDER], x.exp()[..., ORDER]], -1), (4, 2, 10)),
    "table_of_tokens": Case(lambda x: x[:, torch.tensor([0, 2, 4])], (16,)),
    "table_of_two_dimensions": Case(
        lambda x: x[..., ORDER.view(2, 4)].flatten(-2), (), told="table of positions"
    ),
    "two_tables": Case(
        lambda x: x[:, torch.tensor([0, 1]), torch.tensor([2, 3])].unsqueeze(1),
        (),
        told="table of positions",
    ),
    "one_row": Case(lambda x: x * x[..., 3].unsqueeze(-1), (15,), told="one position of it"),
    "last_row": Case(lambda x: x * x.select(-1, -2).unsqueeze(-1), (15,), told="one position"),
    "taken_apart": Case(lambda x: torch.stack(x.unbind(-1), -1), (), told="taken apart"),
    "flip": Case(lambda x: x.flip(-1), (16,)),
    "flip_and_add": Case(lambda x: (x + x.flip(-1)).flip(1), (8,)),
    "roll": Case(lambda x: x.roll(5, -1), (16,)),
    "roll_back": Case(lambda x: x.roll((-1, 2), (-1, 1)), (16,)),
    "roll_over_everything": Case(lambda x: x.roll(1), (), told="rolled over everything"),
    "put_tokens": Case(put, (16,)),
    "put_units": Case(put_units, (), told="positions"),
    "gather_tokens": Case(chosen_by, (16,)),
    "gather_by_others": Case(lambda x: x.gather(1, x.flip(-1).argsort(1)), (8,)),
    "gather_of_the_first": Case(first_of_few, (4, 12), exact=False),
    "scatter_of_others": Case(
        lambda x: x.scatter_add(1, x.argsort(1)[:, :4], x.flip(-1).exp()), (8,)
    ),
    "scatter_at_others": Case(lambda x: x.scatter(1, x.flip(-1).argsort(1)[:, :2], 1.0), (8,)),
    "index_add_of_others": Case(
        lambda x: x.index_add(1, torch.tensor([1]), x[:, :1].flip(-1)), (8,)
    ),
    "put_of_others": Case(
        lambda x: x.index_put((torch.tensor([0]), torch.tensor([1, 3])), x[0, :2].flip(-1)), (8,)
    ),
    "cross_with_others": Case(
        lambda x: torch.linalg.cross(x[:, :3], x[:, 1:4].flip(-1), dim=1), (8,)
    ),
    "gather_units": Case(lambda x: x.gather(-1, x.argsort(-1)), (), told="given out"),
    "scatter_tokens": Case(added_at, (16,)),
    "scatter_units": Case(lambda x: x.scatter(-1, (x > 9).long(), 1.0), (), told="positions"),
    "index_add_tokens": Case(lambda x: x.index_add(1, torch.tensor([1]), x[:, :1].exp()), (16,)),
    "index_add_units": Case(
        lambda x: x.index_add(2, torch.tensor([1]), x[..., :1]), (), told="positions"
    ),
    "topk_tokens": Case(lambda x: x.topk(3, 1)[0], (16,)),
    "topk_units": Case(lambda x: x.topk(8, -1)[0], (), told="given out"),
    "sorted_tokens": Case(lambda x: x.sort(1)[0], (16,)),
    "sorted_units": Case(lambda x: x.sort(-1)[0], (), told="given out"),
    "median_token": Case(lambda x: x.median(1)[0], (16,)),
    "differences_of_tokens": Case(lambda x: x.diff(dim=1), (16,)),
    "differences_of_units": Case(lambda x: x.diff(dim=-1), (), told="given out"),
    "running_maximum": Case(lambda x: x.cummax(1)[0], (16,)),
    "cross": Case(lambda x: torch.linalg.cross(x[:, :3], x[:, 1:4], dim=1), (16,)),
    "frequencies": Case(lambda x: torch.fft.rfft(x).abs(), (), told="frequencies are complex"),
    "diagonal": Case(lambda x: x.diagonal(0, 1, 2), (), told="a diagonal of it is taken"),
    "triangle": Case(lambda x: x.tril(), (), told="a triangle of it"),
    "windows_of_tokens": Case(lambda x: x.unfold(1, 3, 1).sum(-1), (16,)),
    "windows_of_units": Case(lambda x: x.unfold(2, 4, 4).flatten(2), (), told="windows slide"),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_picked_by_place_are_followed_or_frozen(name: str) -> None:
    check(CASES[name])


def targets(graph: nn.Module) -> list[str]:
    return [str(node.target) for node in graph.program.graph.nodes]  # type: ignore[union-attr]


def test_a_strided_slice_that_keeps_whole_pairs_stays_a_slice() -> None:
    assert "aten.index_select.default" not in targets(check(CASES["pairs_rotated"]))
    assert "aten.index_select.default" in targets(check(CASES["every_second"]))


def test_a_table_that_nobody_reads_any_more_has_no_units() -> None:
    student = check(CASES["table"])
    old, new = (n for n, t in student.tensors.items() if t.dtype is torch.int64)
    assert torch.equal(student.tensors[old], ORDER)
    assert len(student.tensors[new]) < len(ORDER)
    members = [m.parameter for group in analyze(student).groups for m in group.members]
    assert members
    assert not {old, new} & set(members)


class Sorter(nn.Module):
    """One stored table puts the units of two layers in order; it is read by three nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(16))
        self.first, self.second = nn.Linear(6, 16), nn.Linear(6, 16)
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.tanh(self.first(x)), torch.tanh(self.second(x))
        a = a[..., self.order]
        places = self.order.sum().to(x.dtype)
        return self.last(torch.cat([a, b.index_select(-1, self.order)], -1)) + places


def test_a_table_that_several_read_is_written_anew_for_each() -> None:
    graph = captured(randomised(Sorter), (torch.randn(2, 5, 6),))
    analysis = analyze(graph)
    assert [group.units for group in analysis.groups] == [16, 16]
    student = assert_cuts_are_proved(graph, analysis)
    tables = {n: t for n, t in student.tensors.items() if t.dtype is torch.int64}
    assert torch.equal(tables.pop("order"), graph.tensors["order"])
    assert len(tables) == 2
    assert all(sorted(table.tolist()) == list(range(len(table))) for table in tables.values())
    assert_cuts_are_proved(student, analyze(student))


class Overwritten(nn.Module):
    """A table that the network changes before it reads it is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        table = torch.tensor([1, 2, 3, 4]).add_(1)
        return self.last(torch.tanh(self.first(x))[..., table])


def test_a_table_that_is_written_is_not_followed() -> None:
    analysis = analyze(captured(randomised(Overwritten), (torch.randn(2, 5, 6),)))
    assert not analysis.groups
    assert any("table of positions" in entry.reason for entry in analysis.frozen)
