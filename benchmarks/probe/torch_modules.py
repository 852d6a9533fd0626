"""An operator's shape as a torch module, several times side by side as in ``onnx_graphs``.

Comes in: an ``Operator``.  Goes out: a module that takes the operator's own input.  torch keeps no
layout of its own between layers, so the neighbours are left out.  Knows nothing of clocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.staircases import Operator


class Copies(nn.Module):
    """The same input through every copy; the answers one after the other."""

    def __init__(self, operator: Operator, copies: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(_layer(operator) for _ in range(copies))

    def forward(self, given: Tensor) -> list[Tensor]:
        return [torch.relu_(copy(given)) for copy in self.copies]


def input_shape(operator: Operator, batch: int) -> tuple[int, ...]:
    if operator.kind == "product":
        return (batch, *operator.space, operator.inputs)
    return (batch, operator.inputs, *operator.space)


def _layer(operator: Operator) -> nn.Module:
    if operator.kind == "product":
        return nn.Linear(operator.inputs, operator.outputs)
    classes = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    return classes[len(operator.space)](
        operator.inputs,
        operator.outputs,
        operator.kernel,  # type: ignore[arg-type]
        stride=operator.stride,  # type: ignore[arg-type]
        padding=operator.padding,  # type: ignore[arg-type]
        dilation=operator.dilation,  # type: ignore[arg-type]
        groups=operator.groups,
    )
