"""What stands between two layers: cuts, tables of positions, writing, shared memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.attacks.values import counted
from tests.rules.cases import Middle

aten = torch.ops.aten


def halves_of_rows(x: Tensor) -> Tensor:
    """Units times the batch in one dimension, cut in two: no literal size."""
    a, b = x.permute(2, 0, 1).flatten(0, 1).chunk(2, 0)
    return (a * b.exp()).unflatten(0, (8, -1)).permute(1, 2, 0)


def pieces_of_rows(x: Tensor) -> Tensor:
    a, b = x.permute(2, 0, 1).flatten(0, 1).split(8 * x.shape[0], 0)
    return (a * b.exp()).unflatten(0, (8, -1)).permute(1, 2, 0)


def cut_at(*places: int) -> Middle:
    return lambda x: torch.cat([p.sin() for p in aten.tensor_split(x, places, -1)][::-1], -1)


def cut_into_three(x: Tensor) -> Tensor:
    a, b, c = aten.tensor_split(x[..., :15], 3, -1)
    return a * b.exp() + c


def three_apart(x: Tensor) -> Tensor:
    """Nothing but the cut ties the three pieces."""
    return torch.cat([p.sin() for p in aten.tensor_split(x[..., :15], 3, -1)][::-1], -1)


def halves_apart(x: Tensor) -> Tensor:
    a, b = x.permute(2, 0, 1).flatten(0, 1).chunk(2, 0)
    return torch.cat([b.exp(), a]).unflatten(0, (16, -1)).permute(1, 2, 0)


def tokens_cut(x: Tensor) -> Tensor:
    a, b, c = aten.tensor_split(x, [1, 3], 1)
    return torch.cat([c.sin(), a, b], 1)


def written(start: int, end: int, step: int = 1, dim: int = 2) -> Middle:
    def middle(x: Tensor) -> Tensor:
        source = aten.slice(x, dim, start, end, step).exp()
        return aten.slice_scatter(x, source, dim, start, end, step)

    return middle


def other_layer_written(x: Tensor) -> Tensor:
    """The rows that are written are others than those that were there."""
    return aten.slice_scatter(x, x[..., 9:13].exp(), 2, 2, 6)


def row_written(x: Tensor) -> Tensor:
    return aten.select_scatter(x, x[..., 3].exp(), -1, 5)


def token_written(x: Tensor) -> Tensor:
    return aten.select_scatter(x, x[:, 3].exp(), 1, 0)


def row_of_padding_written(x: Tensor) -> Tensor:
    """The row comes from the same units, the rest is filled: only the row ties them."""
    filled = x.new_zeros(x.shape[0], 5, 16)
    return aten.select_scatter(filled, x[:, 3].exp(), 1, 0)


def order_of(x: Tensor) -> Tensor:
    return x.sum((0, 1)).argsort()


def places_along(x: Tensor) -> Tensor:
    return x + x[0].take_along_dim(x[0].argsort(0)[:1], 0)


def places_along_units(x: Tensor) -> Tensor:
    return x + x[0].take_along_dim(x[0].argsort(-1), -1)


def places_for_all(x: Tensor) -> Tensor:
    return x + aten.take_along_dim(x[0], x[0].sum(-1, keepdim=True).argsort(0), 0)


def places_over_everything(x: Tensor) -> Tensor:
    return x * aten.take_along_dim(x, torch.tensor([3, 1, 2])).sum()


def looked_up(x: Tensor) -> Tensor:
    """Units are the positions of what is looked up."""
    table = torch.arange(20.0).view(5, 4).sin()
    return x * F.embedding(x.argmax(1), table).sum(-1).unsqueeze(1)


def signs(x: Tensor) -> Tensor:
    """Whole numbers that carry the units, and are no positions of theirs."""
    return (x > 0).long()


def order_of_tokens(x: Tensor) -> Tensor:
    return x.sum((0, 2)).argsort()


def scattered_from_units(x: Tensor) -> Tensor:
    table = torch.arange(16).flip(0).expand(5, 16)
    return x.sum(-1, keepdim=True) + torch.zeros(5, 16).scatter(-1, table, x[0].exp())


def scattered_from_others(x: Tensor) -> Tensor:
    """Rows are written in another order of the units, and of those only the first ten."""
    return x + x[0].scatter(0, torch.ones(3, 10).long(), x[1].flip(-1))


def put_among_rows(x: Tensor) -> Tensor:
    y = x[0].mT.clone()
    y[:, torch.tensor([0, 3])] = x[1].flip(-1).mT[:, :2]
    return x + y.mT


def put_alone(x: Tensor) -> Tensor:
    y = x[0].clone()
    y[torch.tensor([0, 3])] = x[1, :1].flip(-1)
    return x + y


def diagonal_over_units(x: Tensor) -> Tensor:
    return (x[..., None] * counted(5)).diagonal(0, 1, 3).transpose(1, 2)


def places_apart(x: Tensor) -> Tensor:
    """Tables with a dimension between them: what they pick comes first."""
    y = x.permute(2, 1, 0)[..., None] * counted(3)
    return y[:, torch.tensor([0, 3]), :, torch.tensor([1, 2])].permute(2, 0, 1)


def put_one_for_all(x: Tensor) -> Tensor:
    places = [None, torch.tensor([0, 3])]
    return x + torch.ops.aten.index_put(x[0].mT, places, counted(1, 2)).mT


def put_a_pair(x: Tensor) -> Tensor:
    y = x[0, :, :2].clone()
    y[torch.tensor([0, 3])] = x[1, :2, 2:4]
    return x.sum(-1, keepdim=True) * y


def through_alias(make: Callable[[Tensor], Tensor]) -> Middle:
    """Every second row of what shares memory with a value that is written afterwards."""

    def middle(x: Tensor) -> Tensor:
        y = x.clone()
        odd = make(y)[..., 1::2]
        y.add_(1.0)
        return odd * 2

    return middle


def written_through_alias(x: Tensor) -> Tensor:
    """Every second row is written, through a value that shares its memory."""
    y = x.clone()
    F.dropout(y, 0.5, training=False)[..., 1::2].add_(1.0)
    return y * 2


def scattered_into_numbers(x: Tensor) -> Tensor:
    """Only what is written has units: neither the table nor what it is written into."""
    table = (torch.arange(48) % 3).view(3, 16)
    return x.sum(-1, keepdim=True) + counted(5, 16).scatter(0, table, x[0, :3])


def written_later(make: Callable[[Tensor], Tensor]) -> Middle:
    """Every second row of a value; then something is written that shares its memory."""

    def middle(x: Tensor) -> Tensor:
        y = x.clone()
        odd = y[..., 1::2]
        make(y).add_(1.0)
        return odd * 2

    return middle


def written_before_and_after(x: Tensor) -> Tensor:
    """What is written was taken before the value changed, and what is read after it."""
    y = x.clone()
    part = y[..., :8]
    y.mul_(2.0)
    odd = y[..., 1::2]
    part.add_(1.0)
    return odd * 2


def written_by_name(x: Tensor) -> Tensor:
    """What is written is named in the call, not placed."""
    y = x.detach().clone()
    odd = y[..., 1::2]
    torch.exp(x.detach(), out=y)
    return odd * 2


def moving(cut: Callable[[Tensor], Tensor]) -> Middle:
    """Places along units times samples: those of other units in another batch."""
    return lambda x: x * cut(x.exp().permute(2, 0, 1).flatten(0, 1)).amax()


ROWS: Mapping[str, Middle] = {
    "halves_of_rows": halves_of_rows,
    "pieces_of_rows": pieces_of_rows,
    "cut_at": cut_at(3, 10),
    "cut_behind_the_end": cut_at(6, 20),
    "cut_from_the_end": cut_at(-10, 12),
    "cut_out_of_order": cut_at(10, 3),
    "cut_at_the_start": cut_at(0, 5),
    "cut_into_three": cut_into_three,
    "cut_from_behind": lambda x: x[..., -10:],
    "cut_before_the_end": lambda x: x[..., :-3],
    "cut_from_nowhere": lambda x: aten.slice(x, -1, None, 10),
    "narrow_from_behind": lambda x: x.narrow(-1, -15, 15),
    "moving_slice": moving(lambda x: x[8:]),
    "moving_slice_from_behind": moving(lambda x: x[-8:]),
    "moving_steps": moving(lambda x: x[::2]),
    "moving_row": moving(lambda x: x[3]),
    "moving_run": moving(lambda x: x.narrow(0, 3, 8)),
    "moving_split": moving(lambda x: aten.split_with_sizes(x, [8, x.shape[0] - 8])[0]),
    "moving_places": moving(lambda x: aten.tensor_split(x, [8], 0)[0]),
    "moving_pieces": moving(lambda x: torch.mul(*x.chunk(2))),
    "moving_halves": moving(lambda x: F.glu(x, 0)),
    "moving_table": moving(lambda x: x[torch.tensor([0, 5, 7])]),
    "moving_end": moving(lambda x: F.pad(x, (0, 0, 1, 2)).exp()),
    "moving_around": moving(lambda x: x.roll(3, 0) * x),
    "moving_whole": lambda x: (
        aten.slice(x.permute(2, 0, 1).flatten(0, 1), 0, 0).unflatten(0, (16, -1)).permute(1, 2, 0)
    ),
    "written_where_it_moves": moving(lambda x: aten.slice_scatter(x, counted(6, 5), 0, 2, 8)),
    "row_written_where_it_moves": moving(lambda x: aten.select_scatter(x, counted(5), 0, 2)),
    "three_apart": three_apart,
    "halves_apart": halves_apart,
    "tokens_cut": tokens_cut,
    "written": written(2, 8),
    "written_to_the_end": written(5, 16),
    "written_in_pairs": written(0, 16, 2),
    "written_in_odd_pairs": written(1, 16, 2),
    "written_in_part": written(0, 8, 2),
    "written_behind": written(3, 16, 2),
    "written_off_period": written(0, 16, 3),
    "other_rows_written": other_layer_written,
    "tokens_written": written(1, 3, 1, 1),
    "row_written": row_written,
    "token_written": token_written,
    "row_of_padding_written": row_of_padding_written,
    "drawn_order": lambda x: x.index_select(-1, order_of(x)),
    "drawn_order_indexed": lambda x: x[..., order_of(x)],
    "rows_at_one_place": lambda x: x.index_select(1, order_of(x)[:1] % 5),
    "places_along": places_along,
    "places_along_units": places_along_units,
    "places_for_all": places_for_all,
    "places_over_everything": places_over_everything,
    "looked_up": looked_up,
    "tokens_split": lambda x: torch.cat(x.split([2, 3], 1)[::-1], 1),
    "tokens_in_pieces": lambda x: torch.cat(aten.tensor_split(x, 5, 1)[::-1], 1),
    "written_behind_a_period": written(2, 16, 2),
    "written_from_others": lambda x: aten.slice_scatter(
        x, x.exp().sum(-1, keepdim=True).expand(-1, -1, 6), 2, 2, 8
    ),
    "written_into_numbers": lambda x: (
        x.sum(-1, keepdim=True) + aten.slice_scatter(counted(5, 20), x[0].exp(), 1, 2, 18)
    ),
    "places_apart": places_apart,
    "scattered_into_numbers": scattered_into_numbers,
    "numbers_scattered": lambda x: x + x[0].scatter(0, torch.ones(3, 16).long(), counted(3, 16)),
    "put_one_for_all": put_one_for_all,
    "put_a_pair": put_a_pair,
    "table_from_both_ends": lambda x: x[..., torch.tensor([-16, 15, 3, 0])],
    "written_under_dropout": through_alias(lambda y: F.dropout(y, 0.5, training=False)),
    "written_under_a_type": through_alias(lambda y: y.type_as(y.sum())),
    "written_under_a_part": through_alias(lambda y: y[..., 4:]),
    "written_under_a_change": through_alias(lambda y: y.mul_(2.0)),
    "written_through_alias": written_through_alias,
    "dropout_written_later": written_later(lambda y: F.dropout(y, 0.5, training=False)),
    "type_written_later": written_later(lambda y: y.type_as(y.sum())),
    "written_under_a_half": lambda x: through_alias(lambda y: y.chunk(2, -1)[0])(x.detach()),
    "part_written_later": written_later(lambda y: y[..., 4:]),
    "copy_written_later": written_later(lambda y: y.exp()),
    "written_by_name": written_by_name,
    "written_before_and_after": written_before_and_after,
    "tokens_turned": lambda x: x + x.flip(1),
    "drawn_few": lambda x: x.index_select(-1, order_of_tokens(x)),
    "drawn_few_indexed": lambda x: x[..., order_of_tokens(x)],
    "picked_by_units": lambda x: x.index_select(1, signs(x[0, 0])),
    "indexed_by_units": lambda x: x[:, signs(x[0, 0])],
    "gathered_by_table": lambda x: x + x[0].gather(-1, torch.arange(16).flip(0).expand(5, 16)),
    "gathered_by_units": lambda x: x.sum(-1, keepdim=True) + counted(5, 16).gather(-1, signs(x[0])),
    "gathered_for_units": lambda x: x + counted(5, 16).gather(0, signs(x[0])),
    "gathered_by_others": lambda x: x + x[0].gather(0, signs(x[1]).flip(-1)),
    "taken_by_table": lambda x: (
        x + aten.take_along_dim(x[0], torch.arange(16).flip(0).expand(5, 16), -1)
    ),
    "taken_by_units": lambda x: (
        x.sum(-1, keepdim=True) + aten.take_along_dim(counted(5, 16), signs(x[0]), -1)
    ),
    "taken_for_units": lambda x: x + aten.take_along_dim(counted(5, 16), signs(x[0]), 0),
    "taken_by_others": lambda x: x + aten.take_along_dim(x[0], signs(x[1]).flip(-1), 0),
    "scattered_from_units": scattered_from_units,
    "scattered_from_others": scattered_from_others,
    "added_from_units": lambda x: x + counted(5, 16).index_add(1, torch.arange(16).flip(0), x[0]),
    "put_among_rows": put_among_rows,
    "put_alone": put_alone,
    "diagonal_over_units": diagonal_over_units,
    "triangle_of_rows": lambda x: x + x[0].mT.tril().mT,
    "narrow_by_value": lambda x: x.narrow(-1, torch.tensor(2), 7),
}
