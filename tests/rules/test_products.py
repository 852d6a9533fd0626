"""Products, sums over pairs, and what is counted for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.analysis import analyze
from tests.rules.cases import Case, Middle, assert_cuts_are_proved, check
from tests.zoo import captured, randomised


def lifted(x: Tensor) -> Tensor:
    """A zero behind the sigmoid is no zero: only a gate at the sum removes the unit."""
    return x.sigmoid()


def einsum_scores(x: Tensor) -> Tensor:
    x = lifted(x)
    return torch.einsum("b q d, b k d -> b q k", x, x).unsqueeze(-1) * x.sum(1)[:, None, None, :]


def hidden_dimensions(x: Tensor) -> Tensor:
    y = lifted(x).unflatten(-1, (2, 8))
    return torch.einsum("...qd,...kd->...qk", y.transpose(1, 2), y.transpose(1, 2)).flatten(1, 2)


def without_arrow(x: Tensor) -> Tensor:
    y = lifted(x)
    return torch.einsum("bij,bkj", y, y)


def batches_summed(x: Tensor) -> Tensor:
    y = lifted(x)[0]
    pieces = y.unflatten(1, (4, 4)).transpose(0, 1)
    return x + torch.addbmm(torch.ones(5, 5), pieces, pieces.mT).sum()


def causal(query: Middle, key: Middle) -> Middle:
    """Units are the positions of one side; the other looks, or is looked at, in their order."""

    def middle(x: Tensor) -> Tensor:
        q, k = query(x), key(x)
        y = F.scaled_dot_product_attention(q, k, k.exp(), is_causal=True)
        return y.mT if y.shape[1] == 16 else y.repeat(1, 1, 2)

    return middle


def tokens(x: Tensor) -> Tensor:
    return x.mT.mean(1, keepdim=True).repeat(1, 7, 1)


def units(x: Tensor) -> Tensor:
    return x.mT


CASES = {
    "causal_queries": Case(causal(units, tokens), (), told="is a position in an order"),
    "causal_keys": Case(causal(tokens, units), (), told="is a position in an order"),
    "numbers_without_dimensions": Case(
        lambda x: x * x.sum().flip(0).transpose(0, 0).cumsum(0).max(0)[0], (16,)
    ),
    "summed_with_the_batch": Case(
        lambda x: x * x.exp().flatten().sum(), (), told="is summed along a free size"
    ),
    "a_batch_of_one_varies_too": Case(lambda x: x * x.var((0, -1))[:, None], (14,), exact=False),
    "einsum_of_activations": Case(einsum_scores, (16,)),
    "einsum_with_hidden_dimensions": Case(hidden_dimensions, (8,)),
    "einsum_without_arrow": Case(without_arrow, (16,)),
    "einsum_diagonal": Case(
        lambda x: torch.einsum("bii->bi", x[:, :, :5]), (11,), told="takes a diagonal"
    ),
    "matrix_times_vector": Case(lambda x: x * (lifted(x) @ x[0, 0].sigmoid())[..., None], (16,)),
    "vector_times_matrix": Case(lambda x: x * (x[0, 0].sigmoid() @ lifted(x[0]).mT).sum(), (16,)),
    "dot": Case(lambda x: x * torch.dot(lifted(x[0, 0]), lifted(x[0, 1])), (16,)),
    "mv": Case(lambda x: x * torch.mv(lifted(x[0]), lifted(x[0, 1])).sum(), (16,)),
    "addmv": Case(
        lambda x: x * torch.addmv(torch.ones(5), lifted(x[0]), lifted(x[0, 1])).sum(), (16,)
    ),
    "linear_without_rows": Case(
        lambda x: x * F.linear(x, torch.linspace(1, 2, 16))[..., None],
        (),
        told="a layer whose weight is a vector",
    ),
    "inner": Case(lambda x: torch.inner(lifted(x), lifted(x[0])), (16,)),
    "inner_with_others": Case(lambda x: torch.inner(lifted(x), lifted(x[0]).flip(-1)), (8,)),
    "inner_of_vectors": Case(lambda x: x * torch.inner(lifted(x[0, 0]), lifted(x[0, 1])), (16,)),
    "inner_with_a_number": Case(
        lambda x: torch.inner(x, x[0, 0, 0].exp()), (), told="a product with a number"
    ),
    "outer": Case(lambda x: x @ torch.outer(lifted(x[0, 0]), lifted(x[0, 1])), (16,)),
    "baddbmm": Case(lambda x: torch.baddbmm(torch.ones(5), lifted(x), lifted(x).mT), (16,)),
    "addbmm": Case(batches_summed, (4, 4)),
    "tensordot": Case(lambda x: torch.tensordot(lifted(x), lifted(x[0]), ([2], [1])), (16,)),
    "cosine_similarity": Case(
        lambda x: x * F.cosine_similarity(lifted(x), x[:, :1].exp(), -1).unsqueeze(-1), (16,)
    ),
    "distances": Case(lambda x: torch.cdist(lifted(x), x), (16,)),
    "distances_to_others": Case(lambda x: torch.cdist(lifted(x), x.flip(-1)), (8,)),
    "similarity_to_others": Case(
        lambda x: x * F.cosine_similarity(lifted(x), x.flip(-1).exp(), -1).unsqueeze(-1), (8,)
    ),
    "product_with_others": Case(
        lambda x: torch.tensordot(lifted(x), lifted(x[0]).flip(-1), ([2], [1])), (8,)
    ),
    "bias_of_others": Case(
        lambda x: torch.baddbmm(x.flip(-1), lifted(x) @ lifted(x).mT, lifted(x)), (8,)
    ),
    "largest_norm": Case(
        lambda x: x / torch.linalg.vector_norm(lifted(x), float("inf"), -1, keepdim=True), (16,)
    ),
    "smallest_norm": Case(
        lambda x: x / torch.linalg.vector_norm(lifted(x), -1.0, -1, keepdim=True),
        (16,),
        exact=False,
    ),
    "old_norm": Case(lambda x: x / x.exp().norm(dim=-1, keepdim=True), (16,)),
    "product": Case(lambda x: x * x.exp().prod(-1, keepdim=True), (16,), exact=False),
    "largest_of_two": Case(lambda x: torch.max(x, x.exp()), (16,)),
    "largest_of_all": Case(lambda x: x / x.exp().max(), (16,), exact=False),
    "variance_and_mean": Case(
        lambda x: x - torch.var_mean(x, -1, keepdim=True)[1], (14,), exact=False
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_summed_is_gated_where_it_is_read(name: str) -> None:
    check(CASES[name])


class TwoInputs(nn.Module):
    """A bilinear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(6, 12)
        self.both, self.last = nn.Bilinear(16, 12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.both(self.first(x).sigmoid(), self.second(x).sigmoid()).tanh())


