"""Sparsity: single weights that are zero and stay it, in tensors of full shape.

Comes in: a graph, a share.  Goes out: a ``WeightMask``, and graphs that hold to it.  This is what
the papers prune; nothing becomes smaller or faster by it.  Knows nothing of units, groups or plans.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compressor.equations import find_layer
from compressor.errors import BudgetError
from compressor.graphs import Graph

# Name of a weight -> bool tensor of its shape: true where the weight lives.
WeightMask = Mapping[str, Tensor]


def prunable_weights(graph: Graph) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by name, the classifier's among them.

    As in the papers' code: biases, norms, embeddings and what is not trained stay whole.
    """
    tensors = graph.tensors
    found: dict[str, Tensor] = {}
    for node in graph.program.graph.nodes:
        layer = find_layer(node)
        if layer is not None and isinstance(tensors[layer.weight], torch.nn.Parameter):
            found[layer.weight] = tensors[layer.weight]
    return found


def full_mask(graph: Graph) -> WeightMask:
    """Every prunable weight lives."""
    return {n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_weights(graph).items()}


def magnitudes(graph: Graph) -> dict[str, Tensor]:
    """The magnitude of every prunable weight: the scores of Park & No and of O'Neill et al."""
    return {name: weight.detach().abs() for name, weight in prunable_weights(graph).items()}


def keep_dearest(scores: Mapping[str, Tensor], density: float, within: WeightMask) -> WeightMask:
    """The share ``density`` of all weights with the highest scores, one ranking over all layers.

    Weights that are gone in ``within`` stay gone.  Of equal scores earlier ones live.  Raises
    BudgetError where nothing would be left, or a score is no number.
    """
    names = sorted(scores)
    flat = torch.cat([scores[name].detach().double().flatten() for name in names])
    alive = torch.cat([within[name].flatten() for name in names]).to(flat.device)
    if not bool(flat[alive].isfinite().all()):
        raise BudgetError("scores of single weights are not all finite; check weights and data")
    count = min(round(density * len(flat)), int(alive.sum()))
    if count < 1:
        raise BudgetError(f"a density of {density:g} leaves none of {len(flat)} weights")
    flat = torch.where(alive, flat, -torch.inf)
    kept = torch.zeros_like(alive)
    kept[torch.argsort(flat, descending=True, stable=True)[:count]] = True
    parts = kept.split([scores[name].numel() for name in names])
    return {n: part.view_as(scores[n]) for n, part in zip(names, parts, strict=True)}


def keep_dearest_everywhere(
    scores: Mapping[str, Tensor], density: float, within: WeightMask
) -> tuple[WeightMask, tuple[str, ...]]:
    """``keep_dearest``, but layers that would lose everything are kept whole; and their names.

    A layer without weights passes nothing on.  The other layers lose more in its place.
    """
    whole: tuple[str, ...] = ()
    while True:
        found = keep_dearest(scores, density, within)
        dead = tuple(sorted(name for name, alive in found.items() if not bool(alive.any())))
        if not dead or set(dead) & set(whole):
            return found, whole
        above = 2 * max(float(score.max()) for score in scores.values()) + 1
        scores = {**scores, **{name: torch.full_like(scores[name], above) for name in dead}}
        whole = (*whole, *dead)


def density_of(mask: WeightMask) -> float:
    """Share of the weights that live."""
    return sum(int(m.sum()) for m in mask.values()) / max(1, sum(m.numel() for m in mask.values()))


def densities(mask: WeightMask) -> dict[str, float]:
    """Share of each weight's elements that live, by the weight's name.

    Of a layer that lost all of them as if one lived: widths are read off, and it must pass
    something on.
    """
    return {n: max(float(alive.float().mean()), 1 / alive.numel()) for n, alive in mask.items()}


@torch.no_grad()
def hold_zero(graph: Graph, mask: WeightMask) -> None:
    """Zero what is gone, in place: optimisers move it through momentum and decay."""
    tensors = graph.tensors
    for name, alive in mask.items():
        tensors[name].mul_(alive.to(device=tensors[name].device, dtype=tensors[name].dtype))


def sparse(graph: Graph, mask: WeightMask) -> Graph:
    """A new graph of the same shapes without what is gone."""
    copied = graph.copy()
    hold_zero(copied, mask)
    return copied
