"""Values that the attacks are made of."""

from __future__ import annotations

import torch
from torch import Tensor

aten = torch.ops.aten


def counted(*shape: int) -> Tensor:
    """Values of which no unit is known."""
    return torch.arange(float(torch.Size(shape).numel())).view(shape).sin()
