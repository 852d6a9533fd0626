"""Which preprocessing a teacher gets: what its architecture publishes, changed by what is asked.

Comes in: a published ``Preprocessing`` or none, and the user's size, mean and deviation.  Goes out:
one ``Preprocessing`` that says where its numbers come from.  Knows nothing of files or torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from compressor.errors import OptionError
from compressor.types import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NOTHING_PUBLISHED = "ImageNet default (the architecture publishes none)"

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "hamming", "box")
LARGEST_SIDE = 8192  # pixels of an input: two pictures of that size are 1.6 GB

Size = tuple[int, int]


def choose(
    published: Preprocessing | None,
    *,
    channels: int,
    image_size: Size | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    data_size: Size | None = None,
) -> Preprocessing:
    """Size: asked for, else published, else the data's.  Mean and std: asked for, else published,
    else ImageNet's.

    ``mean`` and ``std`` are in [0, 1] pixel units, one number or one per channel.  A size other
    than the published one takes the data's pictures whole where they have it, else the published
    share of them.  Raises OptionError where no size is known or the numbers do not fit the
    network's channels.
    """
    size = image_size or (published.crop if published else data_size)
    if size is None:
        raise OptionError(
            "the size of the network's input is unknown: the architecture publishes none; "
            "give --image-size, or where it takes no pictures a .pt2 program"
        )
    if not all(1 <= side <= LARGEST_SIDE for side in size):
        raise OptionError(
            f"--image-size {size[0]}x{size[1]}: must be positive, and at most {LARGEST_SIDE}"
        )
    base = _resized(published, size, data_size) if published else _imagenet(size)
    if len(base.mean) != channels:
        base = _spread_over(base, channels)
    if mean is None and std is None:
        return base
    own_mean = base.mean if mean is None else _per_channel("--mean", mean, channels)
    own_std = base.std if std is None else _per_channel("--std", std, channels)
    if min(own_std) <= 0:
        raise OptionError(f"--std {_numbers(own_std)}: must be positive")
    if mean is not None and std is not None:
        origin = "mean and std given"
    else:
        origin = f"{'std' if mean is None else 'mean'} given, else {base.origin}"
    return replace(base, mean=own_mean, std=own_std, origin=origin)


def require_sound(preprocessing: Preprocessing) -> None:
    """For numbers that come from a file.  Raises ValueError with what is wrong."""
    crop, resize = preprocessing.crop, preprocessing.resize
    mean, std = preprocessing.mean, preprocessing.std
    if not all(1 <= side <= LARGEST_SIDE for side in crop):
        raise ValueError(f"a crop of {crop[0]}x{crop[1]} pixels")
    if resize is not None and not 1 <= resize <= LARGEST_SIDE:
        raise ValueError(f"a resize to {resize} pixels")
    if not mean or len(mean) != len(std):
        raise ValueError(f"{len(mean)} means and {len(std)} deviations")
    if not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
        raise ValueError("a mean that is no number, or a deviation that is not positive")
    if preprocessing.interpolation not in INTERPOLATIONS:
        raise ValueError(f"the interpolation {preprocessing.interpolation[:40]!r}")


def check_size(image_size: int | Size | None) -> Size | None:
    """A side or (height, width) as (height, width)."""
    if image_size is None or isinstance(image_size, tuple):
        return image_size
    return (image_size, image_size)


def _imagenet(size: Size) -> Preprocessing:
    return Preprocessing(crop=size, mean=IMAGENET_MEAN, std=IMAGENET_STD, origin=NOTHING_PUBLISHED)


def _resized(published: Preprocessing, size: Size, data_size: Size | None) -> Preprocessing:
    if size == published.crop:
        return published
    if size == data_size:
        origin = f"{published.origin}, pictures whole at {size[0]}x{size[1]}"
        return replace(published, crop=size, resize=None, origin=origin)
    resize = published.resize
    if resize is not None:
        resize = round(resize * min(size) / min(published.crop))
    origin = f"{published.origin}, at {size[0]}x{size[1]} as asked"
    return replace(published, crop=size, resize=resize, origin=origin)


def _spread_over(base: Preprocessing, channels: int) -> Preprocessing:
    mean = sum(base.mean) / len(base.mean)
    std = sum(base.std) / len(base.std)
    origin = f"{base.origin}, averaged over channels"
    return replace(base, mean=(mean,) * channels, std=(std,) * channels, origin=origin)


def _per_channel(option: str, numbers: Sequence[float], channels: int) -> tuple[float, ...]:
    values = tuple(float(number) for number in numbers)
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise OptionError(
            f"{option} {_numbers(values)}: {len(values)} numbers for a network of {channels} input "
            "channels; give one, or one per channel"
        )
    if not all(math.isfinite(value) and abs(value) <= 1 for value in values):
        raise OptionError(f"{option} {_numbers(values)}: pixels are in [0, 1] here; divide by 255")
    return values


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
