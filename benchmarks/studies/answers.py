"""Which test images networks have right, and how far apart that puts two of them.

Comes in: bools, one per test image.  Goes out: text that holds them, and paired differences.  Every
seed's two students answer the same images, so a difference is a mean over images and seeds of +1, 0
or -1; its interval resamples both, the images drawn alike for all seeds.  Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.speedups import CONFIDENCE, Interval
from benchmarks.statistics import RESAMPLES

Bools = NDArray[np.bool_]


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Which test images a network has right: one bit each, as hexadecimal text."""

    images: int
    bits: str

    @property
    def right(self) -> Bools:
        packed = np.frombuffer(bytes.fromhex(self.bits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.images).astype(np.bool_)

    @property
    def top1(self) -> float:
        return float(self.right.mean())


def answers_of(right: Bools) -> Answers:
    return Answers(images=len(right), bits=np.packbits(right).tobytes().hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """First minus second, as a share of the images."""

    value: float
    interval: Interval

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out 0; else 0."""
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)

    @property
    def points(self) -> str:
        """In points, with the interval: "+1.2, +0.3 to +2.1"."""
        low, high = self.interval
        return f"{100 * self.value:+.1f}, {100 * low:+.1f} to {100 * high:+.1f}"


def difference(first: Sequence[Bools], second: Sequence[Bools], *, seed: int = 0) -> Difference:
    """Of answers to the same images: one array of each per seed, in the same order of seeds."""
    apart = np.stack([a.astype(int) - b for a, b in zip(first, second, strict=True)])
    seeds, images = apart.shape
    # images that all seeds answer alike are drawn as one kind: the same draws, far fewer numbers
    kinds, counts = np.unique(apart, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(images, counts / images, size=RESAMPLES)
    by_seed = drawn @ kinds.T / images  # (resamples, seeds)
    chosen = generator.integers(seeds, size=(RESAMPLES, seeds))
    means = np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Difference(value=float(apart.mean()), interval=(float(low), float(high)))
