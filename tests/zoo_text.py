"""Networks over tokens whose length is free: masks, position tables, rotary tables."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedEncoder(nn.Module):
    """Tokens and a mask of the real ones; positions cut from a table; the mean of the real ones."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 16), nn.Embedding(20, 16)
        self.register_buffer("positions", torch.arange(20)[None])
        self.query, self.key = nn.Linear(16, 32), nn.Linear(16, 32)
        self.value, self.out = nn.Linear(16, 32), nn.Linear(32, 16)
        self.hidden, self.head = nn.Linear(16, 24), nn.Linear(24, 5)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        batch, length = tokens.shape
        x = self.words(tokens) + self.places(self.positions[:, :length])
        heads = (batch, length, 4, 8)
        q, k, v = (
            layer(x).view(heads).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :].bool())
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, 32))
        real = mask[:, :, None].to(x.dtype)
        pooled = (x * real).sum(1) / real.sum(1)
        return self.head(torch.tanh(self.hidden(pooled)))


class RotaryDecoder(nn.Module):
    """Causal attention with rotary tables made for the length at hand, without gradients."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 24)
        self.register_buffer("frequencies", 0.3 ** torch.arange(4.0))
        self.norm, self.last_norm = nn.RMSNorm(24), nn.RMSNorm(24)
        self.query, self.key = nn.Linear(24, 32, bias=False), nn.Linear(24, 32, bias=False)
        self.value, self.out = nn.Linear(24, 32, bias=False), nn.Linear(32, 24, bias=False)
        self.gate, self.up = nn.Linear(24, 40), nn.Linear(24, 40)
        self.down, self.head = nn.Linear(40, 24), nn.Linear(24, 11, bias=False)
        self.head.weight = self.words.weight

    def tables(self, length: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            angles = torch.arange(length)[:, None] * self.frequencies
            both = torch.cat((angles, angles), dim=-1)
            return both.cos(), both.sin()

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length = tokens.shape
        cos, sin = self.tables(length)

        def heads(layer: nn.Linear, turned: bool) -> Tensor:
            y = layer(normed).view(batch, length, 4, 8).transpose(1, 2)
            return y * cos + torch.cat((-y[..., 4:], y[..., :4]), dim=-1) * sin if turned else y

        x = self.words(tokens)
        normed = self.norm(x)
        q, k, v = heads(self.query, True), heads(self.key, True), heads(self.value, False)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, 32))
        normed = self.last_norm(x)
        return self.head(x + self.down(F.silu(self.gate(normed)) * self.up(normed)))
