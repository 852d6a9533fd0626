"""Networks with layers of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo import Specimen

aten = torch.ops.aten


class Bag(nn.Module):
    """Sums of looked-up rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.EmbeddingBag(11, 12, mode="sum"), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rows(x))


class FromTheRight(nn.Module):
    """A weight on the right of a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(6, 12)), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(x @ self.weight))


class TwoInAGroup(nn.Module):
    """Groups of two channels; two channels with a slope each; no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 24, 1, groups=8)
        self.two, self.slopes = nn.Conv2d(24, 2, 1), nn.PReLU(2)
        self.last = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.slopes(self.two(torch.tanh(self.grouped(self.first(x))))))


class Upward(nn.Module):
    """A transposed convolution over one picture: its first dimension is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Linear(6, 16), nn.ConvTranspose1d(16, 8, 1)
        self.last = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(torch.tanh(self.first(x)).mean(0).mT)).sum(0) + x.sum()


class OverBoth(nn.Module):
    """A layer norm with gains over tokens and units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 16), nn.LayerNorm((5, 16))
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(torch.tanh(self.first(x))))


class NormedAgain(nn.Module):
    """Directions and lengths of a weight that is no parameter itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(12, 4)
        self.directions = nn.Parameter(torch.randn(12, 16))
        self.lengths = nn.Parameter(torch.rand(12, 1) + 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch._weight_norm(self.directions.sigmoid(), self.lengths, 0)
        return self.last(torch.tanh(F.linear(torch.tanh(self.first(x)), weight)))


class WithoutBias(nn.Module):
    """A recurrent layer without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = (
            nn.LSTM(6, 10, num_layers=2, bias=False, batch_first=True),
            (nn.Linear(10, 4)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0].sum(1))


class Viewing(nn.Module):
    """A buffer that shows some rows, and another that shows some columns, of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 12)
        self.last = nn.Linear(12, 4)
        self.register_buffer("rows", self.second.weight.detach()[2:8])
        self.register_buffer("columns", self.second.weight.detach()[:, 4:])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        y = F.pad(F.linear(x, self.rows), (3, 3)) + F.linear(x[..., 4:], self.columns)
        return self.last(torch.tanh(self.second(x) + y))


class Lengths(nn.Module):
    """A weight over its norms, taken by the operator that weight norm is made of.

    With 0.1 added: a row of zeros is divided by its length, and no gate undoes that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(6, 10), nn.Parameter(torch.randn(8, 10))
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / (torch.norm_except_dim(self.weight, 2, 0) + 0.1)
        return self.last(F.linear(torch.sigmoid(self.first(x)), weight))


class LengthsAlone(nn.Module):
    """The same, where a removed row has no length to divide by: it is not a number, nor is what
    reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(8, 6)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / torch.norm_except_dim(self.weight, 2, 0)
        return self.last(F.linear(x, weight))


class Projected(nn.Module):
    """A recurrent layer whose state is projected."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 10, proj_size=7, batch_first=True)
        self.last = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0].sum(1))


class WithoutBatch(nn.Module):
    """A convolution over one picture: its first dimension is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Linear(6, 16), nn.Conv1d(16, 8, 1)
        self.last = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(torch.tanh(self.first(x)).mean(0).mT)).sum(0) + x.sum()


ATTACKS: Mapping[str, Specimen] = {
    "bag": Specimen(Bag, (6,), tokens=11),
    "from_the_right": Specimen(FromTheRight, (5, 6)),
    "two_in_a_group": Specimen(TwoInAGroup, (3, 6, 6)),
    "upward": Specimen(Upward, (5, 6)),
    "over_both": Specimen(OverBoth, (5, 6), exact=False),
    "normed_again": Specimen(NormedAgain, (5, 6), exact=False),
    "without_bias": Specimen(WithoutBias, (5, 6)),
    "viewing": Specimen(Viewing, (5, 6)),
    "lengths": Specimen(Lengths, (5, 6)),
    "lengths_alone": Specimen(LengthsAlone, (5, 6)),
    "projected": Specimen(Projected, (5, 6)),
    "without_batch": Specimen(WithoutBatch, (5, 6)),
}
