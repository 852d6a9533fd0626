"""Who reads each group's units, and what they read: means and variances of their inputs.

Comes in: a graph, its analysis, inputs.  Goes out: for every group its ``Reader``s, the linear
layers whose weight has columns for the group's units.  Criteria that ask what is lost *after* the
readers are refitted start here.  Knows nothing of students or budgets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.equations import LinearLayer, find_layer, pick_places
from compressor.graphs import Graph
from compressor.labelling import Labelling, label
from compressor.moments import means, products
from compressor.scoring import members
from compressor.stepping import Stepper
from compressor.types import Analysis

WIDE = 1536  # inputs from which on taps of a kernel are looked at one by one
WIDEST = 6144  # rows from which on every input is looked at by itself
FEWEST_ROWS, ROWS_PER_INPUT = 20_000, 5

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What enters a layer, over all rows, in blocks that are taken as independent.

    ``variance`` (blocks, inputs, inputs) of products about the means, or (blocks, inputs) where
    each input is a block of its own; ``mean`` (blocks, inputs).  A block is a group of the layer,
    or one tap of its kernel in a group (``taps`` of them): then its inputs are the channels under
    that tap.
    """

    layer: LinearLayer
    variance: Tensor
    mean: Tensor
    taps: int  # blocks that a group is cut into

    def blocks(self, matrix: Tensor) -> Tensor:
        """The layer's matrix (groups, inputs, outputs) cut into these blocks."""
        groups, inputs, outputs = matrix.shape
        parts = matrix.reshape(groups, inputs // self.taps, self.taps, outputs)
        return parts.transpose(1, 2).reshape(groups * self.taps, -1, outputs)

    def whole(self, blocks: Tensor, groups: int) -> Tensor:
        """The inverse of ``blocks``."""
        parts = blocks.reshape(groups, self.taps, *blocks.shape[1:])
        return parts.transpose(1, 2).reshape(groups, -1, blocks.shape[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """``columns[u]``: inputs of a block, (k,), that hold unit ``u`` of the group."""

    inputs: Inputs
    columns: tuple[Integers, ...]


def read_inputs(graph: Graph, batches: Iterable[Tensor], seed: int = 0) -> dict[str, Inputs]:
    """Weight's name -> what enters its layer, for every linear layer of the graph."""
    generator = torch.Generator().manual_seed(seed)
    pieces = tuple(batches)
    sums: dict[str, _Sums] = {}
    with torch.no_grad():
        for piece in pieces:
            run = Stepper(graph, (piece,))
            for node in run.nodes:
                output = run.step(node)
                layer = find_layer(node)
                if layer is not None:
                    shape = graph.tensors[layer.weight].shape
                    picked = _pick(graph, layer, output, len(pieces), generator)
                    rows = layer.form.rows(run.values[layer.value], shape, picked)
                    found = _sum(layer, rows, layer.form.taps(shape))
                    before = sums.get(layer.weight)
                    sums[layer.weight] = found if before is None else before.plus(found)
                run.release(node)
    return {name: found.inputs for name, found in sums.items()}


def _pick(
    graph: Graph, layer: LinearLayer, output: Tensor, pieces: int, generator: torch.Generator
) -> Tensor:
    width = layer.form.matrix(graph.tensors[layer.weight]).shape[1]
    wanted = max(FEWEST_ROWS, ROWS_PER_INPUT * width)
    return pick_places(layer.form, output, -(-wanted // pieces), generator)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """``inputs`` of some ``rows``, to be made those of more."""

    inputs: Inputs
    rows: int

    def plus(self, other: _Sums) -> _Sums:
        one, two = self.inputs, other.inputs
        share = other.rows / (self.rows + other.rows)
        apart = two.mean - one.mean
        between = apart.square() if one.variance.ndim == 2 else apart[:, :, None] * apart[:, None]
        inside = (1 - share) * one.variance + share * two.variance
        variance = inside + share * (1 - share) * between
        joined = replace(one, variance=variance, mean=one.mean + share * apart)
        return _Sums(inputs=joined, rows=self.rows + other.rows)


def _sum(layer: LinearLayer, rows: Tensor, taps: int) -> _Sums:
    groups, count, width = rows.shape
    cut = taps if width > WIDE else 1
    blocks = rows.reshape(groups, count, width // cut, cut).permute(0, 3, 1, 2).flatten(0, 1)
    mean = means(blocks)
    apart = blocks - mean.to(blocks.dtype)
    alone = blocks.shape[2] > WIDEST
    squares = apart.double().square().sum(dim=1) if alone else products(apart, apart)
    inputs = Inputs(layer=layer, variance=squares / count, mean=mean[:, 0], taps=cut)
    return _Sums(inputs=inputs, rows=count)


def find_readers(
    graph: Graph, analysis: Analysis, inputs: Mapping[str, Inputs]
) -> tuple[tuple[Reader, ...], ...]:
    """The readers of every group, in the analysis's order.

    None where no linear layer reads it, or something else does as well (a layer that is called
    twice, a recurrent one): what the readers lose would not be all that is lost.
    """
    labelling = label(graph)
    found: list[list[Reader]] = [[] for _ in analysis.groups]
    for item in labelling.stored:
        known = next((inputs[n] for n in (item.name, *item.aliases) if n in inputs), None)
        if known is None or item.aliases or not bool(known.variance.isfinite().all()):
            continue  # of layers whose inputs are no numbers nothing can be said
        rows = labelling.rows(item.dims[known.layer.summed])
        if rows is not None:
            shape = graph.tensors[item.name].shape
            for group, columns in _columns(labelling, rows, known, shape).items():
                found[group].append(Reader(inputs=known, columns=columns))
    for group in _read_by_others(labelling, found):
        found[group].clear()
    return tuple(tuple(readers) for readers in found)


def _read_by_others(labelling: Labelling, found: Sequence[Sequence[Reader]]) -> set[int]:
    """Groups that a parameter reads which is not the weight of one of their readers."""
    others: set[int] = set()
    for item, dim, _ in members(labelling, ("reads",)):
        rows = labelling.rows(item.dims[dim])
        assert rows is not None
        for group in set(labelling.group_of[rows[rows > 0]].tolist()):
            layers = [reader.inputs.layer for reader in found[group]]
            if (item.name, dim) not in {(layer.weight, layer.summed) for layer in layers}:
                others.add(group)
    return others


def _columns(
    labelling: Labelling, rows: Integers, inputs: Inputs, shape: torch.Size
) -> dict[int, tuple[Integers, ...]]:
    """Group -> a block's inputs that hold each of its units; groups that are read whole, and whose
    units are read alike."""
    form = inputs.layer.form
    each = form.taps(shape) // inputs.taps
    held: dict[int, set[int]] = {}
    for row, units in enumerate(rows):
        for unit in set(units.tolist()) - {0}:
            held.setdefault(unit, set()).add(row)
    found = {}
    for group in {int(labelling.group_of[unit]) for unit in held}:
        units = np.flatnonzero(labelling.group_of == group).tolist()
        places = [sorted({form.place(row, shape) for row in held.get(u, ())}) for u in units]
        read = {len(held.get(unit, ())) for unit in units}
        if len(read) == 1 and read == {form.sharing * len(places[0])}:
            found[group] = tuple(
                (np.array(own)[:, None] * each + np.arange(each)).reshape(-1) for own in places
            )
    return found
