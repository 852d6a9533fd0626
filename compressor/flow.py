"""A graph thinned to what a picture shows: layers, joins, and what flows between them.

Comes in: a ``Graph`` and the names of nodes that freeze something.  Goes out: a ``Flow`` of stops
with their depth, plain values.  Knows nothing of groups or of how it is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import fx, nn

from compressor.graphs import Graph

Kind = Literal["layer", "join", "operator", "input", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A place in the picture.

    ``layer``: a call that uses trained parameters; ``join``: a call on several values;
    ``operator``: a call that freezes something and is neither.  ``depth`` is the longest path from
    an input, in stops.
    """

    kind: Kind
    node: str
    op: str  # "conv2d"
    where: str
    source: str
    parameters: tuple[str, ...]  # trained first
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Stops in the order they are computed; edges are pairs of their places, (from, to)."""

    stops: tuple[Stop, ...]
    edges: tuple[tuple[int, int], ...]


T = TypeVar("T")


def thin(graph: Graph, freezers: Collection[str]) -> Flow:
    """Keep layers, joins, inputs, outputs and the nodes named in ``freezers``."""
    tensors = graph.tensors
    stops: list[Stop] = []
    edges: list[tuple[int, int]] = []
    sources: dict[fx.Node, tuple[int, ...]] = {}  # node -> the stops whose values it holds
    stored: dict[fx.Node, tuple[str, ...]] = {}  # node made of parameters alone -> their names
    for node in graph.program.graph.nodes:
        if node.op == "get_attr":
            stored[node] = (str(node.target),)
            continue
        if node.op not in ("placeholder", "output") and not _is_tensor(node):
            continue
        above = _union(sources.get(argument, ()) for argument in node.all_input_nodes)
        names = _union(stored.get(argument, ()) for argument in node.all_input_nodes)
        if node.op == "call_function" and (not above or _is_blank(node)):
            stored[node] = names
            continue
        trained = [name for name in names if isinstance(tensors.get(name), nn.Parameter)]
        kind = _kind(node, above, trained, freezers)
        if kind is None:
            sources[node] = above
            continue
        edges.extend((place, len(stops)) for place in above)
        sources[node] = (len(stops),)
        stops.append(
            Stop(
                kind=kind,
                node=node.name,
                op=_operator(node),
                where=node.meta.get("where", ""),
                source=node.meta.get("source", ""),
                parameters=(*trained, *(name for name in names if name not in trained)),
                depth=1 + max((stops[place].depth for place in above), default=-1),
            )
        )
    return Flow(stops=tuple(stops), edges=tuple(edges))


def _kind(
    node: fx.Node, above: tuple[int, ...], trained: list[str], freezers: Collection[str]
) -> Kind | None:
    if node.op == "placeholder":
        return "input" if node.users else None
    if node.op == "output":
        return "output"
    if trained:
        return "layer"
    if len(above) > 1:
        return "join"
    return "operator" if node.name in freezers else None


def _is_tensor(node: fx.Node) -> bool:
    """Sizes and assertions carry no activations."""
    return isinstance(node.meta.get("shape"), tuple)


def _is_blank(node: fx.Node) -> bool:
    """Made in the size of another value, not from it: ``x.new_zeros``, ``zeros_like``."""
    name = _operator(node)
    return name.startswith("new_") or name.endswith("_like")


def _operator(node: fx.Node) -> str:
    """``aten.add.Tensor`` -> ``add``."""
    parts = str(node.target).split(".")
    return parts[1].rstrip("_") if len(parts) > 1 else parts[0]


def _union(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(entry for part in parts for entry in part))
