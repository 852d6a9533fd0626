"""Criteria that ask a group's readers: what they lose, as they are or after being refitted.

Comes in: a graph, its analysis, batches.  Goes out: ``Scores``.  Groups that no linear layer reads
(the width of queries and keys) are ranked by magnitude.  Knows nothing of budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.elimination import Regression, eliminate
from compressor.errors import OptionError
from compressor.graphs import Graph
from compressor.readers import Reader, find_readers, read_inputs
from compressor.scoring import Batches, Criterion, magnitude
from compressor.successors import statistics_of, way_from
from compressor.types import Analysis, Scores

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReaderCriterion:
    """A criterion that looks at a group's readers alone; who has them already gives them."""

    name: str
    of_group: Callable[[Graph, Sequence[Reader]], Floats]

    def __call__(self, graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        if batches is None:
            raise OptionError(
                f"the criterion {self.name} needs data: give --data, or use magnitude"
            )
        inputs = read_inputs(graph, (given for given, _ in batches))
        return self.of_readers(graph, analysis, find_readers(graph, analysis, inputs))

    def of_readers(
        self, graph: Graph, analysis: Analysis, readers: Sequence[Sequence[Reader]]
    ) -> Scores:
        """Scores from the readers of every group; by magnitude where a group has none."""
        otherwise = magnitude(graph, analysis).values
        values = []
        for own, plain in zip(readers, otherwise, strict=True):
            found = self.of_group(graph, own) if own else _shares(np.array(plain))
            values.append(tuple(found.tolist()))
        return Scores(criterion=self.name, fingerprint=analysis.fingerprint, values=tuple(values))


def random_order(seed: int) -> Criterion:
    """Scores drawn from a seed: what any other criterion must beat."""

    def criterion(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        generator = np.random.default_rng(seed)
        values = tuple(tuple(generator.random(g.units).tolist()) for g in analysis.groups)
        return Scores(criterion="random", fingerprint=analysis.fingerprint, values=values)

    criterion.__name__ = "random"
    return criterion


def _shares(magnitudes: Floats) -> Floats:
    squares = np.square(magnitudes)
    return np.asarray(squares / max(float(squares.sum()), 1e-300))


def _after_refitting(graph: Graph, readers: Sequence[Reader]) -> Floats:
    """What the readers' outputs lose when a unit goes and the readers are refitted.

    Units of a group are taken away one after the other (``elimination``); a unit's score is the
    error that its going added, never less than that of one that went before it.  Errors are shares
    of the variance of the readers' outputs, after the batch norm where one follows.
    """
    found = eliminate([_regression(graph, reader) for reader in readers])
    added = np.maximum.accumulate(np.diff(found.errors, prepend=0.0))
    scores = np.empty(len(added))
    # a hair more for each that goes later, so that equal scores keep the order
    scores[found.order] = added + 1e-12 * np.arange(len(added))
    return scores


def _as_they_are(graph: Graph, readers: Sequence[Reader]) -> Floats:
    """Norm of the weights that read a unit, times the norm of what they read there.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (Wanda), 2024,
    summed over the readers of the unit.
    """
    total = np.zeros(len(readers[0].columns))
    for reader in readers:
        own = reader.inputs.variance
        if own.ndim == 3:
            own = own.diagonal(dim1=-2, dim2=-1)
        second = own + reader.inputs.mean.square()
        strength = second * _scaled_matrix(graph, reader).square().sum(dim=2)  # (blocks, inputs)
        columns = torch.from_numpy(np.stack(reader.columns)).to(strength.device)
        squares = strength[:, columns].sum(dim=(0, 2)).cpu().numpy()
        total += np.sqrt(squares / max(float(strength.sum()), 1e-300))
    return total


def _regression(graph: Graph, reader: Reader) -> Regression:
    variance = reader.inputs.variance  # not the second moment: the offset makes up for the mean
    return Regression(
        variance=variance,
        matrix=_scaled_matrix(graph, reader),
        columns=torch.from_numpy(np.stack(reader.columns)).to(variance.device),
    )


def _scaled_matrix(graph: Graph, reader: Reader) -> Tensor:
    """(blocks, inputs, outputs), outputs as the batch norm after the layer scales them."""
    layer = reader.inputs.layer
    matrix = layer.form.matrix(graph.tensors[layer.weight].detach()).double()
    norm = way_from(layer).norm
    if norm is not None:
        slope = statistics_of(norm, graph.tensors).slope.detach()
        matrix = matrix * slope.reshape(len(matrix), 1, -1)
    return reader.inputs.blocks(matrix)


reconstruction = ReaderCriterion("reconstruction", _after_refitting)
activation = ReaderCriterion("activation", _as_they_are)
