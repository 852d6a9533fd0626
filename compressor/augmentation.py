"""Augmentations: functions on a batch of uint8 pictures with an explicit generator.

Comes in: uint8 (n, channels, height, width).  Goes out: the same shape.  Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Augmentation = Callable[[Tensor, Generator], Tensor]


def no_augmentation(pixels: Tensor, generator: Generator) -> Tensor:
    """The pictures as they are."""
    return pixels


def shift(padding: int) -> Augmentation:
    """Move each picture by up to ``padding`` pixels; black comes in."""

    def augment(pixels: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = pixels.shape
        padded = F.pad(pixels, (padding,) * 4)
        top = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
        left = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
        rows = (top + torch.arange(height))[:, :, None]
        columns = (left + torch.arange(width))[:, None, :]
        # Advanced indexing puts the channels last; they go back to the second place.
        moved = padded[torch.arange(count)[:, None, None], :, rows, columns]
        return moved.permute(0, 3, 1, 2).contiguous()

    return augment


def crop_and_flip(padding: int) -> Augmentation:
    """Move each picture by up to ``padding`` pixels, and mirror half of them."""
    move = shift(padding)

    def augment(pixels: Tensor, generator: Generator) -> Tensor:
        moved = move(pixels, generator)
        mirror = torch.rand(pixels.shape[0], 1, 1, 1, generator=generator) < 0.5
        return torch.where(mirror, moved.flip(3), moved)

    return augment
