"""Every family of operators between two layers: cuts are proved, all else is frozen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.analysis import analyze
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from compressor.rules import find_rule, known_operators, rule
from tests.rules.cases import Case, check
from tests.zoo import captured, randomised


def stacked(x: Tensor) -> Tensor:
    return torch.stack([x, x.exp()], 1).sum(1)


def written_into(x: Tensor) -> Tensor:
    y = x.clone()
    y[..., 4:] += 1
    return y


def beside_ones(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(x.shape[0], 5, 8)], -1)


def interleaved(x: Tensor) -> Tensor:
    return x.view(x.shape[0], 5, 2, 8).transpose(2, 3).reshape(x.shape[0], 5, 16)


def gram(x: Tensor) -> Tensor:
    return (x @ x.transpose(1, 2)) @ x


def channel_softmax_attention(x: Tensor) -> Tensor:
    weights = (x.transpose(1, 2) @ x).softmax(-1)
    return x @ weights


def by_second_names(x: Tensor) -> Tensor:
    y = torch.multiply(torch.subtract(x, 0.5), torch.special.expit(x))
    y = torch.divide(torch.absolute(y), torch.negative(x) - 2, rounding_mode="floor")
    y = torch.subtract(y, torch.arctan(x), alpha=2).arcsinh_()
    y = torch.rsub(y, torch.fix(3 * x), alpha=0.5).true_divide(3)
    return torch.where(torch.greater(x, 0.1), torch.real(y), y.exp()).multiply_(x.less_equal(x))


CASES = {
    "second_names": Case(by_second_names, (16,)),
    "activation": Case(F.gelu, (16,)),
    "scalars": Case(lambda x: 2 * x.clamp(-1, 1) - 0.5, (16,)),
    "dropout": Case(lambda x: F.dropout(x, 0.5, training=False), (16,)),
    "in_place": Case(lambda x: x.relu_().add_(0.25), (16,)),
    "in_place_without_a_tag": Case(lambda x: F.mish(x.abs_(), inplace=True), (16,)),
    "masked": Case(lambda x: x.masked_fill(x > 0.5, 3.0), (16,)),
    "where": Case(lambda x: torch.where(x > 0, x, x.exp()), (16,)),
    "constant_vector": Case(lambda x: x * torch.arange(16.0), (), told="meets a dimension"),
    "write_into_slice": Case(written_into, (4, 12)),
    "glu": Case(lambda x: F.glu(x, -1), (8,)),
    "halves": Case(lambda x: x.chunk(2, -1)[0] * x.chunk(2, -1)[1].sigmoid(), (8,)),
    "slice_without_last": Case(lambda x: x[..., :-1], (15,)),
    "slice_from_end": Case(lambda x: x[..., -12:-2], (10, 6)),
    "one_channel": Case(lambda x: x[..., :1] * x, (15,)),
    "pad": Case(lambda x: F.pad(x, (2, 3)), (16, 5)),
    "pad_with_ones": Case(lambda x: F.pad(x, (2, 3), value=1.0), (16, 5)),
    "cat_with_ones": Case(beside_ones, (16, 8)),
    "cat_twice": Case(lambda x: torch.cat([x, x.exp(), x], -1), (16,)),
    "stack": Case(stacked, (16,)),
    "repeat": Case(lambda x: x.repeat(1, 1, 3), (16,)),
    "expand": Case(lambda x: x.sum(-1, keepdim=True).expand(-1, -1, 8), (16, 8)),
    "heads": Case(lambda x: x.view(x.shape[0], 5, 2, 8).tanh().flatten(2), (2, 8)),
    "unflatten": Case(lambda x: x.unflatten(-1, (8, -1)).flatten(-2), (8, 2)),
    "interleave": Case(interleaved, (2, 8)),
    "tokens_and_units": Case(lambda x: x.flatten(1).view(-1, 5, 16), (16,)),
    "squeeze": Case(lambda x: x.unsqueeze(2).exp().squeeze(2), (16,)),
    "select_token": Case(lambda x: x[:, 2], (16,)),
    "no_rule": Case(lambda x: x.cumprod(-1), (), told="no rule is known"),
    "roll_tokens": Case(lambda x: x.roll(1, 1), (16,)),
    "cumsum_units": Case(lambda x: x.cumsum(-1), (), told="positions along"),
    "cumsum_tokens": Case(lambda x: x.cumsum(1), (16,)),
    "largest_token": Case(lambda x: x.max(1)[0], (16,)),
    "gram": Case(gram, (16,)),
    "channel_attention": Case(channel_softmax_attention, (16,), exact=False),
    "sum": Case(lambda x: x.exp() / x.exp().sum(-1, keepdim=True), (16,)),
    "vector_norm": Case(lambda x: F.normalize(x.exp(), dim=-1), (16,)),
    "mean": Case(lambda x: x - x.mean(-1, keepdim=True), (16,), exact=False),
    "deviation": Case(lambda x: x / x.std(-1, keepdim=True), (14,), exact=False),
    "largest_without_its_place": Case(
        lambda x: x - x.max(-1, keepdim=True)[0] * x.min(2)[0][..., None], (16,), exact=False
    ),
    "places_of_the_largest": Case(
        lambda x: x * x.max(-1, keepdim=True)[1] * x.min(-1)[1][..., None],
        (),
        told="positions along this dimension are given out",
    ),
    "largest_unit": Case(lambda x: x - x.amax(-1, keepdim=True), (16,), exact=False),
    "softmax": Case(lambda x: x.softmax(-1), (16,), exact=False),
    "softmax_tokens": Case(lambda x: x.softmax(1), (16,)),
    "layer_norm": Case(lambda x: F.layer_norm(x, (16,)), (16,), exact=False),
    "layer_norm_tokens": Case(lambda x: F.layer_norm(x, (5, 16)), (16,), exact=False),
    "rms_norm": Case(lambda x: F.rms_norm(x, (16,)), (16,), exact=False),
    "pool_tokens": Case(lambda x: F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2), (16,)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_can_be_cut_is_proved_and_what_cannot_is_frozen(name: str) -> None:
    check(CASES[name])


class Viewed(nn.Module):
    """One layer's result takes the shape of another's: they must keep the same units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.other, self.last = nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh().view_as(self.other(x)))


