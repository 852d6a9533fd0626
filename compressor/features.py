"""Which values inside a network a student can be held to, and both networks' values there.

In: graphs.  Out: node names, and networks that answer with logits and those nodes' values.  Knows
nothing of losses.  Teacher and student are one program of two widths, so a node of one is a node of
the other and only the kept rows must be picked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor.errors import OptionError
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
