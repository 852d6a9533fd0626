"""Networks that pack several projections into one and take them apart again, one way each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(batch, heads, length, width) each; gives (batch, length, heads x width)."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class PackedHeads(nn.Module):
    """(parts, heads, width) of a linear layer, permuted, then picked by position."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 192), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, 8, 8).permute(2, 0, 3, 1, 4).contiguous()
        return self.out(attend(qkv[0], qkv[1], qkv[2])).mean(1)


class PackedInHeads(nn.Module):
    """(heads, parts, width): the parts stand inside the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 192), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 8, 3, 8).transpose(1, 2).unbind(3)
        return self.out(attend(q, k, v)).mean(1)


class PackedPair(nn.Module):
    """Keys and values packed, unflattened, split along the parts and squeezed; queries apart."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.pair = nn.Linear(6, 64), nn.Linear(6, 128)
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).unflatten(-1, (8, 8)).transpose(1, 2)
        pair = self.pair(x).unflatten(-1, (2, 8, 8)).unsqueeze(0).transpose(0, -3).squeeze(-3)
        k, v = (part.squeeze(0).transpose(1, 2) for part in pair.chunk(2))
        return self.out(attend(q, k, v)).mean(1)


class PackedMaps(nn.Module):
    """Channels of a convolution as (parts, heads, width) over a picture; linear attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Conv2d(3, 192, 3, 2, 1), nn.Conv2d(64, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.sigmoid(self.qkv(x) / 2)
        batch, _, height, width = maps.shape
        maps = maps.reshape(batch, 3, 8, 8, height * width)
        q, k, v = maps[:, 0], maps[:, 1], maps[:, 2:].squeeze(1)
        y = (v @ k.transpose(-2, -1) / (height * width)) @ q
        return self.head(self.out(y.reshape(batch, 64, height, width)).sum((2, 3)))
