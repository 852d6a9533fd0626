"""The images of a study: all from the training part of a folder, some of them held out.

Comes in: an image folder, numbers.  Goes out: ``ImageData`` whose test images no network of the
study, teachers among them, is trained or chosen on.  Knows nothing of networks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from compressor.data import ImageData, Images
from compressor.errors import DataError
from compressor.folders import decode, list_images, parts_of
from compressor.splitting import split_rows
from compressor.types import Preprocessing

DATA_SEED = 0  # of the images that are taken and of the split: the same for every cell
FOR_VALIDATION = 0.1


def open_images(
    folder: Path, preprocessing: Preprocessing, *, train_images: int | None, test_images: int
) -> ImageData:
    """Held out are the last images of every class, in the order of their names, as many of each
    class as of the others.  Of the rest ``train_images`` (None: all) are drawn alike from every
    class; a tenth of them chooses weights.

    Raises DataError where there are no classes, or fewer images than asked for.
    """
    listing = list_images(parts_of(folder).get("train", folder))
    if listing.labels is None:
        raise DataError(f"{folder}: the study needs a folder of pictures for each class")
    labels = torch.tensor(listing.labels)
    held, rest = hold_out(labels, test_images)
    wanted = len(rest) if train_images is None else train_images
    if not 20 <= wanted <= len(rest):
        raise DataError(
            f"{folder}: {wanted} training images were asked for; give 20 to {len(rest)}, which are "
            f"left beside {len(held)} held-out ones"
        )
    if wanted < len(rest):
        part = wanted / len(rest)
        _, drawn = split_rows(labels[rest], len(rest), (1 - part, part), DATA_SEED)
        rest = rest[drawn]
    train, validation = split_rows(
        labels[rest], len(rest), (1 - FOR_VALIDATION, FOR_VALIDATION), DATA_SEED
    )

    def images(rows: Tensor) -> Images:
        files = [listing.files[row] for row in rows.tolist()]
        return Images(pixels=decode(files, preprocessing).pixels, labels=labels[rows])

    return ImageData(
        name=folder.name,
        train=images(rest[train]),
        validation=images(rest[validation]),
        test=images(held),
        classes=listing.classes,
        preprocessing=preprocessing,
        train_with_labels=True,
        seen_test_share=0.0,
        notes=(),
    )


def hold_out(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows that are held out, the last of every class, and the others; both in order.

    Where ``count`` is no multiple of the classes, the first ones give one more.
    """
    classes = int(labels.max()) + 1
    held = torch.zeros(len(labels), dtype=torch.bool)
    for number in range(classes):
        own = torch.nonzero(labels == number).flatten()
        wanted = count // classes + (number < count % classes)
        if wanted >= len(own):
            raise DataError(f"{count} test images leave none of class {number} to train on")
        held[own[len(own) - wanted :]] = True
    return torch.nonzero(held).flatten(), torch.nonzero(~held).flatten()
