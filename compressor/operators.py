"""The shapes of a network's layers, and the groups that their widths hang on.

Comes in: a ``Graph``.  Goes out: a ``Layer`` for every convolution and matrix product with a stored
weight of its own that a group can make narrower; transposed convolutions, recurrent layers and
products of activations are not among them.  Knows nothing of runtimes or time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import fx

from compressor.equations import Convolution, LinearLayer, Product, find_layer
from compressor.graphs import Graph
from compressor.labelling import Labelling, label
from compressor.labels import Labels
from compressor.rules import Value
from compressor.staircases import Hold, Layer, Operator, Side


def find_operators(graph: Graph, labelling: Labelling | None = None) -> tuple[Layer, ...]:
    """Layers in the order of the graph, for one sample at the captured length.

    Groups are numbered as in the ``Analysis`` of the same graph.
    """
    labelling = labelling or label(graph)
    found = []
    for node in graph.program.graph.nodes:
        layer = find_layer(node)
        if layer is not None and isinstance(layer.form, Convolution | Product):
            operator = _operator(graph, layer)
            weight = labelling.nodes[_weight(layer).name]
            assert isinstance(weight, Value)
            holds = tuple(_holds(labelling, layer, operator, weight))
            if holds:
                found.append(
                    Layer(where=node.meta.get("where", ""), operator=operator, holds=holds)
                )
    return tuple(found)


def _weight(layer: LinearLayer) -> fx.Node:
    return next(
        node
        for node in layer.node.all_input_nodes
        if node.op == "get_attr" and str(node.target) == layer.weight
    )


def _operator(graph: Graph, layer: LinearLayer) -> Operator:
    given = next(node for node in layer.node.all_input_nodes if node.name == layer.value)
    value, weight = given.meta["shape"], _weight(layer).meta["shape"]
    outputs, inputs = (weight[1 - layer.summed], weight[layer.summed])
    if isinstance(layer.form, Product):
        rows = math.prod(graph.sizes.in_one_sample(size) for size in value[:-1])
        return Operator(kind="product", inputs=inputs, outputs=outputs, space=(rows,))
    assert isinstance(layer.form, Convolution)
    return Operator(
        kind="convolution",
        inputs=inputs * layer.form.groups,
        outputs=outputs,
        space=tuple(graph.sizes.in_one_sample(size) for size in value[2:]),
        groups=layer.form.groups,
        kernel=tuple(weight[2:]),
        stride=layer.form.stride,
        padding=layer.form.padding,
        dilation=layer.form.dilation,
    )


def _holds(
    labelling: Labelling, layer: LinearLayer, operator: Operator, weight: Value
) -> Iterator[Hold]:
    """Rows of the weight are outputs, its summed dimension is inputs of each convolution group."""
    outputs, inputs = weight.dims[1 - layer.summed], weight.dims[layer.summed]
    groups = operator.groups
    for group, rows in _by_group(labelling, inputs):
        yield Hold(group=group, side="inputs", rows=rows * groups)
    for group, rows in _by_group(labelling, outputs):
        side: Side = "outputs"
        if groups > 1 and _is_whole_groups(labelling, outputs, group, groups):
            side, rows = "groups", rows // (operator.outputs // groups)
        yield Hold(group=group, side=side, rows=rows)


def _by_group(labelling: Labelling, labels: Labels) -> list[tuple[int, int]]:
    """Groups along a dimension, and in how many of its rows each has a unit."""
    rows = labelling.rows(labels)
    if rows is None:
        return []
    groups = labelling.group_of[rows]
    return [
        (group, int((groups == group).any(axis=1).sum()))
        for group in np.unique(groups[groups >= 0]).tolist()
    ]


def _is_whole_groups(labelling: Labelling, labels: Labels, group: int, groups: int) -> bool:
    """Whether the group's units are convolution groups: the same for all outputs of one."""
    rows = labelling.rows(labels)
    assert rows is not None
    column = next(c for c in rows.T if (labelling.group_of[c] == group).any())
    blocks = column.reshape(groups, -1)
    return bool((blocks == blocks[:, :1]).all())
