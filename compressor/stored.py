"""What a graph stores: every parameter and buffer once, with fresh units for its dimensions.

Comes in: a ``Graph``.  Goes out: ``Stored`` values; tensors under several names are one, views of
another tensor keep its rows, tables of whole numbers go into the ``Record``.  Knows nothing of
operators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from compressor.graphs import Graph
from compressor.overlaps import Window, find_window, overlap
from compressor.rules import Record
from compressor.rules.calls import Dims


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter or buffer: its canonical name, and the other names of the same tensor."""

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    dims: Dims
    trained: bool
    view: tuple[str, Window] | None = None  # of a tensor named before, whose memory it shares


def label_stored(graph: Graph, record: Record) -> tuple[Stored, ...]:
    """Fresh units for every dimension of every parameter and buffer; tied tensors share them.

    What no node reads has none: it could be cut, but nothing would be gained.
    """
    names: dict[Any, list[str]] = {}
    tensors = graph.tensors
    read = {
        str(node.target) for node in graph.program.graph.find_nodes(op="get_attr") if node.users
    }
    for name, tensor in tensors.items():
        key = (
            tensor.untyped_storage().data_ptr(),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.storage_offset(),
            name if tensor.numel() == 0 else "",
        )
        names.setdefault(key, []).append(name)
    found = []
    for first, *others in names.values():
        shape = tuple(tensors[first].shape)
        whole = read.isdisjoint((first, *others))
        dims = tuple(None if size < 2 or whole else record.units.fresh(size) for size in shape)
        found.append(
            Stored(
                name=first,
                aliases=tuple(others),
                shape=shape,
                dims=dims,
                trained=isinstance(tensors[first], nn.Parameter),
            )
        )
    _follow_views(graph, record, found)
    for name, tensor in tensors.items():
        if tensor.dtype in (torch.int64, torch.int32) and tensor.ndim:
            record.tables[name] = tensor.detach().cpu().numpy().astype(np.int64)
    return tuple(found)


def _follow_views(graph: Graph, record: Record, found: list[Stored]) -> None:
    """Tensors that share memory without being the same: views keep the rows of what they view.

    What is not a window of another tensor freezes with it.
    """
    tensors = graph.tensors
    nodes = {str(node.target): node for node in graph.program.graph.find_nodes(op="get_attr")}
    shared: dict[int, list[int]] = {}
    for place, item in enumerate(found):
        if tensors[item.name].numel():
            memory = tensors[item.name].untyped_storage().data_ptr()
            shared.setdefault(memory, []).append(place)
    for places in shared.values():
        places.sort(key=lambda place: -tensors[found[place].name].numel())
        for number, place in enumerate(places):
            view = found[place]
            for other in places[:number]:
                whole = found[other]
                if not overlap(tensors[view.name], tensors[whole.name]):
                    continue
                window = find_window(tensors[view.name], tensors[whole.name])
                reason = record.reason(nodes[view.name], f"shares its memory with {whole.name}")
                if window is None:
                    for labels in (*view.dims, *whole.dims):
                        record.units.freeze(labels, reason)
                    continue
                _unite_view(record, view, whole, window, reason)
                if view.view is None and whole.view is None:
                    view = found[place] = replace(view, view=(whole.name, window))


def _unite_view(record: Record, view: Stored, whole: Stored, window: Window, reason: int) -> None:
    for labels, span in zip(view.dims, window.spans, strict=True):
        if span is not None:
            dim, first = span
            own = whole.dims[dim]
            seen = None if own is None or labels is None else own[first : first + len(labels)]
            record.units.unify(labels, seen, reason)
    for dim, row in window.picked:
        own = whole.dims[dim]
        record.units.freeze(None if own is None else own[row : row + 1], reason)
