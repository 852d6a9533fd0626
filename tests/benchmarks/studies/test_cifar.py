"""The CIFAR forms of networks are of the sizes that their papers tell."""

from __future__ import annotations

import pytest
import torch

from benchmarks.studies.networks import cifar


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet8", 75_290), ("resnet20", 269_722), ("resnet56", 853_018), ("vgg16_bn", 14_728_266)],
)
def test_sizes_are_those_of_the_papers(name: str, parameters: int) -> None:
    network = getattr(cifar, name)()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("name", ["resnet20", "vgg16_bn", "mobilenet_v2"])
def test_small_pictures_give_an_answer_per_class(name: str) -> None:
    network = getattr(cifar, name)(num_classes=7).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_mobilenet_keeps_its_resolution_longer() -> None:
    network = cifar.mobilenet_v2()
    with torch.no_grad():
        assert network.features(torch.zeros(2, 3, 32, 32)).shape[2:] == (4, 4)
