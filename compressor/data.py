"""Data: an image folder, ``digits`` or ``synthetic`` becomes images in memory, split and counted.

Comes in: a name or folder, a ``Preprocessing``, the network's number of outputs, a seed.  Goes out:
``ImageData``, and batches of it.  Knows nothing of networks, losses or schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from compressor.augmentation import Augmentation, crop_and_flip, shift
from compressor.errors import DataError
from compressor.folders import (
    Listing,
    content_hashes,
    decode,
    first_picture_size,
    list_images,
    parts_of,
)
from compressor.splitting import split_rows
from compressor.synthetic import DIGITS_SIZE, paint, read_digits
from compressor.types import Preprocessing

FEWEST_IMAGES = 3  # one each to train, to choose and to test
SYNTHETIC_TRAIN = 512
SYNTHETIC_VALIDATION = 128
DIGITS_SPLIT_SEED = 0  # the split never changes: a teacher trained on it must not see its test set
DIGITS_CLASSES = tuple(str(digit) for digit in range(10))
ONLY_AGREEMENT = "accuracy is unknown: {why}; only agreement with the teacher is reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Decoded, resized and cropped once.  ``labels`` None: not known, or not to be used."""

    pixels: Tensor  # uint8 (n, channels, height, width)
    labels: Tensor | None  # int64 (n,)
    notes: tuple[str, ...] = ()  # on what is unusual about some of the pictures

    def __len__(self) -> int:
        return self.pixels.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageData:
    """Three sets of images.  ``validation`` chooses checkpoints, ``test`` is measured once.

    ``seen_test_share``: share of the test images that are also in train or validation.
    ``mirrored_is_same``: whether a mirrored picture shows the same thing.  ``foremost``: leading
    training images that a small sample takes first, where not all are worth the same.
    """

    name: str
    train: Images
    validation: Images
    test: Images | None
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    train_with_labels: bool
    seen_test_share: float
    notes: tuple[str, ...]
    mirrored_is_same: bool = True
    foremost: int = 0


def own_size(spec: str) -> tuple[int, int] | None:
    """(height, width) of data that has one size whatever the network publishes: digits."""
    return DIGITS_SIZE if spec == "digits" else None


def first_size(spec: str) -> tuple[int, int] | None:
    """(height, width) of the data's first picture; None where pictures are made to size."""
    if spec == "synthetic":
        return None
    return own_size(spec) or first_picture_size(Path(spec))


def class_names(spec: str) -> tuple[str, ...]:
    """What a network could learn to tell apart there.

    Raises DataError where the training images have no labels, or fewer than two classes.
    """
    if spec == "digits":
        return DIGITS_CLASSES
    if spec == "synthetic":
        raise DataError("synthetic: made-up pictures have no labels; give a folder, or digits")
    folder = Path(spec)
    classes = list_images(parts_of(folder).get("train", folder)).classes
    if len(classes) < 2:
        raise DataError(
            f"{spec}: {'one class folder' if classes else 'no class folders'}; training from "
            "labels needs a folder of pictures for each of at least 2 classes"
        )
    return classes


