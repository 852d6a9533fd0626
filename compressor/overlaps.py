"""Stored tensors that share memory: one as a window of another.

Comes in: pairs of tensors.  Goes out: where in the other's dimensions a view lies, and the view
taken anew from a tensor whose rows were cut.  Knows nothing of labels or graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """A view of another tensor.

    ``spans``: for each dimension of the view the other's dimension and the first row in it, None
    for a dimension of size one.  ``picked``: the other's remaining dimensions, each with its row.
    """

    spans: tuple[tuple[int, int] | None, ...]
    picked: tuple[tuple[int, int], ...]


def overlap(a: Tensor, b: Tensor) -> bool:
    """Whether the stretches of one memory that two tensors cover meet."""
    if a.dtype != b.dtype:
        return True  # places are counted in elements
    return int(a.storage_offset()) < _end(b) and int(b.storage_offset()) < _end(a)


def reach(tensor: Tensor) -> int:
    """Elements of its memory from the first to the last of a tensor that is not empty."""
    return sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1


def _end(tensor: Tensor) -> int:
    return int(tensor.storage_offset()) + reach(tensor)


def find_window(view: Tensor, whole: Tensor) -> Window | None:
    """Where the view lies in the whole; None unless it is whole runs of rows, one after another."""
    if view.dtype != whole.dtype:
        return None
    sizes, strides = whole.shape, whole.stride()
    dims = sorted((d for d in range(whole.ndim) if sizes[d] > 1), key=lambda d: -strides[d])
    rest = int(view.storage_offset()) - int(whole.storage_offset())
    if rest < 0:
        return None
    firsts: dict[int, int] = {}
    reach = strides[dims[0]] * sizes[dims[0]] if dims else 1
    for dim in dims:
        if strides[dim] * sizes[dim] > reach:
            return None  # the whole's own dimensions run into one another
        reach = strides[dim]
        firsts[dim], rest = divmod(rest, strides[dim])
    by_stride = {strides[dim]: dim for dim in dims}
    spans: list[tuple[int, int] | None] = []
    for size, stride in zip(view.shape, view.stride(), strict=True):
        found = by_stride.pop(stride, None) if size > 1 else None
        if size > 1 and (found is None or firsts[found] + size > sizes[found]):
            return None
        spans.append(None if found is None else (found, firsts[found]))
    if rest or any(first >= sizes[dim] for dim, first in firsts.items()):
        return None
    return Window(tuple(spans), tuple((dim, firsts[dim]) for dim in by_stride.values()))


def take(
    whole: Tensor, window: Window, shape: tuple[int, ...], place: Callable[[int, int], int]
) -> Tensor:
    """The view of this shape; row ``r`` of dimension ``d`` of the whole is at ``place(d, r)``.

    Shares the whole's memory.
    """
    view = whole.detach()
    for dim, row in window.picked:
        view = view.narrow(dim, place(dim, row), 1)
    order = []
    for span, size in zip(window.spans, shape, strict=True):
        if span is not None:
            dim, first = span
            view = view.narrow(dim, place(dim, first), size)
            order.append(dim)
    others = [dim for dim in range(view.ndim) if dim not in order]
    view = view.permute(*others, *order)[(0,) * len(others)]
    for position, span in enumerate(window.spans):
        if span is None:
            view = view.unsqueeze(position)
    return view
