"""Pictures that need no download: scikit-learn's digits, and procedural ones from a seed.

Comes in: counts, sizes, a seed.  Goes out: uint8 tensors (n, channels, height, width).  Knows
nothing of networks or training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

BATCH = 8
DIGITS_SIZE = (32, 32)
DIGITS_GREY_LEVELS = 16


def read_digits(size: tuple[int, int], channels: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits, enlarged: pixels, and labels int64 (n,)."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    grey = torch.from_numpy(bundle.images).float()[:, None] * (255 / DIGITS_GREY_LEVELS)
    large = F.interpolate(grey, size=size, mode="bilinear", align_corners=False)
    pixels = large.round().clamp_(0, 255).to(torch.uint8)
    return pixels.repeat(1, channels, 1, 1), torch.from_numpy(bundle.target).long()


def paint(count: int, size: tuple[int, int], channels: int, seed: int) -> Tensor:
    """Procedural pictures: coloured noise with most of its power at large scales, gradients, and
    textured discs and boxes with hard edges.

    The mix keeps a network's statistics closer to those of photographs than white noise would.
    """
    generator = Generator().manual_seed(seed)
    parts = [
        _paint_batch(min(BATCH, count - start), size, channels, generator)
        for start in range(0, count, BATCH)
    ]
    return torch.cat(parts)


def _paint_batch(count: int, size: tuple[int, int], channels: int, generator: Generator) -> Tensor:
    canvas = _noise(count, size, channels, generator)
    canvas += _gradient(count, size, channels, generator)
    for _ in range(4):
        inside = _shape(count, size, generator)
        filling = _uniform((count, channels, 1, 1), -2.0, 2.0, generator)
        filling = filling + _texture(count, size, generator)
        canvas = torch.where(inside, filling, canvas)
    spread, centre = torch.std_mean(canvas, dim=(1, 2, 3), keepdim=True)
    contrast = _uniform((count, 1, 1, 1), 35.0, 75.0, generator)
    brightness = _uniform((count, 1, 1, 1), 90.0, 150.0, generator)
    canvas = canvas.sub_(centre).mul_(contrast / (spread + 1e-6)).add_(brightness)
    return canvas.round_().clamp_(0, 255).to(torch.uint8)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _noise(count: int, size: tuple[int, int], channels: int, generator: Generator) -> Tensor:
    """Noise of every octave, each with an amplitude like its wavelength; colours go together.

    Each octave is added to the enlarged sum of the coarser ones, so that only the last one costs
    full size.
    """
    roughness = _uniform((count, 1, 1, 1), 0.4, 0.9, generator)
    grid, octave = (1, 1), 0
    total = torch.zeros(count, channels, 1, 1)
    while grid != size:
        grid = (min(grid[0] * 2, size[0]), min(grid[1] * 2, size[1]))
        total = F.interpolate(total, size=grid, mode="bilinear", align_corners=False)
        total += roughness**octave * torch.randn(count, channels, *grid, generator=generator)
        octave += 1
    mix = torch.eye(channels) * 0.5 + 0.5
    return (mix @ total.flatten(2)).view(total.shape)


def _coordinates(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    rows = torch.linspace(-1, 1, size[0]).view(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, size[1]).view(1, 1, 1, -1)
    return rows, columns


def _gradient(count: int, size: tuple[int, int], channels: int, generator: Generator) -> Tensor:
    rows, columns = _coordinates(size)
    shape = (count, channels, 1, 1)
    down = _uniform(shape, -1.0, 1.0, generator)
    across = _uniform(shape, -1.0, 1.0, generator)
    return rows * down + columns * across


def _shape(count: int, size: tuple[int, int], generator: Generator) -> Tensor:
    """Where a disc or a box lies: bool (count, 1, height, width)."""
    rows, columns = _coordinates(size)
    one = (count, 1, 1, 1)
    y = (rows - _uniform(one, -0.9, 0.9, generator)) / _uniform(one, 0.1, 0.6, generator)
    x = (columns - _uniform(one, -0.9, 0.9, generator)) / _uniform(one, 0.1, 0.6, generator)
    disc = x * x + y * y < 1
    box = (x.abs() < 1) & (y.abs() < 1)
    return torch.where(torch.rand(one, generator=generator) < 0.5, disc, box)


def _texture(count: int, size: tuple[int, int], generator: Generator) -> Tensor:
    """Stripes of a random direction and width."""
    rows, columns = _coordinates(size)
    one = (count, 1, 1, 1)
    waves = _uniform(one, 2.0, 40.0, generator)
    angle = _uniform(one, 0.0, 6.283, generator)
    strength = _uniform(one, 0.0, 0.7, generator)
    return strength * torch.sin(waves * (rows * angle.sin() + columns * angle.cos()))
