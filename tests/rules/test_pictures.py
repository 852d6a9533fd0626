"""Operators on pictures: space stays, channels pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.analysis import analyze
from compressor.planning import plan
from compressor.types import Budget, Scores
from tests.rules.cases import BetweenPictures, Case, assert_cuts_are_proved, check
from tests.zoo import captured, randomised


def resized(mode: str, **options: bool) -> Case:
    return Case(lambda x: F.interpolate(x, (9, 9), mode=mode, **options), (16,))


def sampled(x: Tensor) -> Tensor:
    theta = x.mean(1).flatten(1)[:, :6].reshape(-1, 2, 3)
    grid = F.affine_grid(theta, [x.shape[0], 16, 5, 5], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def sampled_by_constant(x: Tensor) -> Tensor:
    line = torch.linspace(-1, 1, 5)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    return F.grid_sample(x, grid.expand(x.shape[0], -1, -1, -1), align_corners=False)


def pooled_by_samples(x: Tensor) -> Tensor:
    """Where every channel is pooled is stored, channel by channel."""
    places = torch.linspace(0, 1, 32).view(1, 16, 2).expand(x.shape[0], -1, -1)
    return F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=places)


def pooled_and_back(x: Tensor) -> Tensor:
    y, places = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(y, places, 2)


def through_windows(x: Tensor) -> Tensor:
    return F.fold(F.unfold(x, 3, padding=1).exp(), (6, 6), 3, padding=1)


CASES = {
    "nearest": resized("nearest"),
    "nearest_exact": resized("nearest-exact"),
    "bilinear": resized("bilinear"),
    "bilinear_antialias": resized("bilinear", antialias=True),
    "bicubic": resized("bicubic"),
    "bicubic_antialias": resized("bicubic", antialias=True),
    "nearest_1d": Case(
        lambda x: F.interpolate(x.flatten(2), 40, mode="nearest").unflatten(2, (8, 5)), (16,)
    ),
    "linear_1d": Case(
        lambda x: F.interpolate(x.flatten(2), 40, mode="linear").unflatten(2, (8, 5)), (16,)
    ),
    "trilinear": Case(
        lambda x: F.interpolate(x.unflatten(2, (2, 3)), (2, 2, 2), mode="trilinear").flatten(3),
        (16,),
    ),
    "adaptive_max_pool": Case(lambda x: F.adaptive_max_pool2d(x, 3), (16,)),
    "max_pool_3d": Case(
        lambda x: F.max_pool3d(x.unflatten(2, (2, 3)), (1, 2, 2)).flatten(3), (16,)
    ),
    "power_pool": Case(lambda x: F.lp_pool2d(x, 2.0, 2), (16,)),
    "fractional_pool": Case(pooled_by_samples, (), told="no rule is known"),
    "unpool": Case(pooled_and_back, (16,)),
    "reflected": Case(lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"), (16,)),
    "replicated": Case(lambda x: F.pad(x, (1, 2, 1, 0), mode="replicate"), (16,)),
    "grid": Case(sampled_by_constant, (16,)),
    "affine_grid": Case(sampled, (16,), exact=False),
    "windows": Case(lambda x: F.unfold(x, 3).unflatten(2, (4, 4)), (16,)),
    "windows_and_back": Case(through_windows, (16,)),
    "pixel_shuffle": Case(lambda x: F.pixel_shuffle(x, 2), (4,)),
    "pixel_unshuffle": Case(lambda x: F.pixel_unshuffle(x, 2), (16,)),
    "turned": Case(lambda x: x.rot90(1, (2, 3)), (16,)),
    "channels_turned": Case(lambda x: x.rot90(1, (1, 2)), (), told="turned into another"),
    "channel_shuffle": Case(lambda x: F.channel_shuffle(x.exp(), 4), (4, 4)),
    "pooled_channels": Case(
        lambda x: F.avg_pool2d(x.transpose(1, 2), (2, 1)).transpose(1, 2),
        (),
        told="is a position in space",
    ),
    "response_norm": Case(lambda x: F.local_response_norm(x, 3), (), told="position in space"),
    "leaky_by_chance": Case(lambda x: F.rrelu(x), (16,)),
    "instance_norm": Case(lambda x: F.instance_norm(x), (16,)),
    "group_norm_without_gains": Case(lambda x: F.group_norm(x, 4), (4, 4), exact=False),
    "group_norm_over_units": Case(
        lambda x: F.group_norm(x.transpose(1, 2), 3).transpose(1, 2), (16,), exact=False
    ),
    "normalised_channels": Case(lambda x: F.normalize(x, dim=1), (16,)),
    "channel_axis_last": Case(lambda x: x.movedim(1, -1).exp().moveaxis(-1, 1), (16,)),
    "moved_twice": Case(lambda x: x.movedim((1, 2), (3, 1)).exp().movedim(3, 1), (16,)),
    "swapped": Case(lambda x: x.swapdims(1, 2).exp().swapaxes(1, 2), (16,)),
    "matrix_transposed": Case(lambda x: x.mT.exp().mT, (16,)),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_pass_and_space_stays(name: str) -> None:
    check(CASES[name], BetweenPictures, (2, 3, 6, 6))


class Slopes(nn.Module):
    """A slope for each channel, and one for all; gains on an instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.each, self.all = nn.Conv2d(3, 16, 1), nn.PReLU(16), nn.PReLU()
        self.norm, self.last = nn.InstanceNorm2d(16, affine=True), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.all(self.each(self.first(x)))))


