"""What a network gives: the names and sizes of its outputs, and what they are taken for.

Comes in: an ONNX file, names of classes.  Goes out: ``Outputs``.  Nobody tells the task of a
network: it is read off the sizes, so whoever shows it says that it is taken for it.  Knows nothing
of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

Task = Literal["image-classification", "image-segmentation"]  # as Hugging Face names them
Sizes = tuple[int | None, ...]  # of an output after its batch; None is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    name: str
    sizes: Sizes

    @property
    def shape(self) -> str:
        """ "(batch, 10)"."""
        return f"({', '.join(['batch', *('any' if n is None else str(n) for n in self.sizes)])})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """All outputs of a file in their order; ``task`` None: not known."""

    each: tuple[Output, ...]
    task: Task | None


def read_outputs(path: Path, labels: tuple[str, ...] | None) -> Outputs:
    """What the file at ``path``, one that this package wrote, says of its outputs."""
    graph = onnx.load(str(path), load_external_data=False).graph
    each = tuple(Output(name=value.name, sizes=_sizes(value)) for value in graph.output)
    return Outputs(each=each, task=task_of([one.sizes for one in each], labels))


def task_of(sizes: Sequence[Sizes], labels: tuple[str, ...] | None) -> Task | None:
    """What a network of outputs of these sizes does, told by its first one.

    Of several outputs the first is class scores only where every class of it has a name.
    """
    first = sizes[0] if sizes else ()
    if len(sizes) > 1 and (labels is None or first != (len(labels),)):
        return None
    match first:
        case [int(classes)] if classes > 1:
            return "image-classification"
        case [int(classes), _, _] if classes > 1:
            return "image-segmentation"
    return None


def _sizes(value: onnx.ValueInfoProto) -> Sizes:
    rest = value.type.tensor_type.shape.dim[1:]
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in rest)
