"""What stands between two convolutions: space, windows, regions, samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from tests.attacks.values import counted
from tests.rules.cases import Middle

aten = torch.ops.aten


def rows_as_channels(x: Tensor) -> Tensor:
    """A grouped convolution whose channels are no units."""
    return F.conv2d(x.transpose(1, 2), torch.ones(6, 3, 1, 1), groups=2).transpose(1, 2)


def regions(x: Tensor) -> Tensor:
    boxes = torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0], [1.0, 1.0, 1.0, 5.0, 4.0]])
    return roi_align(x, boxes, 2, aligned=True)


def regions_of_units(x: Tensor) -> Tensor:
    """The regions come from the network."""
    corners = 3 + x[0, :, 0, :2].abs()
    boxes = torch.cat([corners.new_zeros(16, 3), corners], 1)
    return roi_align(x, boxes, 2, aligned=True)


def unpooled_elsewhere(x: Tensor) -> Tensor:
    """The places are those of other units."""
    y, _ = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(y, F.max_pool2d(x.flip(1), 2, return_indices=True)[1], 2)


def unpooled_in_space(x: Tensor) -> Tensor:
    y = x.unflatten(2, (2, 3))
    z, _ = F.max_pool3d(y, (2, 1, 2), return_indices=True)
    places = F.max_pool3d(y.flip(1), (2, 1, 2), return_indices=True)[1]
    return F.max_unpool3d(z, places, (2, 1, 2)).flatten(2, 3)


def units_sampled(x: Tensor) -> Tensor:
    """Every unit is a picture of its own, read at places of its own."""
    places = counted(16, 5, 5, 2)
    return F.grid_sample(x.transpose(0, 1), places, align_corners=False).transpose(0, 1)


def sampled_by_themselves(x: Tensor) -> Tensor:
    """Every unit is a picture of its own, read at places that it gives."""
    places = x[0, :, :5, :5, None].expand(-1, -1, -1, 2)
    return F.grid_sample(x.transpose(0, 1), places, align_corners=False).transpose(0, 1)


def sampled_at_units(x: Tensor) -> Tensor:
    return F.grid_sample(x, x[:, :, :5, :2], align_corners=False)


def space_sampled(x: Tensor) -> Tensor:
    """Units are one direction of space."""
    places = counted(1, 5, 5, 2).expand(x.shape[0], -1, -1, -1)
    return F.grid_sample(x.transpose(1, 2), places, align_corners=False)


def regions_over_units(x: Tensor) -> Tensor:
    return regions(x.transpose(1, 2))


def regions_along_units(x: Tensor) -> Tensor:
    return regions(x.transpose(1, 3))


def normed_over_samples(x: Tensor) -> Tensor:
    """Units are a direction of space, which the statistics of the batch run over."""
    y = x.transpose(1, 2)
    return F.batch_norm(y, counted(6), counted(6) + 2, training=True).transpose(1, 2)


def unpooled_among_units(x: Tensor) -> Tensor:
    """Units are one direction of space; the places carry them too."""
    y = x.permute(0, 2, 1, 3)[..., None]
    places = torch.arange(96).view(1, 1, 16, 6, 1) + (y > 9).long()
    return F.max_unpool3d(y, places, 1).squeeze(-1).transpose(1, 2)


def along_units(size: int, **given: Any) -> Middle:
    """A kernel that slides over units."""
    return lambda x: F.conv2d(
        x.transpose(1, 2), torch.ones(6, 6, size, 1), **given
    ).transpose(1, 2)  # fmt: skip


def places_in_groups(x: Tensor) -> Tensor:
    """A grouped convolution whose channels have no labels at all."""
    y = F.avg_pool2d(x, 1).transpose(1, 2)
    return F.conv2d(y, torch.ones(6, 3, 1, 1), groups=2).transpose(1, 2)


PICTURES: Mapping[str, Middle] = {
    "regions": regions,
    "regions_of_units": regions_of_units,
    "rows_as_channels": rows_as_channels,
    "unpooled_among_units": unpooled_among_units,
    "kernel_over_units": along_units(3, padding=(1, 0)),
    "steps_over_units": along_units(1, stride=(2, 1)),
    "units_padded": along_units(1, padding=(1, 0)),
    "units_not_padded": along_units(1, padding="valid"),
    "one_step_for_all": lambda x: aten.conv2d.default(
        x.transpose(1, 2), torch.ones(6, 6, 1, 1), None, [1], [0]
    ).transpose(1, 2),
    "places_in_groups": places_in_groups,
    "places_cut": lambda x: torch.cat(F.avg_pool2d(x, 1).split([2, 4], 2)[::-1], 2),
    "finer_of_eighteen": lambda x: F.pixel_shuffle(torch.cat([x, x[:, :2].exp()], 1), 3),
    "unpooled_elsewhere": unpooled_elsewhere,
    "unpooled_in_space": unpooled_in_space,
    "units_sampled": units_sampled,
    "sampled_by_themselves": sampled_by_themselves,
    "sampled_at_units": sampled_at_units,
    "space_sampled": space_sampled,
    "regions_over_units": regions_over_units,
    "regions_along_units": regions_along_units,
    "turned_back": lambda x: torch.rot90(x, 3, (2, 3)),
    "turned_over": lambda x: torch.rot90(x.transpose(1, 2), 3, (1, 2)),
    "rows_normed": lambda x: F.instance_norm(x.transpose(1, 2)).transpose(1, 2),
    "columns_normed": lambda x: F.instance_norm(x.transpose(1, 3)).transpose(1, 3),
    "normed_over_samples": normed_over_samples,
    "eight_groups": lambda x: F.group_norm(x, 8),
    "finer": lambda x: F.pixel_shuffle(x[:, :9], 3),
    "finer_rows": lambda x: F.pixel_shuffle(x.transpose(1, 2)[:, :4], 2),
    "finer_columns": lambda x: F.pixel_shuffle(x.transpose(1, 3)[:, :4], 2),
    "coarser_rows": lambda x: F.pixel_unshuffle(x.transpose(1, 2), 2),
    "coarser_columns": lambda x: F.pixel_unshuffle(x.transpose(1, 3), 2),
    "windows_along_units": lambda x: F.unfold(x.transpose(1, 2), 1)[..., None],
    "windows_over_units": lambda x: F.unfold(x.transpose(1, 3), 1)[..., None],
    "places_in_windows": lambda x: F.fold(x.flatten(2), (7, 7), 2),
    "units_as_windows": lambda x: F.fold(x.flatten(2).transpose(1, 2), (4, 4), 1),
    "rows_upward": lambda x: F.conv_transpose2d(x.transpose(1, 2), torch.ones(6, 4, 1, 1)),
}
