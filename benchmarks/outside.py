"""Weights that an ONNX file has outside of itself: whether they are there, and may be read.

In comes a model whose external data is not loaded; out comes nothing, or a LoadError.  A file may
name any place of the disk; one that leaves its own folder is refused, as the standard wants it
(onnx, docs/ExternalData.md).  Knows nothing of what the weights are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import LoadError


def require_weights(path: Path, model: Any) -> None:
    """``model``: the file at ``path``.  Raises LoadError for the first tensor that is not there."""
    for tensor in _tensors(model.graph):
        facts = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location != tensor.EXTERNAL:
            continue
        reason = _hindrance(path.parent, facts, _bytes(tensor))
        if reason is not None:
            raise LoadError(
                f"{path}: the weight {tensor.name!r} {reason}; copy it beside the file, or export "
                "it again"
            )


def _bytes(tensor: Any) -> int:
    """Of a tensor's values; numbers of less than a byte are two in one at least."""
    from onnx import helper

    try:
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        return 0
    return math.prod(tensor.dims) * item // (2 if item == 1 else 1)


def _hindrance(folder: Path, facts: Mapping[str, str], size: int) -> str | None:
    location = facts.get("location", "")
    file = folder / location
    if not location or Path(location).is_absolute() or not _inside(file, folder):
        return f"lies at {location!r}, which is not in the file's own folder"
    if not file.is_file():
        return f"lies in {location}, which is not there"
    try:
        offset, length = (int(facts.get(key, "0")) for key in ("offset", "length"))
    except ValueError:
        return f"lies in {location} at a place that is no number"
    if offset < 0 or length < 0 or offset + max(length, size) > file.stat().st_size:
        return f"is not whole: {location} ends before it does"
    return None


def _inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _tensors(graph: Any) -> Iterator[Any]:
    """Of the graph and of the graphs in its nodes' attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
