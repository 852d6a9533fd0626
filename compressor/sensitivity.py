"""Sensitivity: what the network's output loses when one group alone is cut, measured.

Comes in: scores that rank units inside each group, a graph, inputs.  Goes out: scores in one common
measure: a unit's score is what its going adds to the squared distance between the outputs, as a
share of their variance.  Each group is cut to a few widths by itself, its readers refitted in
closed form, and the outputs compared; between those widths the course of the group's own scores is
followed.  Distances of groups cut together are taken to add up.  Knows nothing of budgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from compressor.criteria import ReaderCriterion
from compressor.errors import OptionError
from compressor.evaluation import logits_of
from compressor.graphs import Graph
from compressor.moments import factor, ridged
from compressor.planning import plan_keeping
from compressor.readers import Reader, find_readers, read_inputs
from compressor.removal import mask
from compressor.scoring import Batches, Criterion
from compressor.successors import statistics_of, way_from
from compressor.types import Analysis, Scores

SHARES = (0.25, 0.5, 0.75)  # of a group's units that go
MACS = 1.5e12  # spent on measuring, about; between the fewest and the most inputs
FEWEST, MOST = 8, 192
PIECE = 64
LEAST, FAR = 1e-9, 1e9  # distances that cannot be told from none; where there is no number

Floats = NDArray[np.float64]


def measured(criterion: Criterion) -> Criterion:
    """``criterion`` inside each group, measured against each other.  Needs batches."""

    def measuring(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        if batches is None:
            raise OptionError("measuring what groups are worth needs data: give --data")
        pieces = list(batches)
        inputs = [given for given, _ in pieces]
        readers = find_readers(graph, analysis, read_inputs(graph, inputs))
        if isinstance(criterion, ReaderCriterion):
            scores = criterion.of_readers(graph, analysis, readers)
        else:
            scores = criterion(graph, analysis, pieces)
        return measure(graph, analysis, scores, readers, torch.cat(inputs))

    measuring.__name__ = getattr(criterion, "__name__", "criterion")
    return measuring


def measure(
    graph: Graph,
    analysis: Analysis,
    scores: Scores,
    readers: Sequence[Sequence[Reader]],
    inputs: Tensor,
) -> Scores:
    """Scores in the common measure; inside a group their order stays."""
    effort = _effort(analysis)
    probe = Probe(graph, analysis, inputs[: effort.inputs])
    values = tuple(
        tuple(_group(probe, place, readers[place], np.array(own), effort.shares).tolist())
        for place, own in enumerate(scores.values)
    )
    return Scores(criterion=scores.criterion, fingerprint=analysis.fingerprint, values=values)


@dataclass(frozen=True, slots=True)
class _Effort:
    """How many inputs are compared, at which shares of every group."""

    inputs: int
    shares: tuple[float, ...]


def _effort(analysis: Analysis) -> _Effort:
    """What ``MACS`` allows: fewer inputs first, then one width for a group."""
    for shares in (SHARES, (0.5,)):
        widths = sum(min(len(shares), group.units - 1) for group in analysis.groups)
        affordable = int(MACS / max(1, analysis.model.macs * max(1, widths)))
        if affordable >= FEWEST:
            break
    return _Effort(inputs=min(max(affordable, FEWEST), MOST), shares=shares)


def _group(
    probe: Probe, place: int, readers: Sequence[Reader], own: Floats, shares: Sequence[float]
) -> Floats:
    order = np.argsort(own, kind="stable")  # cheapest first
    course = np.cumsum(np.maximum(own[order], 0.0)) + LEAST * np.arange(1, len(own) + 1)
    counts = sorted({max(1, round(share * len(own))) for share in shares} - {len(own)})
    found = [probe.distance(place, order[:count], readers) for count in counts]
    distances = _between(course, counts, np.maximum.accumulate([max(d, LEAST) for d in found]))
    added = isotonic_regression(np.diff(distances, prepend=0.0)).x
    scores = np.empty(len(own))
    scores[order] = added * (1 + 1e-9 * np.arange(len(own)))  # equal ones keep the order
    return scores


def _between(course: Floats, counts: Sequence[int], distances: Floats) -> Floats:
    """Distance after each unit: straight lines over the logarithm of the course.

    Outside of what was measured it follows the course itself, at the last slope where that is
    steeper.
    """
    if not counts:
        return course
    at = np.log(course[np.array(counts) - 1])
    known = np.log(distances)
    along = np.log(course)
    found = np.interp(along, at, known)
    before, after = along < at[0], along > at[-1]
    steps = np.diff(known) / np.maximum(np.diff(at), 1e-3)
    found[before] = known[0] + along[before] - at[0]
    found[after] = known[-1] + (along[after] - at[-1]) * max(1.0, float(steps[-1:].sum()))
    return np.asarray(np.exp(found))


@dataclass(frozen=True, slots=True)
class _Kept:
    """Values of tensors as they were."""

    tensor: Tensor
    values: Tensor


class Probe:
    """A network of which one group at a time is cut, and its outputs compared with the whole's."""

    def __init__(self, graph: Graph, analysis: Analysis, inputs: Tensor) -> None:
        self._graph, self._analysis = graph, analysis
        self._working = graph.copy().eval()
        self._pieces = inputs.split(PIECE)
        self._starts = np.cumsum([1, *(group.units for group in analysis.groups)])
        self._whole = self._answers(self._working)
        apart = self._whole - self._whole.mean(dim=0)
        self._spread = max(float(apart.square().sum()), 1e-300)

    @torch.no_grad()
    def distance(self, group: int, gone: NDArray[np.int64], readers: Sequence[Reader]) -> float:
        """Squared distance of the outputs without these units, as a share of their variance."""
        if readers:
            kept = [self._without(reader, gone) for reader in readers]
            answers = self._answers(self._working)
            for one in (entry for entries in kept for entry in entries):
                one.tensor.copy_(one.values)
        else:
            keep = np.ones(self._starts[-1], dtype=np.bool_)
            keep[self._starts[group] + gone] = False
            plan = plan_keeping(self._analysis, keep)
            answers = self._answers(mask(self._graph, self._analysis, plan))
        apart = float((answers - self._whole).square().sum()) / self._spread
        return apart if math.isfinite(apart) else FAR

    @torch.no_grad()
    def _answers(self, graph: Graph) -> Tensor:
        return torch.cat([logits_of(graph(piece)).double() for piece in self._pieces])

    @torch.no_grad()
    def _without(self, reader: Reader, gone: NDArray[np.int64]) -> list[_Kept]:
        """The reader refitted without the inputs of these units, and what it was before."""
        layer, tensors = reader.inputs.layer, self._working.tensors
        weight = tensors[layer.weight]
        norm = way_from(layer).norm
        shift = tensors[layer.bias] if layer.bias else None
        if shift is None and norm is not None:
            shift = statistics_of(norm, tensors).mean
        before = [_Kept(one, one.detach().clone()) for one in (weight, shift) if one is not None]
        matrix = layer.form.matrix(weight).double()
        blocks = reader.inputs.blocks(matrix)
        lost = torch.zeros(blocks.shape[1], dtype=torch.bool)
        lost[np.concatenate([reader.columns[unit] for unit in gone])] = True
        fitted, offsets = _refitted(reader, blocks, lost.to(blocks.device))
        offset = offsets.reshape(len(matrix), -1, matrix.shape[2]).sum(dim=1).reshape(-1)
        whole = reader.inputs.whole(fitted, len(matrix))
        weight.copy_(layer.form.weight(whole, weight.shape))
        if shift is not None:
            shift.add_(offset.to(shift.dtype) if layer.bias else -offset.to(shift.dtype))
        return before


def _refitted(reader: Reader, matrix: Tensor, lost: Tensor) -> tuple[Tensor, Tensor]:
    """The blocks without the lost inputs that are nearest to the whole ones, and their offsets."""
    variance, mean = reader.inputs.variance, reader.inputs.mean
    found = matrix.clone()
    found[:, lost] = 0
    if variance.ndim == 3:
        inside = variance[:, ~lost][:, :, ~lost]
        missing = variance[:, ~lost][:, :, lost] @ matrix[:, lost]
        found[:, ~lost] += torch.cholesky_solve(missing, factor(ridged(inside)))
    return found, (mean[:, None, :] @ (matrix - found))[:, 0]
