"""Canonical forms: the same computation written in the one way that the rules know.

Comes in: an annotated ``fx.Graph`` (``node.meta["shape"]`` is filled in) and the sizes in it that
stand for free ones (batch, sequence length, their products).  Goes out: the same graph, rewritten
in place; every value that survives is bit-identical, and nodes that survive keep their names.
Knows nothing of labels or of the tensors' values.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import fx

from compressor.bundles import take_bundles_apart
from compressor.carriers import bound
from compressor.results import write_first_results_alone
from compressor.spellings import write_first_names

aten = torch.ops.aten

_SQUEEZES = (aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims)

_TURNS = (aten.permute.default, aten.transpose.int, aten.t.default)

# All take (value, number or size or places, dim); the sizes of the parts are in the node's shape.
_SPLITS = (
    aten.chunk.default,
    aten.split.Tensor,
    aten.tensor_split.indices,
    aten.tensor_split.sections,
    aten.unsafe_chunk.default,
    aten.unsafe_split.Tensor,
)
# The same along one dimension; vectors have but the first.
_SPLITS_ALONG = {
    aten.vsplit.array: 0,
    aten.vsplit.int: 0,
    aten.hsplit.array: 1,
    aten.hsplit.int: 1,
    aten.dsplit.array: 2,
    aten.dsplit.int: 2,
}

# By the dimensions of space, from one on.
_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
_TRANSPOSED = (
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
)
_PADDED_BY_WORD = (aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)


def canonicalise(graph: fx.Graph, free: Container[int]) -> None:
    """Apply every rewriting, in order; a second call changes nothing."""
    write_first_names(graph)
    write_first_results_alone(graph)
    write_convolutions_by_rank(graph)
    write_paddings_as_numbers(graph)
    write_splits_alike(graph, free)
    write_squeezes_alike(graph)
    write_views_of_turned_values_as_reshapes(graph)
    take_bundles_apart(graph, free)


def write_convolutions_by_rank(graph: fx.Graph) -> None:
    """The one convolution of a decomposed program becomes that of its dimensions of space."""
    for node in graph.find_nodes(op="call_function", target=aten.convolution.default):
        given = bound(node)
        place = len(given["weight"].meta["shape"]) - 3
        names = ["input", "weight", "bias", "stride", "padding"]
        if given["transposed"]:
            node.target = _TRANSPOSED[place]
            names += ["output_padding", "groups", "dilation"]
        else:
            node.target = _CONVOLUTIONS[place]
            names += ["dilation", "groups"]
        node.args, node.kwargs = tuple(given[name] for name in names), {}


def write_paddings_as_numbers(graph: fx.Graph) -> None:
    """``same`` and ``valid`` become numbers, wherever as much is added on both sides."""
    for node in graph.nodes:
        if node.target not in _PADDED_BY_WORD:
            continue
        given = bound(node)
        added = _added_by_word(given)
        if all(size % 2 == 0 for size in added):
            given["padding"] = [size // 2 for size in added]
            node.target = _CONVOLUTIONS[len(added) - 1]
            node.args, node.kwargs = tuple(given.values()), {}


def _added_by_word(given: Mapping[str, Any]) -> list[int]:
    """What a convolution's padding adds on both sides together."""
    kernel = given["weight"].meta["shape"][2:]
    steps = list(given["dilation"])
    if len(steps) == 1:
        steps *= len(kernel)
    same = given["padding"] == "same"
    return [step * (size - 1) * same for step, size in zip(steps, kernel, strict=True)]


def write_splits_alike(graph: fx.Graph, free: Container[int]) -> None:
    """``chunk`` and the like become ``split_with_sizes``: one form, literal sizes."""
    for node in graph.nodes:
        if node.target not in _SPLITS and node.target not in _SPLITS_ALONG:
            continue
        value = node.args[0]
        whole = value.meta["shape"]
        along = _SPLITS_ALONG.get(node.target)
        dim = bound(node)["dim"] if along is None else min(along, len(whole) - 1)
        sizes = [shape[dim] for shape in node.meta["shape"]]
        if whole[dim] in free or sum(sizes) != whole[dim]:
            continue  # along the batch or a sequence sizes are not literal; pieces may overlap
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
