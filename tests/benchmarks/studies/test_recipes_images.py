"""Held-out images are the last of every class, and nothing is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.studies.recipes.images import hold_out, open_images
from compressor.data import Images
from compressor.errors import DataError
from compressor.types import Preprocessing

CLASSES, COUNT = 3, 20
PLAIN = Preprocessing(crop=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One colour each: green is its number within the class, red the class; test/ is not used."""
    for part in ("train", "test"):
        for number in range(CLASSES):
            folder = tmp_path / "pictures" / part / f"class{number}"
            folder.mkdir(parents=True)
            for place in range(COUNT):
                pixels = np.zeros((4, 4, 3), dtype=np.uint8)
                pixels[..., 0], pixels[..., 1] = number, place
                pixels[..., 2] = part == "test"
                Image.fromarray(pixels).save(folder / f"{place:03}.png")
    return tmp_path / "pictures"


def colours(images: Images) -> set[tuple[int, ...]]:
    return {tuple(pixels[:, 0, 0].tolist()) for pixels in images.pixels}


def test_the_last_of_every_class_are_held_out() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    held, rest = hold_out(labels, 4)
    assert held.tolist() == [1, 2, 5, 8]
    assert rest.tolist() == [0, 3, 4, 6, 7]
    with pytest.raises(DataError, match="leave none of class 0"):
        hold_out(labels, 9)


@pytest.mark.parametrize("wanted", [30, None])
def test_held_out_images_are_never_trained_or_chosen_on(pictures: Path, wanted: int | None) -> None:
    found = open_images(pictures, PLAIN, train_images=wanted, test_images=15)
    assert found.test is not None
    last = {(number, place, 0) for number in range(CLASSES) for place in range(15, COUNT)}
    assert colours(found.test) == last
    train, validation = colours(found.train), colours(found.validation)
    assert len(train) + len(validation) == (wanted or 45)
    assert not train & validation
    assert not (train | validation) & last
    assert found.train.labels is not None
    counts = torch.bincount(found.train.labels)
    assert counts.max() - counts.min() <= 1
    again = open_images(pictures, PLAIN, train_images=wanted, test_images=15)
    assert torch.equal(again.train.pixels, found.train.pixels)


def test_more_images_than_there_are_is_refused(pictures: Path) -> None:
    with pytest.raises(DataError, match="give 20 to 45"):
        open_images(pictures, PLAIN, train_images=46, test_images=15)
