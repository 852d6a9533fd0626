"""Canonical forms: the same computation written in the one way that the rules know.

Comes in: an annotated ``fx.Graph`` (``node.meta["shape"]`` is filled in) and the sizes in it that
stand for free ones (batch, sequence length, their products).  Goes out: the same graph, rewritten
in place; every value that survives is bit-identical, and nodes that survive keep their names.
Knows nothing of labels or of the tensors' values.
"""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import fx

from compressor.bundles import take_bundles_apart

aten = torch.ops.aten

_SQUEEZES = (aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims)

_TURNS = (aten.permute.default, aten.transpose.int, aten.t.default)

# All take (value, number or size, dim); the sizes of the parts are in the node's shape.
_SPLITS = (
    aten.chunk.default,
    aten.split.Tensor,
    aten.tensor_split.sections,
    aten.unsafe_chunk.default,
    aten.unsafe_split.Tensor,
)


def canonicalise(graph: fx.Graph, free: Container[int]) -> None:
    """Apply every rewriting, in order; a second call changes nothing."""
    write_splits_alike(graph, free)
    write_squeezes_alike(graph)
    write_views_of_turned_values_as_reshapes(graph)
    take_bundles_apart(graph, free)


def write_splits_alike(graph: fx.Graph, free: Container[int]) -> None:
    """``chunk`` and ``split`` by one size become ``split_with_sizes``: one form, literal sizes."""
    for node in graph.nodes:
        if node.target not in _SPLITS:
            continue
        value = node.args[0]
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        sizes = [shape[dim] for shape in node.meta["shape"]]
        if value.meta["shape"][dim] in free:
            continue  # along the batch or a sequence: sizes are not literal
        node.target = aten.split_with_sizes.default
        node.args, node.kwargs = (value, sizes, dim), {}


def write_views_of_turned_values_as_reshapes(graph: fx.Graph) -> None:
    """``view`` behind a transposition is right for one layout in memory alone, which export takes
    from kernels that others may replace (attention in float64, or on another device)."""
    for node in graph.find_nodes(op="call_function", target=aten.view.default):
        if node.args[0].target in _TURNS:
            node.target = aten.reshape.default


def write_squeezes_alike(graph: fx.Graph) -> None:
    """``squeeze`` names the dimensions of size one: another that is cut to one row must stay."""
    for node in graph.nodes:
        if node.target not in _SQUEEZES:
            continue
        value = node.args[0]
        shape = value.meta["shape"]
        given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", range(len(shape)))
        wanted = [given] if isinstance(given, int) else list(given)
        gone = [dim for dim in wanted if shape and shape[dim] == 1]
        if gone:
            node.target = aten.squeeze.dims
            node.args, node.kwargs = (value, gone), {}
        else:
            node.replace_all_uses_with(value)
            graph.erase_node(node)
