"""Networks over sequences of vectors or of whole numbers, one structure each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Tied(nn.Module):
    """The classifier's weight is the embedding's; numbers come in."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.hidden = nn.Linear(16, 16)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(self.embedding(tokens))))


class Embedding(nn.Module):
    """Word and place tables added, read by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 16), nn.Embedding(6, 16)
        self.hidden, self.head = nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(torch.arange(6))
        return self.head(F.gelu(self.hidden(x)).sum(1))


class Attention(nn.Module):
    """torch's own multi-head attention: packed projection, eight heads of eight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(5, 64)
        self.attention = nn.MultiheadAttention(64, 8, batch_first=True)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x[:, 0])


class HeadsByView(nn.Module):
    """Separate projections, heads by view, fused attention with its hidden scale."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 64), nn.Linear(6, 64)
        self.value, self.out = nn.Linear(6, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            layer(x).view(batch, length, 8, 8).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out(x.transpose(1, 2).reshape(batch, length, 64)).mean(1)


class ExplicitAttention(nn.Module):
    """matmul, softmax, matmul over a packed projection."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 192), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, 8, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * 8**-0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, 64)).mean(1)


class GroupedQueries(nn.Module):
    """Two query heads for each of the eight key heads, which are repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 128), nn.Linear(6, 64)
        self.value, self.out = nn.Linear(6, 64), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, 16, 8).transpose(1, 2)
        k, v = (
            layer(x)
            .view(batch, length, 8, 1, 8)
            .expand(batch, length, 8, 2, 8)
            .reshape(batch, length, 16, 8)
            .transpose(1, 2)
            for layer in (self.key, self.value)
        )
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out(x.transpose(1, 2).reshape(batch, length, 128)).mean(1)


class GatedMlp(nn.Module):
    """Two projections multiplied, as in Llama's feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 16)
        self.gate, self.up = nn.Linear(16, 32), nn.Linear(16, 32)
        self.down, self.head = nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.down(F.silu(self.gate(x)) * self.up(x))).sum(1)


class LayerNormStream(nn.Module):
    """A residual stream that is normalised over its width: its units are not exact."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm1 = nn.Linear(6, 24), nn.LayerNorm(24)
        self.up, self.down = nn.Linear(24, 40), nn.Linear(40, 24)
        self.gain = nn.Parameter(torch.zeros(24))  # a layer scale that starts at nothing
        self.norm2, self.head = nn.LayerNorm(24), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.gain * self.down(F.gelu(self.up(self.norm1(x))))
        return self.head(self.norm2(x).mean(1))


class NativeGroupedQueries(nn.Module):
    """Eight query heads on four key heads, repeated inside the operator."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 64), nn.Linear(6, 32)
        self.value, self.out = nn.Linear(6, 32), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, 8, 8).transpose(1, 2)
        k = self.key(x).view(batch, length, 4, 8).transpose(1, 2)
        v = self.value(x).view(batch, length, 4, 8).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, 64)).sum(1)


class RepeatedKeys(nn.Module):
    """Eight query heads on four key heads, repeated by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 64), nn.Linear(6, 32)
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, 8, 8).transpose(1, 2)
        k = self.key(x).view(batch, length, 4, 8).transpose(1, 2).repeat_interleave(2, dim=1)
        y = F.scaled_dot_product_attention(q, k, k)
        return self.out(y.transpose(1, 2).reshape(batch, length, 64)).sum(1)


class Einsum(nn.Module):
    """A linear layer and one over positions, written letter by letter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 24) / 3)
        self.hidden, self.head = nn.Linear(24, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(torch.einsum("bti,io->bto", x, self.weight))
        return self.head(torch.tanh(self.hidden(x)).sum(1))


class Lstm(nn.Module):
    """Two layers, both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(torch.tanh(self.stem(x)))[0][:, -1])


class Gru(nn.Module):
    """One layer, one direction."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 12)
        self.gru = nn.GRU(12, 10, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(torch.tanh(self.stem(x)))[0][:, -1])
