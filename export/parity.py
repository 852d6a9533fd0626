"""An ONNX file against the torch graph it came from, on real inputs, in ONNX Runtime.

Comes in: a file, a graph, preprocessed inputs.  Goes out: ``Parity``, or ParityError.  Knows
nothing of how the file was written.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from compressor.errors import DefectError, ParityError
from export.deployables import Parity
from export.prediction import (
    TOLERANCE,
    Array,
    Run,
    agreement,
    open_run,
    relative_error,
)


def check_parity(
    path: Path,
    graph: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    batches: tuple[int, ...] = (1, 2, 5),
    *,
    tolerance: float | None = TOLERANCE,
    run: Run | None = None,
    threads: int = 0,
) -> Parity:
    """Run all ``inputs`` (samples, ...) through both, at every batch size in ``batches``.

    The first samples go at the given sizes in turn, the rest at the last one; where there are too
    few samples for that they are used again.  ``run``: what runs the file in place of ONNX Runtime.
    Raises ParityError that names file, batch and error where one output is further off than
    ``tolerance`` or not finite; without a tolerance the error is told, and must be finite.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else inputs
    given = tuple(one.detach().cpu() for one in given)
    run = run or open_run(path, threads=threads)
    reference = _reference(graph)
    wanted: list[list[Array]] = []
    got: list[list[Array]] = []
    sizes: list[int] = []
    for rows in _rows(len(given[0]), batches):
        part = tuple(one[rows] for one in given)
        wanted.append(_run_torch(reference, part))
        got.append(run(tuple(one.numpy() for one in part)))
        sizes.append(len(rows))
        if len(wanted[-1]) != len(got[-1]):
            raise ParityError(
                f"{path.name}: {len(got[-1])} outputs, but the graph has {len(wanted[-1])}"
            )
    largest = _compare(path.name, sizes, wanted, got, tolerance)
    first = np.concatenate([batch[0] for batch in wanted])
    return Parity(
        samples=len(given[0]),
        max_abs_error=largest[0],
        agreement=agreement(first, np.concatenate([batch[0] for batch in got])),
        max_relative_error=largest[1],
        tolerance=tolerance,
    )


def _compare(
    name: str,
    sizes: list[int],
    wanted: list[list[Array]],
    got: list[list[Array]],
    tolerance: float | None,
) -> tuple[float, float]:
    """Largest absolute and relative error over outputs and batches."""
    largest = (0.0, 0.0)
    for output in range(len(wanted[0])):
        scale = max(float(np.abs(batch[output]).max(initial=0.0)) for batch in wanted)
        if not np.isfinite(scale):
            raise DefectError(f"{name}: the torch graph itself gives values that are not finite")
        for size, one, other in zip(sizes, wanted, got, strict=True):
            error, relative = relative_error(one[output], other[output], scale)
            # Written so that a NaN, which compares false with everything, is refused.
            if tolerance is None and not np.isfinite(relative):
                raise ParityError(f"{name}: at batch {size} output {output} is not finite")
            if tolerance is not None and not relative <= tolerance:
                raise ParityError(
                    f"{name}: at batch {size} output {output} differs from torch by {error:.2e} "
                    f"({relative:.2e} relative, tolerance {tolerance:.0e})"
                )
            largest = (max(largest[0], error), max(largest[1], relative))
    return largest


def _rows(samples: int, batches: tuple[int, ...]) -> Iterator[Tensor]:
    if not samples:
        raise ParityError("parity needs at least one input; give real samples")
    start = 0
    for size in batches:
        yield torch.arange(start, start + size) % samples
        start += size
    while start < samples:
        yield torch.arange(start, min(start + batches[-1], samples))
        start += batches[-1]


def _reference(graph: nn.Module) -> nn.Module:
    """The graph in eval mode on the CPU; a copy where it is not already, inputs never change."""
    on_cpu = all(p.device.type == "cpu" for p in (*graph.parameters(), *graph.buffers()))
    if on_cpu and not graph.training:
        return graph
    return copy.deepcopy(graph).cpu().eval()


@torch.no_grad()
def _run_torch(graph: nn.Module, inputs: tuple[Tensor, ...]) -> list[Array]:
    leaves = pytree.tree_leaves(graph(*inputs))
    return [leaf.float().numpy() for leaf in leaves if isinstance(leaf, Tensor)]
