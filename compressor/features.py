"""Which values inside a network a student can be held to, and both networks' values there.

In: graphs.  Out: node names, and networks that answer with logits and those nodes' values.  Knows
nothing of losses.  Teacher and student are one program of two widths, so a node of one is a node of
the other and only the kept rows must be picked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from compressor.errors import DefectError, OptionError
from compressor.evaluation import logits_of
from compressor.graphs import Graph
from compressor.objectives import kept_rows

aten = torch.ops.aten
# Values worth comparing: what an activation or a residual addition gives, not a view of it.
_ENDS = frozenset(
    {
        aten.relu.default,
        aten.relu_.default,
        aten.hardtanh.default,
        aten.hardtanh_.default,
        aten.silu.default,
        aten.silu_.default,
        aten.hardswish.default,
        aten.hardswish_.default,
        aten.gelu.default,
        aten.add.Tensor,
        aten.add_.Tensor,
        aten.cat.default,
    }
)

# Layers, and the place of their input.
_LAYERS: Mapping[object, int] = {
    aten.linear.default: 0,
    aten.conv1d.default: 0,
    aten.conv2d.default: 0,
    aten.conv3d.default: 0,
    aten.addmm.default: 1,
    aten.mm.default: 0,
    aten.matmul.default: 0,
}
_PRODUCTS = frozenset({aten.addmm.default, aten.mm.default, aten.matmul.default})
_TURNS = frozenset({aten.t.default, aten.transpose.int, aten.permute.default})
_DROPOUTS = frozenset(
    {
        aten.dropout.default,
        aten.dropout_.default,
        aten.feature_dropout.default,
        aten.feature_dropout_.default,
    }
)


def stage_nodes(graph: Graph, most: int = 4) -> tuple[str, ...]:
    """The last activation at each resolution, the deepest ``most`` of them, in the graph's order.

    A network with one resolution throughout (a transformer) gives ``most`` evenly spaced nodes.
    An empty tuple where the graph has no such value.
    """
    by_resolution: dict[tuple[int, ...], list[str]] = {}
    for node in graph.program.graph.nodes:
        shape = node.meta.get("shape")
        if node.target not in _ENDS or not isinstance(shape, tuple) or len(shape) not in (3, 4):
            continue
        resolution = tuple(shape[2:]) if len(shape) == 4 else tuple(shape[1:2])
        if all(size == 1 for size in resolution):
            continue  # a pooled value: squeeze-and-excitation, or the logits' neighbour
        by_resolution.setdefault(resolution, []).append(node.name)
    if len(by_resolution) == 1:
        (names,) = by_resolution.values()
        places = range(1, most + 1)
        return tuple(dict.fromkeys(names[len(names) * k // most - 1] for k in places))
    return tuple(names[-1] for names in by_resolution.values())[-most:]


def representation_node(graph: Graph) -> str:
    """The node that the classifier reads: the last linear layer on the way to the output.

    A pooled feature, a class token.  Where dropout lies between, what it reads, as teacher and
    student would differ by chance.  Raises OptionError where there is no such layer, or it reads
    the network's input.
    """
    leading = set(_leading(graph))
    for node in reversed(list(graph.program.graph.nodes)):
        if node not in leading or node.target not in _LAYERS or not _has_weight(node):
            continue
        read = node.args[_LAYERS[node.target]]
        while isinstance(read, fx.Node) and read.target in _DROPOUTS:
            read = read.args[0]
        if isinstance(read, fx.Node) and read.op == "call_function":
            return read.name
        break
    raise OptionError(
        f"{graph.architecture} has no representation: no linear layer with something before it "
        "leads to its output; compare logits, or name a node to observe"
    )


def _leading(graph: Graph) -> Iterator[fx.Node]:
    """Nodes that the (first) output depends on."""
    output = next(iter(graph.program.graph.find_nodes(op="output")))
    waiting, seen = output.all_input_nodes[:1], set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(node.all_input_nodes)
            yield node


def _has_weight(node: fx.Node) -> bool:
    """Activations are multiplied with activations too: a layer's other side is stored."""
    if node.target not in _PRODUCTS:
        return True
    side = node.args[_LAYERS[node.target] + 1]
    while isinstance(side, fx.Node) and side.target in _TURNS:
        side = side.args[0]
    return isinstance(side, fx.Node) and side.op == "get_attr"


class Observed(nn.Module):
    """A graph as a module that gives (logits, values of the observed nodes).

    ``kept`` cuts those values to the rows a student kept.  Make it after the graph was placed and
    its mode set: both are fixed in the observing forward.
    """

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[str],
        kept: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
    ) -> None:
        super().__init__()
        present = {node.name for node in graph.program.graph.nodes}
        missing = [name for name in nodes if name not in present]
        if missing:
            raise OptionError(
                f"no node {missing[0]!r} in {graph.architecture}: observe nodes of its graph, such "
                f"as {', '.join(stage_nodes(graph, 2)) or 'its last activation'}"
            )
        self.graph = graph
        self._nodes = tuple(nodes)
        self._kept = kept or {}
        self._forward = graph.observe(self._nodes) if self._nodes else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self._forward is None:
            return logits_of(self.graph(pixels)), ()
        output, values = self._forward(pixels)
        pairs = zip(self._nodes, values, strict=True)
        cut = tuple(kept_rows(value, self._kept.get(name, {})) for name, value in pairs)
        return logits_of(output), cut


def observed_graph(network: object) -> Graph:
    """The graph whose answers an ``Observed`` gives, whatever wraps it to train in parallel.

    For lessons that look at the weights that are being trained.
    """
    while not isinstance(network, Observed):
        if not isinstance(network, nn.Module) or not hasattr(network, "module"):
            raise DefectError(f"{type(network).__name__} is no observed graph")
        network = network.module
    return network.graph