class WeightFromLeft(nn.Module):
    """A weight on the left of a product, another cut in chunks, a bias of two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(12, 5))
        self.packed = nn.Parameter(torch.randn(24, 6))
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.packed.chunk(2, 0)
        x = torch.sigmoid(self.left @ F.linear(x, a) + 0.5)
        return self.last(F.linear(x @ a, b).exp())


@pytest.mark.parametrize(
    ("network", "shape", "groups"), [(Viewed, (5, 6), [16]), (WeightFromLeft, (5, 6), [12, 12])]
)
def test_layers_that_share_a_shape_go_together(
    network: Callable[[], nn.Module], shape: tuple[int, ...], groups: list[int]
) -> None:
    graph = captured(randomised(network), (torch.randn(2, *shape),))
    analysis = analyze(graph)
    assert [group.units for group in analysis.groups] == groups
    keep = np.ones(1 + sum(groups), dtype=bool)
    keep[[2, 5, 11]] = False
    chosen = plan_keeping(analysis, keep)
    student = remove(graph, analysis, chosen)
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert sum(p.numel() for p in student.parameters()) == chosen.after.params


def test_an_operator_has_one_rule() -> None:
    with pytest.raises(ValueError, match=r"aten\.linear has two rules"):
        rule("aten.linear")(lambda call: ())
    assert "aten.linear" in known_operators()


def test_in_place_and_tagged_operators_find_their_rules() -> None:
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    aten = torch.ops.aten
    plain, changed = (
        graph.call_function(op, (x,)) for op in (aten.relu.default, aten.relu_.default)
    )
    tagged = graph.call_function(aten.erf.default, (x,))
    untagged = graph.call_function(aten.abs_.default, (x,))  # where the other form has a tag
    unknown = graph.call_function(aten.cumprod.default, (x, 0))
    assert find_rule(plain) is find_rule(changed) is find_rule(tagged) is not None
    assert find_rule(untagged) is find_rule(tagged)
    assert find_rule(unknown) is None
