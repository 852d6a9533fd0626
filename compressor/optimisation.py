"""What turns gradients into steps: step sizes, their course over the run, averaged weights.

In: named parameters and the share of the run that is spent.  Out: an optimiser, a factor, an
average.  Knows nothing of losses, data or clocks.

Steps are *relative*: every tensor has its own learning rate, the root mean square of its starting
values times one number.  One number then serves networks whose weights differ by orders of
magnitude (an input of [0, 1] or of [0, 255], with batch norm or without), which a plain learning
rate does not.  The scaling is Adafactor's (Shazeer and Stern, arXiv 1804.04235, section 8), the
optimiser AdamW (Loshchilov and Hutter, arXiv 1711.05101).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressor.graphs import Graph

# Tensors that start (near) zero still have to move: norms and biases as if their values were 0.1.
_SMALLEST_SCALE_VECTOR = 0.1
_SMALLEST_SCALE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """Numbers of one training run.

    ``learning_rate``: largest step, as a share of each tensor's root mean square.  ``warmup``:
    share of the run in which it is reached.  ``weight_decay``: for weights only, not for norms and
    biases, as a multiple of the step.  ``clip_norm``: gradients are scaled down to this norm.
    ``average``: how much of the averaged weights stays at every step.
    """

    learning_rate: float = 0.02
    warmup: float = 0.05
    weight_decay: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    average: float = 0.99


def schedule(spent: float, warmup: float) -> float:
    """Factor of the learning rate: a straight climb to 1, then half a cosine down to 0.

    ``spent``: share of the run, 0 to 1 (more counts as 1).
    """
    if spent < warmup:
        return max(spent / warmup, 0.01)
    falling = (min(spent, 1.0) - warmup) / max(1.0 - warmup, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * falling))


def make_optimiser(module: nn.Module, settings: Optimisation) -> torch.optim.Optimizer:
    """AdamW with one group per tensor; the group's ``scale`` is the tensor's own."""
    groups: list[dict[str, Any]] = []
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        vector = parameter.ndim <= 1
        floor = _SMALLEST_SCALE_VECTOR if vector else _SMALLEST_SCALE
        scale = max(float(parameter.detach().float().square().mean().sqrt()), floor)
        decay = 0.0 if vector else settings.weight_decay / scale
        groups.append({"params": [parameter], "scale": scale, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)


def set_learning_rate(optimiser: torch.optim.Optimizer, relative: float) -> None:
    """Every group's learning rate becomes ``relative`` times its scale."""
    for group in optimiser.param_groups:
        group["lr"] = relative * group["scale"]


class AveragedWeights:
    """A second graph that follows the trained one: ``a <- d * a + (1 - d) * w`` at every step.

    d grows to ``decay`` with the steps, so that the start is soon forgotten.  Running statistics
    are averaged too; integer buffers are copied.
    """

    def __init__(self, graph: Graph, decay: float) -> None:
        self.graph = graph.copy().eval()
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def follow(self, graph: Graph) -> None:
        """One step after ``graph``, whose tensors have the same names."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 10.0))
        pairs = list(_pairs(self.graph, graph))
        floats = [(a, w) for a, w in pairs if a.is_floating_point()]
        averages, values = [a for a, _ in floats], [w for _, w in floats]
        torch._foreach_lerp_(averages, values, 1.0 - decay)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)

    @torch.no_grad()
    def restart(self, graph: Graph) -> None:
        """Begin again at ``graph``."""
        copy_values(graph, self.graph)
        self._steps = 0


@torch.no_grad()
def copy_values(source: Graph, target: Graph) -> None:
    """Parameters and buffers of ``source`` into those of ``target``; layouts stay the target's."""
    for value, other in _pairs(source, target):
        other.copy_(value)


def _pairs(a: Graph, b: Graph) -> Iterable[tuple[Tensor, Tensor]]:
    first, second = a.state_dict(), b.state_dict()
    return ((first[name].detach(), second[name].detach()) for name in first)
