"""What stands between two layers: products, sums, norms, joins, repetitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.attacks.values import counted
from tests.rules.cases import Middle

aten = torch.ops.aten


def heads(x: Tensor, count: int = 2) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def attended(mask: Callable[[Tensor], Tensor]) -> Middle:
    def middle(x: Tensor) -> Tensor:
        q, k, v = heads(x, 4), heads(x.exp(), 4), heads(x.sin(), 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask(x))
        return y.transpose(1, 2).flatten(2)

    return middle


def between_heads(x: Tensor) -> Tensor:
    return (heads(x, 4) @ heads(x.exp(), 4).mT).sin()


def units_attended(x: Tensor) -> Tensor:
    """Units are the positions that are looked at; they also make the mask."""
    columns = x.transpose(1, 2)
    mask = x.mean(1, keepdim=True)
    return F.scaled_dot_product_attention(x.mT, columns, columns.exp(), attn_mask=mask).mT


def one_key_head(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(heads(x, 4), x[:, None, :, :4], x[:, None]).sum(1)


def units_looked_at(x: Tensor) -> Tensor:
    """Units are the positions that are looked at: a softmax runs over them."""
    y = x.transpose(1, 2).exp()
    return F.scaled_dot_product_attention(x[..., :5], y, y.flip(1) + 1).repeat(1, 1, 2)


def units_looked_at_through(mask: Tensor) -> Middle:
    def middle(x: Tensor) -> Tensor:
        y = x.transpose(1, 2).exp()
        return F.scaled_dot_product_attention(x[..., :5], y, y + 1, attn_mask=mask).repeat(1, 1, 2)

    return middle


def units_looking(mask: Tensor | None) -> Middle:
    """Units are the positions that look."""

    def middle(x: Tensor) -> Tensor:
        y = x.transpose(1, 2).exp()
        tokens = y.mean(1, keepdim=True).repeat(1, 7, 1)
        return F.scaled_dot_product_attention(y, tokens, tokens.sin(), attn_mask=mask).mT

    return middle


def two_heads_masked(x: Tensor) -> Tensor:
    q, k, v = heads(x), heads(x.exp()), heads(x.sin())
    mask = (heads(x.flip(-1)) @ heads(x.exp().flip(-1)).mT).sin()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def scaled(x: Tensor) -> Tensor:
    q, k, v = heads(x), heads(x.exp()), heads(x.sin())
    return F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2)


def added_to(x: Tensor) -> Tensor:
    """What is added has the units in another order."""
    return x + torch.addmm(x[1].flip(-1), counted(5, 5), x[0])


def vector_added_to(x: Tensor) -> Tensor:
    return x + torch.addmm(x[1, 0].flip(-1), counted(5, 5), x[0])


def row_added_to(x: Tensor) -> Tensor:
    """Rows and columns of the product are units; what is added has one row."""
    return x[:, :1] + torch.addmm(x[1, :1].sin(), x[0].mT, x[0])


def pair_added_to(x: Tensor) -> Tensor:
    return torch.addmm(x[1, :, 2:4], counted(5, 5), x[0, :, :2]).repeat(x.shape[0], 1, 1)


def units_by_units(x: Tensor) -> Tensor:
    """Units are the batch of a product of matrices, in another order on the right."""
    y = x.permute(2, 0, 1)
    return (y @ y.flip(0).mT @ y).permute(1, 2, 0)


def units_by_alike(x: Tensor) -> Tensor:
    """The left operand has no batch of its own."""
    y = x.permute(2, 0, 1)
    return (torch.ones(1, 1, 1) * y.sum(0, keepdim=True).mT @ y).permute(1, 2, 0)


def outer_of_two(x: Tensor) -> Tensor:
    return x @ torch.outer(x[0, 0], x[0, 1, :6].exp())


def both_along_units(x: Tensor) -> Tensor:
    y = x.transpose(1, 2)
    return F.bilinear(y, y.flip(1), torch.ones(5, 5, 5)).transpose(1, 2)


def softmax_of_one(x: Tensor) -> Tensor:
    """A value without dimensions."""
    return x * x.sum().softmax(0)


def stacked_apart(x: Tensor) -> Tensor:
    return torch.stack([x.flip(-1), x.exp(), x.sin().roll(8, -1)], 1).sum(1)


def along_two_lengths(x: Tensor) -> Tensor:
    a, b = torch.meshgrid(x[0, 0], x[0, 1, :6].exp(), indexing="ij")
    return x @ (a * b)


def copies_of_units(x: Tensor) -> Tensor:
    """The units are the first dimension of what is expanded."""
    return x + (x[0].mT[:, None].expand(16, 3, 5) * counted(3, 1)).sum(1).mT


def theta_of_units(x: Tensor) -> Tensor:
    """Every unit is a sample that is moved in its own way."""
    theta = x[0].mT[:, None, :3].expand(16, 2, 3)
    return x + F.affine_grid(theta, [16, 1, 1, 5], align_corners=False)[:, 0, :, 0].mT


def moved_by_units(x: Tensor) -> Tensor:
    """Six units are the matrix that moves places."""
    theta = x.mean(1)[:, :6].unflatten(-1, (2, 3))
    return x * F.affine_grid(theta, [x.shape[0], 1, 1, 5], align_corners=False)[:, 0, :, :1]


def single_numbers(x: Tensor) -> Tensor:
    """A value without dimensions, through operators that look for one."""
    y = x.sum().flip(0).transpose(0, 0).movedim(0, 0).cumsum(0).max(0)[0].sort(0)[0]
    y = y.index_select(0, torch.tensor([0])).unfold(0, 1, 1).sum(0)
    return x * F.cosine_similarity(y, x.exp().sum(), 0) * y.sin()


def five_of_a_product(x: Tensor) -> Tensor:
    """A dimension of size one is broadcast by the sum; it comes first, then second."""
    one = x.sigmoid().mean(-1, keepdim=True)
    y = torch.einsum("bti,bti->bt", one, x.sigmoid())
    return x * (y + torch.einsum("bti,bti->bt", x.sigmoid(), one))[..., None]


def nine_dimensions(x: Tensor) -> Tensor:
    y = x.unflatten(-1, (2, 2, 2, 2))[(..., *([None] * 4))]
    return torch.einsum("...a,...a->...a", y, y.exp()).flatten(2)


def side_by_side(x: Tensor) -> Tensor:
    return aten.hstack([x[:, 0], x[:, 1].exp()])


def under_each_other(x: Tensor) -> Tensor:
    return x + aten.vstack([x[0, :2], x[1, 2:]])


def vectors_side_by_side(x: Tensor) -> Tensor:
    return aten.hstack([x[0, 0], x[0, 1]]).repeat(2, 1, 1)


def normed(x: Tensor) -> Tensor:
    """The norm of every token, over units behind a sigmoid."""
    return x / aten.norm_except_dim(x[0].sigmoid(), 2, 0)


def broadcast(x: Tensor) -> Tensor:
    a, b = aten.broadcast_tensors([x, x.sum(-1, keepdim=True)])
    return a * b.exp()


def broadcast_alone(x: Tensor) -> Tensor:
    """The first operand has no units, the others have."""
    a, b = aten.broadcast_tensors([x.sum(-1, keepdim=True), x])
    return a * b.exp()


def twelve_dimensions(x: Tensor) -> Tensor:
    y = x.unflatten(-1, (2, 2, 2, 2))[(..., *([None] * 6))]
    return torch.einsum("...a,...a->...a", y, y.exp()).flatten(2)


ROWS: Mapping[str, Middle] = {
    "masked_by_place": attended(lambda x: torch.ones(5, 5).tril().log()),
    "masked_alike": attended(lambda x: torch.ones(1, 1, 5, 5).tril().log()),
    "masked_by_head": attended(lambda x: between_heads(x.flip(-1))),
    "masked_by_heads_of_all": attended(lambda x: between_heads(x.flip(-1)).sum(0)),
    "masked_by_one_head": attended(lambda x: between_heads(x)[:, :1]),
    "units_attended": units_attended,
    "units_looked_at": units_looked_at,
    "units_looked_at_through": units_looked_at_through(torch.randn(5, 16)),
    "units_looking": units_looking(None),
    "units_looking_through": units_looking(torch.randn(16, 7)),
    "units_looking_through_one": units_looking(torch.randn(1, 7)),
    "two_heads_masked": two_heads_masked,
    "scaled": scaled,
    "one_key_head": one_key_head,
    "added_to": added_to,
    "vector_added_to": vector_added_to,
    "row_added_to": row_added_to,
    "pair_added_to": pair_added_to,
    "units_by_units": units_by_units,
    "units_by_alike": units_by_alike,
    "outer_of_two": outer_of_two,
    "both_along_units": both_along_units,
    "two_more": lambda x: torch.cat([x, x.new_ones(x.shape[0], 5, 2)], -1),
    "dropped_with_mask": lambda x: torch.native_dropout(x, 0.5, False)[0],
    "mask_as_index": lambda x: x * x[x > 0].sum(),
    "stacked_last": lambda x: aten.stack([x, x.flip(-1)], -1).sum(-1),
    "wider_in_front": lambda x: F.pad(x, (3, 0)),
    "wider_behind": lambda x: F.pad(x, (0, 1)),
    "normed_over_both": lambda x: F.layer_norm(x.transpose(1, 2), (5,)).mT,
    "largest_of_units": lambda x: x * x.max(-1, keepdim=True)[0],
    "complex_units": lambda x: torch.view_as_real(torch.complex(x, x.exp())).sum(-1),
    "zeroth_norm": lambda x: x / (1 + torch.linalg.vector_norm(x.relu(), 0, -1, keepdim=True)),
    "half_norm": lambda x: x / torch.linalg.vector_norm(x.sigmoid(), 0.5, -1, keepdim=True),
    "distances_from_others": lambda x: torch.cdist(x, x.flip(-1).sigmoid()),
    "distances_of_units": lambda x: (
        x + torch.cdist(x[0].mT[:, :, None], x[1].flip(-1).mT[:, :, None]).sum(-1).mT
    ),
    "alike_in_the_first": lambda x: x * F.cosine_similarity(x[0], x.flip(0).exp(), -1)[..., None],
    "alike_along_units": lambda x: F.cosine_similarity(x.exp(), x.flip(-1), 1)[:, None],
    "along_two_lengths": along_two_lengths,
    "copies_of_units": copies_of_units,
    "theta_of_units": theta_of_units,
    "squeezed_in_vain": lambda x: x.exp().squeeze(2),
    "softmax_of_one": softmax_of_one,
    "moved_by_units": moved_by_units,
    "single_numbers": single_numbers,
    "summed_with_the_batch": lambda x: x * x.exp().flatten().sum(),
    "varied_over_samples": lambda x: x * x.var((0, -1))[:, None],
    "varied_by_default": lambda x: x * aten.var.correction(x, [-1], keepdim=True),
    "varied_by_three": lambda x: x * x.var(-1, correction=3, keepdim=True),
    "varied_over_two": lambda x: x * torch.stack([x, x.flip(-1)], 1).var((1, -1))[..., None],
    "smallest_of_units": lambda x: x * aten.aminmax(x, dim=-1, keepdim=True)[0],
    "alike_to_one": lambda x: x * F.cosine_similarity(x.mT[:, :1], x[0].mT.exp(), -1)[:, None],
    "alike_to_a_vector": lambda x: x * F.cosine_similarity(x[0, 0].exp(), x.exp(), -1)[..., None],
    "stacked_before_the_last": lambda x: aten.stack([x, x.flip(-1)], -2).sum(-2),
    "squeezed": lambda x: x[:, :1].unsqueeze(3).squeeze(3),
    "squeezed_all": lambda x: x[:, :1].squeeze().unsqueeze(1),
    "five_of_a_product": five_of_a_product,
    "nine_dimensions": nine_dimensions,
    "stacked_apart": stacked_apart,
    "tokens_beside_others": lambda x: torch.cat([x, x.flip(-1)], 1),
    "nothing_beside": lambda x: torch.cat([torch.empty(0), x, x.exp()], -1),
    "side_by_side": side_by_side,
    "under_each_other": under_each_other,
    "vectors_side_by_side": vectors_side_by_side,
    "narrower": lambda x: F.pad(x, (-2, -3)),
    "narrower_and_wider": lambda x: F.pad(x, (2, -3)),
    "normed": normed,
    "place_of_the_largest": lambda x: x * x.argmax().float().sin(),
    "repeated_flat": lambda x: x * x.repeat_interleave(2).sum(),
    "repeated_single": lambda x: x.sum(-1, keepdim=True).repeat_interleave(16, -1) * x,
    "repeated_alone": lambda x: x.sum(-1, keepdim=True).repeat_interleave(12, -1),
    "repeated_by_table": lambda x: x.repeat_interleave(torch.arange(1, 17), -1, output_size=136),
    "read_as_bits": lambda x: (x * 9).to(torch.int32).view(torch.int16).to(x.dtype).sin(),
    "turned": lambda x: x[0].t().exp().t()[None] + x,
    "broadcast": broadcast,
    "broadcast_alone": broadcast_alone,
    "twelve_dimensions": twelve_dimensions,
}