def open_data(
    spec: str,
    *,
    test: str | None = None,
    preprocessing: Preprocessing,
    outputs: int | None,
    seed: int,
) -> ImageData:
    """Open ``digits``, ``synthetic`` or an image folder; ``test`` is a folder of its own.

    ``outputs`` is the network's number of classes; None where labels do not matter.  ``seed``
    decides splits and synthetic pictures.  Raises DataError in one line for what cannot be used.
    """
    if spec in ("digits", "synthetic"):
        opened = _digits(preprocessing) if spec == "digits" else _synthetic(preprocessing, seed)
        if test is not None:
            opened = _with_test(opened, Path(test))
    else:
        opened = _folder(Path(spec), Path(test) if test else None, preprocessing, seed)
    _check_classes(spec, opened, outputs)
    return _count_seen(opened)


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 (n, channels, height, width) to the float32 that the network takes."""
    shape = (1, -1, 1, 1)
    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(shape)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(shape)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)


def batches(
    images: Images,
    preprocessing: Preprocessing,
    size: int,
    *,
    generator: Generator | None = None,
    augment: Augmentation | None = None,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """One pass: normalised float32 inputs with labels (None where there are none).

    In order and whole without a generator; with one, shuffled (and augmented), and the last partial
    batch is left out unless it is the only one, as a batch norm of one image learns nothing.
    """
    for rows in rows_of_pass(len(images), size, generator):
        labels = images.labels[rows] if images.labels is not None else None
        yield inputs_of(images, rows, preprocessing, generator=generator, augment=augment), labels


def rows_of_pass(count: int, size: int, generator: Generator | None) -> tuple[Tensor, ...]:
    """Which of ``count`` images make up each batch of one pass; ``batches`` says how."""
    if generator is None:
        return torch.arange(count).split(size)
    shuffled = torch.randperm(count, generator=generator)
    return shuffled[: max(count // size * size, min(size, count))].split(size)


def inputs_of(
    images: Images,
    rows: Tensor,
    preprocessing: Preprocessing,
    *,
    generator: Generator | None = None,
    augment: Augmentation | None = None,
) -> Tensor:
    """Some of the images as a network takes them, augmented where there is a generator."""
    pixels = images.pixels[rows]
    if generator is not None and augment is not None:
        pixels = augment(pixels, generator)
    return normalise(pixels, preprocessing)


def augmentation_for(data: ImageData) -> Augmentation:
    """Shifts by an eighth of the side and mirroring; small shifts only where mirroring lies."""
    side = min(data.train.pixels.shape[2:])
    if data.mirrored_is_same:
        return crop_and_flip(max(side // 8, 1))
    return shift(max(side // 16, 1))


def _images(listing: Listing, preprocessing: Preprocessing) -> Images:
    labels = torch.tensor(listing.labels) if listing.labels is not None else None
    decoded = decode(listing.files, preprocessing)
    return Images(pixels=decoded.pixels, labels=labels, notes=decoded.notes)


def _take(images: Images, rows: Tensor) -> Images:
    labels = images.labels[rows] if images.labels is not None else None
    return Images(pixels=images.pixels[rows], labels=labels)


def _digits(preprocessing: Preprocessing) -> ImageData:
    pixels, labels = read_digits(preprocessing.crop, len(preprocessing.mean))
    everything = Images(pixels=pixels, labels=labels)
    train, validation, test = (
        _take(everything, rows)
        for rows in split_rows(labels, len(labels), (0.6, 0.1, 0.3), DIGITS_SPLIT_SEED)
    )
    return ImageData(
        name="digits",
        train=train,
        validation=validation,
        test=test,
        classes=DIGITS_CLASSES,
        preprocessing=preprocessing,
        train_with_labels=True,
        seen_test_share=0.0,
        notes=(
            f"scikit-learn's digits, always divided alike: {len(train)} train, {len(validation)} "
            f"validation, {len(test)} test",
        ),
        mirrored_is_same=False,
    )


def _synthetic(preprocessing: Preprocessing, seed: int) -> ImageData:
    count = SYNTHETIC_TRAIN + SYNTHETIC_VALIDATION
    pixels = paint(count, preprocessing.crop, len(preprocessing.mean), seed)
    return ImageData(
        name="synthetic",
        train=Images(pixels=pixels[:SYNTHETIC_TRAIN], labels=None),
        validation=Images(pixels=pixels[SYNTHETIC_TRAIN:], labels=None),
        test=None,
        classes=(),
        preprocessing=preprocessing,
        train_with_labels=False,
        seen_test_share=0.0,
        notes=(ONLY_AGREEMENT.format(why="no data was given"),),
    )


def _with_test(data: ImageData, folder: Path) -> ImageData:
    if data.test is not None:
        raise DataError(f"--test {folder}: {data.name} has its own test images; leave --test out")
    listing = _test_listing(folder)
    test = _images(listing, data.preprocessing)
    notes = data.notes if test.labels is None else ("trained on synthetic images only",)
    return replace(data, test=test, classes=listing.classes, notes=(*notes, *test.notes))


def _test_listing(folder: Path) -> Listing:
    return list_images(parts_of(folder).get("test", folder))


def _folder(folder: Path, test: Path | None, preprocessing: Preprocessing, seed: int) -> ImageData:
    parts = parts_of(folder)
    pool = list_images(parts.get("train", folder))
    if len(pool.files) < FEWEST_IMAGES:
        raise DataError(
            f"{pool.folder}: {len(pool.files)} pictures; at least {FEWEST_IMAGES} are needed"
        )
    val = list_images(parts["val"]) if "val" in parts else None
    tested = _test_listing(test) if test else None
    if tested is None and "test" in parts:
        tested = list_images(parts["test"])
    labels_help, notes = _labels_help(pool)
    if labels_help:
        for other in (val, tested):
            _check_same_classes(pool, other)
    else:
        notes = (*notes, *_unseen_classes(pool, val, tested))
        pool, val, tested = _numbered_alike(pool, val, tested)
    images = _images(pool, preprocessing)
    train, validation, kept_test, more = _divide(
        pool, images, val, tested, preprocessing, labels_help, seed
    )
    classes = pool.classes or (tested.classes if tested else ())
    if kept_test is None or kept_test.labels is None:
        more = (*more, ONLY_AGREEMENT.format(why="there are no labelled test images"))
    sets = (images, validation, kept_test)
    odd = dict.fromkeys(note for one in sets if one is not None for note in one.notes)
    return ImageData(
        name=folder.name or str(folder),
        train=train,
        validation=validation,
        test=kept_test,
        classes=classes,
        preprocessing=preprocessing,
        train_with_labels=labels_help,
        seen_test_share=0.0,
        notes=(*notes, *more, *odd),
    )


def _divide(
    pool: Listing,
    images: Images,
    val: Listing | None,
    tested: Listing | None,
    preprocessing: Preprocessing,
    stratified: bool,
    seed: int,
) -> tuple[Images, Images, Images | None, tuple[str, ...]]:
    """Train, validation, test, and lines that state how they were divided."""
    by = images.labels if stratified else None
    count = len(images)
    how = f"{'stratified ' if stratified else ''}split with seed {seed}"
    if tested is not None and tested.files == pool.files:
        _, rows = split_rows(by, count, (0.9, 0.1), seed)
        note = f"--test is the training folder: all {count} images train and test, and {len(rows)}"
        return images, _take(images, rows), images, (f"{note} of them choose the checkpoint",)
    if val is not None and tested is not None:
        validation = _images(val, preprocessing)
        sizes = _sizes(count, len(validation), len(tested.files))
        return images, validation, _images(tested, preprocessing), (f"as given: {sizes}",)
    if val is not None:
        # The usual train/ and val/ of ImageNet: val/ is what people quote; nothing is chosen on it.
        tested = val
    if tested is not None or images.labels is None:
        train, validation = (_take(images, r) for r in split_rows(by, count, (0.9, 0.1), seed))
        test = _images(tested, preprocessing) if tested is not None else None
        source = " (its val folder)" if val is not None else ""
        sizes = _sizes(len(train), len(validation), len(test) if test else 0)
        return train, validation, test, (f"{how}: {sizes}{source}",)
    train, validation, test = (
        _take(images, r) for r in split_rows(by, count, (0.8, 0.1, 0.1), seed)
    )
    sizes = _sizes(len(train), len(validation), len(test))
    return train, validation, test, (f"{how}: {sizes}",)


def _sizes(train: int, validation: int, test: int) -> str:
    return f"{train} train, {validation} validation, {test} test images"


def _labels_help(pool: Listing) -> tuple[bool, tuple[str, ...]]:
    """Whether training can learn from the labels, and the line that says so if not."""
    if pool.labels is None:
        return False, ("the training images have no class folders: they are used unlabelled",)
    counts = torch.bincount(torch.tensor(pool.labels), minlength=len(pool.classes))
    few = int(counts.argmin())
    if counts[few] >= 2:
        return True, ()
    return False, (
        f"class {pool.classes[few]!r} has {int(counts[few])} training images, too few to learn "
        "from: training uses the images unlabelled",
    )


def _unseen_classes(pool: Listing, val: Listing | None, tested: Listing | None) -> tuple[str, ...]:
    """A line about classes that only images not trained on have: they do no harm unlabelled."""
    others = {name for one in (val, tested) if one is not None for name in one.classes}
    unseen = sorted(others - set(pool.classes))
    if not pool.classes or not unseen:
        return ()
    return (f"warning: classes only in the test images: {', '.join(unseen[:10])}",)


def _numbered_alike(
    pool: Listing, val: Listing | None, tested: Listing | None
) -> tuple[Listing, Listing | None, Listing | None]:
    """The listings with one numbering of all classes that any of them has."""
    listings = (pool, val, tested)
    names = sorted({name for one in listings if one is not None for name in one.classes})
    numbers = {name: number for number, name in enumerate(names)}

    def renumbered(listing: Listing) -> Listing:
        if listing.labels is None:
            return listing
        labels = tuple(numbers[listing.classes[label]] for label in listing.labels)
        return replace(listing, labels=labels, classes=tuple(names))

    first, second, third = (one and renumbered(one) for one in listings)
    assert first is not None
    return first, second, third


def _check_same_classes(pool: Listing, other: Listing | None) -> None:
    if other is None or not (pool.classes and other.classes) or pool.classes == other.classes:
        return
    differ = sorted(set(pool.classes) ^ set(other.classes))
    raise DataError(
        f"{other.folder}: its class folders differ from those of {pool.folder}: "
        f"{', '.join(differ[:10])}; both need the same"
    )


def _check_classes(spec: str, data: ImageData, outputs: int | None) -> None:
    if outputs is not None and data.classes and len(data.classes) != outputs:
        raise DataError(
            f"{spec}: has {len(data.classes)} classes, the network has {outputs} outputs; give "
            "data of its classes, or one flat folder to use pictures unlabelled"
        )


def _count_seen(data: ImageData) -> ImageData:
    """Say how many of the test images training or checkpoint choice has seen."""
    if data.test is None:
        return data
    if data.test is data.train:
        share = 1.0
    else:
        seen = {*content_hashes(data.train.pixels), *content_hashes(data.validation.pixels)}
        share = sum(h in seen for h in content_hashes(data.test.pixels)) / len(data.test)
    if share == 0:
        return data
    note = f"the student has seen {100 * share:.4g} % of the test images, in training or selection"
    return replace(data, seen_test_share=share, notes=(*data.notes, note))
