"""What scoring and repair look at."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor.data import Images, open_data
from compressor.samples import sample_of
from compressor.types import Preprocessing

SMALL = Preprocessing(crop=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def test_a_sample_takes_the_foremost_images_first_and_mixes_them() -> None:
    pixels = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 3, 8, 8).clone()
    data = replace(
        open_data("synthetic", preprocessing=SMALL, outputs=4, seed=0),
        train=Images(pixels=pixels, labels=None),
        foremost=10,
    )
    given = torch.cat([x for x, _ in sample_of(data, 30, seed=3)])
    shade = torch.round(given[:, 0, 0, 0] * 255).long()
    assert len(shade.unique()) == 30
    assert sorted(shade[shade < 10].tolist()) == list(range(10))
    assert not bool((shade[:10] < 10).all())
