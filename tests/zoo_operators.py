"""Networks around one operator each: strided slices, tables, rolls, windows, gates at sums."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo_images import conv


class InterleavedRotary(nn.Module):
    """Attention whose queries and keys are turned in interleaved pairs, as in EVA-02."""

    cosines: Tensor
    sines: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 128), nn.Linear(6, 128)
        self.value, self.out = nn.Linear(6, 64), nn.Linear(64, 4)
        angles = torch.outer(torch.arange(5.0), 0.5 ** torch.arange(8.0)).repeat_interleave(2, -1)
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def turned(self, x: Tensor) -> Tensor:
        other = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
        return x * self.cosines + other * self.sines

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            layer(x).view(batch, length, 8, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        x = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v)
        return self.out(x.transpose(1, 2).reshape(batch, length, 64)).mean(1)


class EverySecond(nn.Module):
    """Even and odd channels go different ways: not one period of them needs to stay whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.even, self.odd = conv(8, 12), conv(8, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.stem(x))
        return self.head(F.silu(self.even(x[:, ::2]) + self.odd(x[:, 1::2])).mean((2, 3)))


class Woven(nn.Module):
    """Two layers' units written one between the other, into an empty tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 12), nn.Linear(6, 12)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(x.shape[0], 5, 24)
        y[..., ::2] = torch.sigmoid(self.left(x))
        y[..., 1::2] = torch.sigmoid(self.right(x))
        return self.head(y).sum(1)


class Reordered(nn.Module):
    """A stored table puts the channels of two layers in another order."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(16))
        self.stem, self.bn = conv(3, 16), nn.BatchNorm2d(16)
        self.second = conv(16, 16)
        self.last, self.head = conv(16, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.bn(self.stem(x)))[:, self.order]
        y = torch.sigmoid(self.second(x)).index_select(1, self.order)
        return self.head(
            self.last(y[:, [0, 3, 2, 1, 9, 8, 5, 4, 15, 14, 13, 12, 7, 6, 10, 11]]).mean((2, 3))
        )


class Rolled(nn.Module):
    """Channels moved around the end, and turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.second = conv(3, 16), conv(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.stem(x)).roll((-1, 2), (1, 3))
        return self.head(torch.sigmoid(self.second(x.flip(1))).mean((2, 3)))


class OneGate(nn.Module):
    """One channel weighs all others: it stays, they may go."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = conv(3, 16), conv(16, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.last(x * torch.sigmoid(x[:, 9]).unsqueeze(1)).mean((2, 3)))


class Windows(nn.Module):
    """A convolution by hand: windows of every channel against one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12)
        self.weight = nn.Parameter(torch.randn(10, 12 * 9) / 10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(torch.sigmoid(self.stem(x)), 3, padding=1)
        x = F.fold(x.tanh(), (8, 8), 3, padding=1)
        x = F.unfold(F.channel_shuffle(x, 3), 3, stride=2)
        return self.head(torch.sigmoid(self.weight @ x).mean(-1))


class SummedScores(nn.Module):
    """Attention letter by letter over hidden dimensions: activations are summed over units."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 64), nn.Linear(6, 64)
        self.value, self.out = nn.Linear(6, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            torch.sigmoid(layer(x)).unflatten(-1, (8, 8)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = (torch.einsum("...id,...jd->...ij", q, k) / 8**0.5).softmax(-1)
        return self.out(torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2)).mean(1)


class SummedThrice(nn.Module):
    """One sum over three dimensions that can all be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 512), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        cubes = torch.sigmoid(self.stem(x)).unflatten(-1, (8, 8, 8))
        return self.head(cubes.sum((-3, -2, -1)))


class PlainRecurrence(nn.Module):
    """Two layers, both directions, no gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 12)
        self.rnn = nn.RNN(12, 10, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(torch.tanh(self.stem(x)))[0][:, -1])


class Repeated(nn.Module):
    """One number for each place, repeated to the width; a narrowed half; a slope per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slopes = conv(3, 24), nn.PReLU(24)
        self.last, self.head = conv(12, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slopes(self.stem(x))
        x = x * torch.sigmoid(x.exp().sum(1, keepdim=True).repeat(1, 24, 1, 1))
        left, right = x.narrow(1, 0, 12), x.narrow(1, 12, 12)
        x = F.interpolate(left * right, scale_factor=2.0, mode="bilinear")
        return self.head(F.relu(self.last(F.adaptive_max_pool2d(x, 4))).mean((2, 3)))


class Periods(nn.Module):
    """Waves whose periods are stored: a removed one is a divisor, and not masked to zero."""

    periods: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 12), nn.Linear(12, 4)
        self.register_buffer("periods", torch.linspace(1.0, 4.0, 12))
        self.register_buffer("places", torch.arange(5.0)[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x) * torch.cos(self.places / self.periods[None, :])).mean(1)


class Spread(nn.Module):
    """Divided by the standard deviation over the width: of one value there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x / (x.std(-1, keepdim=True) + 0.1)).mean(1)


class TokenMixing(nn.Module):
    """A convolution of kernel one mixes tokens; the width lies where its places are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 24), nn.Linear(24, 4)
        self.mix, self.slide = nn.Conv1d(5, 7, 1), nn.Conv1d(7, 7, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(torch.tanh(self.stem(x)))
        return self.head(x).mean(1) + self.slide(x.mean(2, keepdim=True)).mean((1, 2))[:, None]
