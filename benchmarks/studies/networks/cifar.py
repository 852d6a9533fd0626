"""CIFAR forms of four networks, as their papers and the field train them on 32 by 32 pictures.

Comes in: the number of classes.  Goes out: a network with fresh weights, from torch's global
generator.  Knows nothing of pruning.

    compressor train --arch benchmarks/studies/networks/cifar.py:resnet56 --data FOLDER --out FILE
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import MobileNetV2
from torchvision.models import vgg16_bn as large_vgg16_bn


class PaddedShortcut(nn.Module):
    """Half the resolution, twice the channels, no parameters: He et al. 2016, option A."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.padding = width // 4

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        same = stride == 1 and before == width
        self.shortcut = nn.Sequential() if same else PaddedShortcut(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of ``(depth - 2) / 6`` blocks each; names as in the published weights."""

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1)
        self.layer2 = _stage(16, 32, blocks, 2)
        self.layer3 = _stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        answer: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return answer


class Vgg(nn.Module):
    """The convolutions of VGG-16 with batch norm, and one linear layer (Liu et al. 2017)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = large_vgg16_bn(weights=None).features
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.classifier(self.features(x).flatten(1))
        return answer


def resnet8(num_classes: int = 10) -> nn.Module:
    return ResNet(8, num_classes)


def resnet20(num_classes: int = 10) -> nn.Module:
    return ResNet(20, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    return ResNet(56, num_classes)


def vgg16_bn(num_classes: int = 10) -> nn.Module:
    return Vgg(num_classes)


def mobilenet_v2(num_classes: int = 10) -> nn.Module:
    """torchvision's, with the first two reductions of the resolution left out."""
    settings = [
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    network = MobileNetV2(num_classes=num_classes, inverted_residual_setting=settings)
    network.features[0][0].stride = (1, 1)
    return network


def _stage(before: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Block(width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(before, width, stride), *rest)
