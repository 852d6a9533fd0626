"""Networks over pictures of 3 x 8 x 8, one structure each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, size: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)


class Chain(nn.Module):
    """conv-bn-relu twice, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = conv(16, 24), nn.BatchNorm2d(24)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


class Residual(nn.Module):
    """One stream that two layers add to."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(3, 16), nn.BatchNorm2d(16)
        self.conv1, self.bn1 = conv(16, 12), nn.BatchNorm2d(12)
        self.conv2, self.bn2 = conv(12, 16), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu_(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return self.head(F.avg_pool2d(x, x.size(3)).flatten(1))


class PaddedShortcut(nn.Module):
    """Half the resolution, twice the channels: the shortcut is strided and padded with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(3, 8), nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        x = F.relu(self.bn1(self.conv1(x)) + shortcut)
        x = F.avg_pool2d(x, x.size(3))
        return self.head(x.view(x.size(0), -1))


class Concat(nn.Module):
    """A dense block: every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), conv(8, 10)
        self.bn2, self.conv2 = nn.BatchNorm2d(18), conv(18, 12)
        self.head = nn.Linear(30, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.bn1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.bn2(x)))], 1)
        return self.head(x.mean((2, 3)))


class Split(nn.Module):
    """One layer's channels cut in two unequal parts that go different ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(3, 24), nn.BatchNorm2d(24)
        self.left, self.right = conv(8, 12), conv(16, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = F.relu(self.bn(self.stem(x))).split([8, 16], dim=1)
        return self.head(F.silu(self.left(left) + self.right(right)).mean((2, 3)))


class Shuffle(nn.Module):
    """Chunk, one half through a layer, concatenated and shuffled as in ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(3, 16), nn.BatchNorm2d(16)
        self.branch = conv(8, 8)
        self.last, self.head = conv(16, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = F.relu(self.bn(self.stem(x))).chunk(2, dim=1)
        x = torch.cat([kept, F.relu(self.branch(changed))], dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class Depthwise(nn.Module):
    """Inverted residual: pointwise, depthwise, pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.wide, self.bn1 = conv(8, 24, 1), nn.BatchNorm2d(24)
        self.deep, self.bn2 = conv(24, 24, 3, groups=24), nn.BatchNorm2d(24)
        self.narrow, self.bn3 = conv(24, 8, 1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.hardswish(self.bn2(self.deep(F.hardswish(self.bn1(self.wide(x))))))
        return self.head((x + self.bn3(self.narrow(y))).mean((2, 3)))


class Grouped(nn.Module):
    """A convolution of four groups: the place inside the group is pruned alike in all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn1 = conv(3, 32), nn.BatchNorm2d(32)
        self.grouped, self.bn2 = conv(32, 64, 3, groups=4), nn.BatchNorm2d(64)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.stem(x)))
        return self.head(F.relu(self.bn2(self.grouped(x))).mean((2, 3)))


class Flatten(nn.Module):
    """Channels times places into one linear layer, as in VGG."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 2, 1)
        self.hidden, self.head = nn.Linear(16 * 4 * 4, 20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(torch.tanh(self.conv(x)), 1)
        return self.head(F.gelu(self.hidden(x)))


class SigmoidGate(nn.Module):
    """Behind a sigmoid a removed unit is not zero: only zeroing where it is read is removing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = conv(16, 16), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.bn1(self.conv1(x)))
        x = torch.exp(self.bn2(self.conv2(x)).tanh())
        return self.head(x.mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Channels weighed by a small network over their means."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = conv(3, 16), nn.BatchNorm2d(16)
        self.down, self.up = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.last, self.head = conv(16, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.bn(self.stem(x)))
        x = x * torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(self.last(x).mean((2, 3)))


class GroupNorm(nn.Module):
    """Statistics over groups of channels: whole groups are exact, a channel is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = conv(3, 64), nn.GroupNorm(8, 64)
        self.conv2, self.head = conv(64, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv1(x)))
        return self.head(F.relu(self.conv2(x)).mean((2, 3)))


class Transposed(nn.Module):
    """Down and up again by a transposed convolution, onto a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = conv(3, 10), nn.Conv2d(10, 16, 2, 2)
        self.bn, self.up = nn.BatchNorm2d(16), nn.ConvTranspose2d(16, 10, 2, 2)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.up(F.relu(self.bn(self.down(x))))
        return self.head(F.max_pool2d(x, 2).mean((2, 3)))


class GroupedTransposed(nn.Module):
    """Up by a transposed convolution of eight groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 32, 2, 2), nn.BatchNorm2d(32)
        self.up = nn.ConvTranspose2d(32, 24, 2, 2, groups=8)
        self.conv, self.head = conv(24, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(F.relu(self.bn(self.stem(x))))
        return self.head(F.max_pool2d(self.conv(F.relu(x)), 2).mean((2, 3)))


class PixelShuffle(nn.Module):
    """Channels into space and back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 16, 2, 2), conv(16, 48)
        self.fine, self.coarse = conv(12, 10), conv(40, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.wide(F.relu(self.stem(x))))
        x = F.relu(self.fine(F.pixel_shuffle(x, 2)))
        return self.head(self.coarse(F.pixel_unshuffle(x, 2)).mean((2, 3)))


class Unknown(nn.Module):
    """In the middle an operator nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.conv2, self.conv3 = conv(16, 12), conv(12, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = torch.cumprod(0.5 + self.conv2(x).sigmoid(), dim=1)
        return self.head(F.relu(self.conv3(x)).mean((2, 3)))