class Cells(nn.Module):
    """Single steps of three kinds of cells, and a plain recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.plain = nn.LSTMCell(6, 8), nn.GRUCell(8, 8), nn.RNNCell(8, 9)
        self.rnn = nn.RNN(6, 8, nonlinearity="relu", batch_first=True)
        self.last = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x[:, 0])
        hidden = self.gru(hidden, self.rnn(x)[0][:, -1])
        return self.last(self.plain(hidden))


class UnitsInTime(nn.Module):
    """Units are the steps of two recurrent layers, one of which takes the steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(6, 12)
        self.lstm, self.gru = nn.LSTM(5, 7, batch_first=True), nn.GRU(5, 8)
        self.last = nn.Linear(15, 4)

    def forward(self, x: Tensor) -> Tensor:
        samples, _ = self.lstm(torch.tanh(self.first(x)).mT)
        steps, _ = self.gru(torch.tanh(self.second(x)).permute(2, 0, 1))
        return self.last(torch.cat([samples[:, -1], steps[-1]], -1))


class LearnedState(nn.Module):
    """Two recurrent layers that begin with states of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 10, num_layers=2, batch_first=True)
        self.state, self.last = nn.Parameter(torch.randn(2, 1, 10)), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = self.state.expand(-1, x.shape[0], -1).contiguous()
        return self.last(self.gru(x, state)[0])


@pytest.mark.parametrize(
    ("network", "groups", "told"),
    [
        (UnitsInTime, [7, 8], "is a step in time"),
        (LearnedState, [10], "counts the layers of a recurrence"),
    ],
)
def test_steps_and_layers_of_a_recurrence_stay(
    network: type[nn.Module], groups: list[int], told: str
) -> None:
    graph = captured(randomised(network), (torch.randn(2, 5, 6),))
    analysis = analyze(graph)
    assert [group.units for group in analysis.groups] == groups
    assert any(told in entry.reason for entry in analysis.frozen)
    assert_cuts_are_proved(graph, analysis)


@pytest.mark.parametrize(
    ("network", "groups", "macs"),
    [
        (TwoInputs, [16, 12, 10], 5 * (6 * 16 + 6 * 12 + 16 * 12 * 10 + 10 * 4)),
        (Cells, None, None),
    ],
)
def test_layers_of_several_weights_are_cut_and_counted(
    network: type[nn.Module], groups: list[int] | None, macs: int | None
) -> None:
    graph = captured(randomised(network), (torch.randn(2, 5, 6),))
    analysis = analyze(graph)
    if groups is not None:
        assert [group.units for group in analysis.groups] == groups
        assert analysis.model.macs == macs
    else:
        assert [group.units for group in analysis.groups] == [8, 8, 9]
    assert_cuts_are_proved(graph, analysis)
