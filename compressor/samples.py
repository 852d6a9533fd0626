"""Which images are looked at: a sample to score and repair on, a set to measure on.

Comes in: ``ImageData``.  Goes out: batches of it, or one of its sets.  Knows nothing of networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch

from compressor.data import ImageData, Images, batches
from compressor.scoring import Batch

LARGE_IMAGE = 96  # pixels of a side from which on fewer images are used where few are enough


def evaluation_images(data: ImageData) -> Images:
    """The test images; without any, the validation images, of which only agreement is told."""
    return data.test if data.test is not None else data.validation


def digest(images: Images) -> str:
    """Hexadecimal sha256 of pixels and labels: equal for the same images in the same order."""
    found = hashlib.sha256(str(tuple(images.pixels.shape)).encode())
    for one in images.pixels:  # one at a time: no second copy of them all
        found.update(one.numpy().tobytes())
    if images.labels is not None:
        found.update(images.labels.numpy().tobytes())
    return found.hexdigest()


def is_labelled(data: ImageData) -> bool:
    """Whether training may use labels."""
    return data.train_with_labels and data.train.labels is not None


def sample_of(data: ImageData, count: int, seed: int) -> list[Batch]:
    """Training images without augmentation, the same for scoring and for repair.

    Drawn, not the first: folders list their classes one after the other; the foremost before the
    others.  Without labels where training may not use them.  (ResNet-56, half of the MACs gone,
    training images: repaired on 48 synthesised pictures and 80 procedural ones 78.7 %, on the 48
    alone 75.4 %, among 976 procedural ones 77.6 %, on 128 procedural ones 71.7 %.)
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(data.train), generator=generator)
    first = drawn < data.foremost
    taken = torch.cat([drawn[first], drawn[~first]])[:count]
    order = taken[torch.randperm(len(taken), generator=generator)] if data.foremost else taken
    known = data.train.labels if is_labelled(data) else None
    images = Images(
        pixels=data.train.pixels[order], labels=known[order] if known is not None else None
    )
    size = 16 if max(data.preprocessing.crop) >= LARGE_IMAGE else 64
    return list(batches(images, data.preprocessing, size))


def usual_sample(data: ImageData) -> int:
    """How many images scoring and repair look at where nobody says it."""
    return 128 if max(data.preprocessing.crop) >= LARGE_IMAGE else 1024


def placed_batches(batches: Iterable[Batch], device: str) -> list[Batch]:
    """Inputs and labels on a device."""
    return [(x.to(device), None if y is None else y.to(device)) for x, y in batches]
