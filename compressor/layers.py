"""Layers of torch.nn made narrower in place: torch-pruning's per-layer functions, sizes after them.

Comes in: one module, the rows that stay of its own tensors, and the smaller graph's nodes of that
module.  Goes out: nothing; the module's own tensors are cut, and the sizes it states about itself
follow.  Knows nothing of plans, attention or how modules hang together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch_pruning.pruner import function

from compressor.graphs import Rows
from compressor.rewriting import argument_place

KeptRows = Mapping[int, Rows]  # dimension -> rows that stay; absent where all do
Remove = Callable[[Any, list[int]], object]  # (layer, rows that go), in place

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
# What removes rows of each dimension of the first tensor, and of those that go with it.  Not here
# are layer norms: torch-pruning 1.6.1 leaves their rows in the order of a Python set.
_REMOVERS: tuple[tuple[tuple[type[nn.Module], ...], Mapping[int, Remove]], ...] = (
    ((nn.Linear,), {1: function.prune_linear_in_channels, 0: function.prune_linear_out_channels}),
    (_BATCH_NORMS, {0: function.prune_batchnorm_out_channels}),
    ((nn.Embedding,), {1: function.prune_embedding_out_channels}),
    ((nn.PReLU,), {0: function.prune_prelu_out_channels}),
    ((nn.GroupNorm,), {0: function.prune_groupnorm_out_channels}),
)
_TOGETHER = ("weight", "bias", "running_mean", "running_var")


# Widths that other classes read in forward: class, attribute, parameter and dimension it counts.
_WIDTHS = (
    (
        "torchvision.models.vision_transformer.VisionTransformer",
        "hidden_dim",
        "conv_proj.weight",
        0,
    ),
    ("transformers.pytorch_utils.Conv1D", "nx", "weight", 0),
    ("transformers.pytorch_utils.Conv1D", "nf", "weight", 1),
)


def cut_layer(module: nn.Module, kept: Mapping[str, KeptRows]) -> None:
    """Cut the module's own tensors (``kept``: local name -> rows that stay) in place.

    What torch-pruning has a function for goes through it, the rest tensor by tensor.  Parameters
    are new objects afterwards that require gradients as before; ties are the caller's to restore.
    """
    required = {
        name: getattr(module, name).requires_grad for name in module._parameters if name in kept
    }
    with torch.no_grad():
        done = _cut_together(module, kept)
        for name in kept.keys() - done:
            _cut_tensor(module, name, kept[name])
    for name, requires_grad in required.items():
        getattr(module, name).requires_grad_(requires_grad)


def _cut_together(module: nn.Module, kept: Mapping[str, KeptRows]) -> set[str]:
    """Through torch-pruning; returns the names of the tensors it has cut."""
    first = next((name for name in ("weight", "running_mean") if name in kept), "")
    removers = _removers(module)
    if not first or not kept[first].keys() <= removers.keys():
        return set()
    sizes = getattr(module, first).shape
    for dim, remove in removers.items():
        if dim in kept[first]:
            stays = set(kept[first][dim])
            remove(module, [row for row in range(sizes[dim]) if row not in stays])
    return kept.keys() & set(_TOGETHER)


def _removers(module: nn.Module) -> Mapping[int, Remove]:
    if isinstance(module, _ConvNd):
        return _convolution_removers(module)
    return next((found for classes, found in _REMOVERS if isinstance(module, classes)), {})


def _convolution_removers(module: _ConvNd) -> Mapping[int, Remove]:
    outputs, inputs = function.prune_conv_out_channels, function.prune_conv_in_channels
    if isinstance(module, _ConvTransposeNd):
        return {0: inputs, 1: outputs} if module.groups == 1 else {}
    if module.groups == 1:
        return {1: inputs, 0: outputs}
    if module.groups == module.in_channels == module.out_channels:
        return {0: function.prune_depthwise_conv_out_channels}
    each = module.weight.shape[1]
    groups = range(module.groups)

    def inputs_of_every_group(layer: Any, gone: list[int]) -> object:
        return inputs(layer, [group * each + row for group in groups for row in gone])

    return {1: inputs_of_every_group, 0: outputs}


def _cut_tensor(module: nn.Module, name: str, kept: KeptRows) -> None:
    tensor: Tensor = getattr(module, name)
    cut = tensor.detach()
    for dim, rows in kept.items():
        cut = cut.index_select(dim, torch.tensor(rows, device=tensor.device))
    setattr(module, name, nn.Parameter(cut) if isinstance(tensor, nn.Parameter) else cut)


def resize(module: nn.Module, nodes: Sequence[fx.Node]) -> None:
    """Make the sizes that a torch.nn layer states about itself those of its tensors.

    ``nodes`` are the smaller graph's nodes of this module: group counts and normalised shapes come
    from them, as a norm without a gain has no tensor that would tell.
    """
    if isinstance(module, _ConvNd):
        _resize_convolution(module, nodes)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Bilinear):
        module.out_features, module.in1_features, module.in2_features = module.weight.shape
    elif isinstance(module, _NormBase):
        for tensor in (module.weight, module.running_mean):
            module.num_features = module.num_features if tensor is None else len(tensor)
    elif isinstance(module, nn.GroupNorm):
        for node in _calls(nodes, "aten::group_norm"):
            module.num_groups = _argument(node, "num_groups")
            module.num_channels = node.meta["shape"][1]
    elif isinstance(module, nn.RNNBase):
        module.input_size = module.get_parameter("weight_ih_l0").shape[1]
        module.hidden_size = len(module.get_parameter("weight_hh_l0")) // _GATES[module.mode]
    elif isinstance(getattr(module, "normalized_shape", None), tuple):
        for node in _calls(nodes, "aten::layer_norm", "aten::rms_norm"):
            shape = tuple(_argument(node, "normalized_shape"))
            module.normalized_shape = shape  # type: ignore[assignment]

    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(module).__mro__}
    for name, attribute, parameter, dim in _WIDTHS:
        if name in classes:
            setattr(module, attribute, module.get_parameter(parameter).shape[dim])


def _resize_convolution(module: _ConvNd, nodes: Iterable[fx.Node]) -> None:
    for node in _calls(nodes, "aten::conv"):
        module.groups = _argument(node, "groups")
    first, second = module.weight.shape[:2]
    if isinstance(module, _ConvTransposeNd):
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.in_channels, module.out_channels = second * module.groups, first


def _calls(nodes: Iterable[fx.Node], *operators: str) -> Iterator[fx.Node]:
    """Nodes of the operators whose names begin so."""
    for node in nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.name.startswith(operators):
            yield node


def _argument(node: fx.Node, name: str) -> Any:
    place = argument_place(node, name)
    default = node.target._schema.arguments[place].default_value  # type: ignore[union-attr]
    return node.args[place] if place < len(node.args) else node.kwargs.get(name, default)
