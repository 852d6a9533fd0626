"""Cutting, joining and repeating along a dimension."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.rules.cases import Case, Middle, check


def pieces(x: Tensor) -> Tensor:
    a, b, c = x.tensor_split((4, 10), -1)
    return torch.cat([c, a, b.exp()], -1)


def pieces_from_the_end(x: Tensor) -> Tensor:
    a, b, c = x.tensor_split((-12, -6), -1)
    return torch.cat([c, a, b.exp()], -1)


def pieces_by_side(x: Tensor) -> Tensor:
    """Units are the second dimension."""
    a, b, c = x.mT.hsplit((4, 10))
    return torch.cat([c, a, b.exp()], 1).mT


def pieces_out_of_order(x: Tensor) -> Tensor:
    a, _, c = x.tensor_split((10, 4), -1)
    return torch.cat([c, a], -1)


def equal_pieces(x: Tensor) -> Tensor:
    a, b = torch.unsafe_chunk(x, 2, -1)
    c, d = torch.unsafe_split(x.exp(), 8, -1)
    return a * b + c * d


def part_of_the_mean(x: Tensor) -> Tensor:
    """Were the first four to go, there would be no mean."""
    return x - x[..., :4].mean(-1, keepdim=True)


def half_of_the_heads(x: Tensor) -> Tensor:
    """The rows of the first half all have the first head: it may not go."""
    y = x.unflatten(-1, (2, 8)).exp().flatten(-2)
    return y - y[..., :8].amax(-1, keepdim=True)


def pair_of_two(x: Tensor) -> Tensor:
    """Both rows that are cut out depend on the first unit and on the second."""
    pairs = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2).repeat_interleave(2, -1)
    return x - pairs[..., 2:4].amax(-1, keepdim=True)


def scattered(x: Tensor) -> Tensor:
    y = torch.slice_scatter(x, x[..., :6].exp(), -1, 4, 10)
    return torch.select_scatter(y, y[..., 2].exp(), -1, 7)


def scattered_in_stride(x: Tensor) -> Tensor:
    return torch.slice_scatter(x, x[..., ::2].exp(), -1, 0, 16, 2)


def added_grid(x: Tensor) -> Tensor:
    a, b = torch.meshgrid(x[0, 0].exp(), x[0, 1].exp(), indexing="ij")
    return x @ (a * b)


def crossed_grid(x: Tensor) -> Tensor:
    a, b = torch.meshgrid(x[0, 0, :8].exp(), x[0, 1].exp(), indexing="xy")
    return x @ (a + b)


def broadcast(x: Tensor) -> Tensor:
    a, b = torch.broadcast_tensors(x, x[:, :1].exp())
    return a * b


def moving(cut: Middle) -> Middle:
    """Units times samples in one dimension: what stands at a place depends on the batch."""
    return lambda x: x * cut(x.exp().permute(2, 0, 1).flatten(0, 1)).amax()


CASES = {
    "narrow": Case(lambda x: x.narrow(-1, 3, 8).exp(), (8, 8)),
    "tensor_split": Case(pieces, (4, 6, 6)),
    "pieces_from_the_end": Case(pieces_from_the_end, (4, 6, 6)),
    "pieces_by_side": Case(pieces_by_side, (4, 6, 6)),
    "halves_behind": Case(lambda x: torch.mul(*x.dsplit(2)), (8,)),
    "pieces_out_of_order": Case(pieces_out_of_order, (), told="pieces that overlap"),
    "rows_in_pieces": Case(lambda x: x * x[0].vsplit((2,))[0].exp().sum(0), (16,)),
    "equal_pieces": Case(equal_pieces, (8,)),
    "rows_where_they_move": Case(moving(lambda x: x[8:]), (), told="that a free size moves"),
    "row_where_it_moves": Case(moving(lambda x: x[3]), (), told="that a free size moves"),
    "end_where_it_moves": Case(
        moving(lambda x: F.pad(x, (0, 0, 1, 2)).exp()), (), told="that a free size moves"
    ),
    "pieces_where_they_move": Case(
        moving(lambda x: torch.mul(*x.chunk(2))), (), told="move with a free size"
    ),
    "all_of_what_moves": Case(
        lambda x: (
            torch.ops.aten.slice(x.permute(2, 0, 1).flatten(0, 1), 0, 0)
            .unflatten(0, (16, -1))
            .permute(1, 2, 0)
        ),
        (16,),
    ),
    "unequal_pieces": Case(lambda x: x.tensor_split(3, -1)[0], (6, 5, 5)),
    "reflected_tokens": Case(
        lambda x: F.pad(x.transpose(1, 2), (1, 2), mode="reflect").transpose(1, 2), (16,)
    ),
    "split_of_tokens": Case(lambda x: x.tensor_split(2, 1)[0], (16,)),
    "part_of_the_mean": Case(part_of_the_mean, (4, 12), exact=False),
    "half_of_the_heads": Case(half_of_the_heads, (8,), exact=False),
    "pair_of_two": Case(pair_of_two, (14,), told="would lose all the rows"),
    "scattered": Case(scattered, (2, 6), told="one position of it is picked"),
    "scattered_in_stride": Case(scattered_in_stride, (8,)),
    "scattered_others": Case(
        lambda x: torch.slice_scatter(x, x[:, 2:4].flip(-1).exp(), 1, 0, 2), (8,)
    ),
    "one_row_of_others": Case(
        lambda x: torch.select_scatter(x, x[:, 1].flip(-1).exp(), 1, 0), (8,)
    ),
    "beside": Case(lambda x: torch.hstack([x, x[:, 1:].exp()]), (16,)),
    "behind": Case(lambda x: torch.dstack([x, x.exp()]), (16,)),
    "beside_by_columns": Case(lambda x: torch.column_stack([x, x[:, 1:].exp()]), (16,)),
    "below_by_rows": Case(lambda x: torch.row_stack([x, x.exp()])[: x.shape[0]], (16,)),
    "behind_of_matrices": Case(
        lambda x: torch.dstack([x[0], x[1].exp()]).sum(-1)[None],
        (),
        told="a dimension that is made for it",
    ),
    "below": Case(lambda x: torch.vstack([x, x.exp()])[: x.shape[0]], (16,)),
    "single_repeated": Case(lambda x: x * x.exp().sum(-1, keepdim=True).repeat(1, 1, 16), (16,)),
    "single_tiled": Case(lambda x: x * x.exp().sum(-1, keepdim=True).tile(16), (16,)),
    "single_interleaved": Case(
        lambda x: x * x.exp().sum(-1, keepdim=True).repeat_interleave(16, -1), (16,)
    ),
    "interleaved": Case(lambda x: x.repeat_interleave(3, -1), (16,)),
    "new_dimension_repeated": Case(
        lambda x: x.sum((1, 2)).repeat(16, 1).t().unsqueeze(1) * x, (16,)
    ),
    "broadcast_to": Case(lambda x: x * x.exp().sum(-1, keepdim=True).broadcast_to(x.shape), (16,)),
    "broadcast_tensors": Case(broadcast, (16,)),
    "grid": Case(added_grid, (16,)),
    "crossed_grid": Case(crossed_grid, (8, 8)),
    "memory_as_another_type": Case(
        lambda x: x.view(torch.int32).sign().to(x.dtype), (), told="another type"
    ),
    "type_of_another": Case(lambda x: x.type_as(x.flip(-1)), (16,)),
    "one_of_each_class": Case(lambda x: x * F.one_hot(x.argmax(1), 5)[..., 0].unsqueeze(1), (16,)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_cut_joined_or_repeated_is_followed(name: str) -> None:
    check(CASES[name])
