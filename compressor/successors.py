"""What follows a layer before anything non-linear does: a batch norm it alone feeds, an addition.

Comes in: layers and stored tensors.  Goes out: a ``Way``, and what a batch norm does to its input.
Knows nothing of students or teachers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.equations import LinearLayer

CHANNEL = 1  # the dimension that a batch norm has statistics for

aten = torch.ops.aten


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """``beside``: the other side of the addition."""

    norm: fx.Node | None = None
    beside: fx.Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A batch norm's own tensors: ``gain (x - mean) / sqrt(variance + epsilon) + offset``."""

    gain: Tensor
    offset: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float

    @property
    def deviation(self) -> Tensor:
        return (self.variance.double() + self.epsilon).sqrt()

    @property
    def slope(self) -> Tensor:
        return self.gain.double() / self.deviation


def way_from(layer: LinearLayer) -> Way:
    """The way from a layer's output, as far as each value has one reader."""
    node = layer.node
    norm: fx.Node | None = None
    normalised = gives_channels(layer)
    while len(node.users) == 1:
        reader = next(iter(node.users))
        if norm is None and is_own_norm(reader) and reader.args[0] is node and normalised:
            norm = reader
        elif reader.target in (aten.add.Tensor, aten.add_.Tensor):
            others = [used for used in reader.args[:2] if used is not node]
            plain = reader.kwargs.get("alpha", 1) == 1 and len(others) == 1
            if plain and isinstance(others[0], fx.Node):
                return Way(norm=norm, beside=others[0])
            break
        elif reader.target not in (aten.dropout.default, aten.dropout_.default):
            break
        node = reader
    return Way(norm=norm)


def gives_channels(layer: LinearLayer) -> bool:
    """Whether a layer's outputs lie where a batch norm has statistics for each."""
    return layer.form.channel(len(layer.node.meta["shape"])) == CHANNEL


def is_own_norm(node: fx.Node) -> bool:
    """A batch norm that evaluates with running statistics, all four tensors read by it alone."""
    return (
        node.target is aten.batch_norm.default
        and bool(node.meta.get("follows_mode"))
        and all(
            isinstance(part, fx.Node) and part.op == "get_attr" and len(part.users) == 1
            for part in node.args[1:5]
        )
    )


def statistics_of(norm: fx.Node, tensors: Mapping[str, Tensor]) -> Statistics:
    """Of a batch norm for which ``is_own_norm`` holds."""
    parts = [part for part in norm.args[1:5] if isinstance(part, fx.Node)]
    gain, offset, mean, variance = (tensors[str(part.target)] for part in parts)
    epsilon = norm.args[7]
    assert isinstance(epsilon, float)
    return Statistics(gain=gain, offset=offset, mean=mean, variance=variance, epsilon=epsilon)