class NormedWeight(nn.Module):
    """Directions and lengths of a weight apart, as the operator takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 16)
        self.directions, self.lengths = (
            nn.Parameter(torch.randn(12, 16)),
            nn.Parameter(torch.rand(12, 1)),
        )
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x.mean((2, 3))))
        weight = torch._weight_norm(self.directions, self.lengths, 0)
        return self.last(torch.tanh(F.linear(x, weight)))


@pytest.mark.parametrize(("network", "groups"), [(Slopes, [16]), (NormedWeight, [12, 16])])
def test_gains_of_a_channel_go_with_it(network: type[nn.Module], groups: list[int]) -> None:
    graph = captured(randomised(network), (torch.randn(2, 3, 6, 6),))
    analysis = analyze(graph)
    assert [group.units for group in analysis.groups] == groups
    assert_cuts_are_proved(graph, analysis)


class PositiveWeight(nn.Module):
    """A grouped convolution whose weight is computed: where units are gone it is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 1), nn.Conv2d(24, 4, 1)
        self.weight = nn.Parameter(torch.randn(24, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.first(x))
        return self.last(torch.sigmoid(F.conv2d(x, self.weight.sigmoid(), groups=4)))


def test_what_a_computed_weight_reads_in_groups_is_gated() -> None:
    graph = captured(randomised(PositiveWeight), (torch.randn(2, 3, 6, 6),))
    analysis = analyze(graph)
    assert [group.units for group in analysis.groups] == [4, 6, 4]
    assert_cuts_are_proved(graph, analysis)


def test_a_picture_without_a_batch_is_not_convolved_by_guess() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.conv = nn.Linear(6, 16), nn.Conv1d(16, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(torch.tanh(self.first(x)).mean(0).mT)

    analysis = analyze(captured(randomised(Rows), (torch.randn(2, 5, 6),)))
    assert not analysis.groups
    assert any("without a batch" in entry.reason for entry in analysis.frozen)


def test_small_factors_of_a_split_dimension_are_cut_only_when_asked() -> None:
    """Halves of a channel shuffle: one of two is half the network."""
    network = randomised(lambda: BetweenPictures(lambda x: F.channel_shuffle(x.exp(), 2)))
    analysis = analyze(captured(network, (torch.randn(2, 3, 6, 6),)))
    halves, places = sorted(analysis.groups, key=lambda group: group.units)
    assert (halves.units, places.units) == (2, 8)
    values = tuple(
        (0.0, 1.0) if group is halves else tuple(np.linspace(2, 3, 8).tolist())
        for group in analysis.groups
    )
    scores = Scores(criterion="drawn", fingerprint=analysis.fingerprint, values=values)
    for smallest, expected in ((8, 2), (2, 1)):
        chosen = plan(analysis, scores, Budget(0.5, "params", 1, 0.1, smallest))
        assert chosen.groups[halves.id].width == expected
