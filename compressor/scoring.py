"""Scores: one number per unit by a criterion; units with low scores go first.

Comes in: a ``Graph``, its ``Analysis``, for some criteria batches of inputs and labels.  Goes out:
``Scores``.  A criterion is a function ``(graph, analysis, batches) -> Scores``.  Knows nothing of
budgets or costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.nn import functional as F

from compressor.carriers import bound
from compressor.equations import find_layer
from compressor.errors import OptionError, PlanError
from compressor.evaluation import logits_of
from compressor.graphs import Graph
from compressor.labelling import Labelling, Stored, label
from compressor.labels import Matrix
from compressor.memory import free, is_out_of_memory
from compressor.successors import gives_channels
from compressor.types import Analysis, Role, Scores

Batch = tuple[Tensor, Tensor | None]
Batches = Iterable[Batch]
Criterion = Callable[[Graph, Analysis, "Batches | None"], Scores]
ScoringObjective = Callable[[Tensor, Tensor | None], Tensor]  # outputs, labels
ScoringLoss = Callable[[Tensor, Tensor | None], Tensor]  # inputs, labels
Floats = NDArray[np.float64]

aten = torch.ops.aten


def magnitude(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
    """Norm of the weights that write and read a unit, each weight's norms relative to their mean.

    The norm of a weight in front of a batch norm is that of the filter after it: |gamma| / sigma
    times the filter's (Li et al. 2017 with the scale of Liu et al. 2017).  No data needed.
    """
    labelling = label(graph)
    scaled = as_normalised(graph)
    tensors = graph.tensors
    parts: list[Floats] = []
    for item, dim, role in members(labelling, ("writes", "reads")):
        rows = labelling.rows(item.dims[dim])
        assert rows is not None
        weight = tensors[item.name].detach().double()
        if role == "writes":
            weight = scaled.get(item.name, weight)
        squares = _row_sums(weight.square(), dim)
        parts.append(np.sqrt(_per_unit(squares.cpu().numpy(), rows, len(labelling.group_of))))
    return _mean_of_members("magnitude", analysis, labelling, parts)


def taylor(objective: ScoringObjective) -> Criterion:
    """First-order change of ``objective`` when a unit goes, read on the consumer side.

    |sum over the slices that read the unit of weight x gradient|, averaged over batches (Molchanov
    et al. 2019; why the consumer side: in front of a train-mode batch norm the writer's sum is zero
    by scale invariance).  The graph runs in evaluation mode.
    """

    def make_loss(working: Graph) -> ScoringLoss:
        return lambda inputs, labels: objective(logits_of(working(inputs)), labels)

    return loss_change("taylor", make_loss)


def loss_change(name: str, make_loss: Callable[[Graph], ScoringLoss]) -> Criterion:
    """``taylor`` of a loss that may look at more of the network than its outputs.

    ``make_loss`` is given the graph whose weights the loss must depend on.
    """

    def criterion(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        if batches is None:
            raise OptionError(f"the criterion {name} needs data: give --data, or use magnitude")
        slices = reading_slices(graph)
        total = np.zeros(slices.units)
        working = graph.copy()
        tensors = working.tensors
        wanted = {item: tensors[item].requires_grad_(True) for item in slices.names}
        loss = make_loss(working)
        for inputs, labels in batches:
            slopes = _slopes(loss, list(wanted.values()), inputs, labels)
            pairs = zip(wanted.items(), slopes, strict=True)
            total += np.abs(slices.sums({item: w.detach() * slope for (item, w), slope in pairs}))
        return slices.scores(name, analysis, total)

    criterion.__name__ = name
    return criterion


def _slopes(
    loss: ScoringLoss, of: Sequence[Tensor], inputs: Tensor, labels: Tensor | None
) -> list[Tensor]:
    """The gradient of a batch's loss; where memory does not suffice, the mean of its halves'.

    Equal for losses that are means over samples, as the graph evaluates.
    """
    try:
        return list(torch.autograd.grad(loss(inputs, labels), of, materialize_grads=True))
    except Exception as error:
        if not is_out_of_memory(error) or len(inputs) == 1:
            raise
    free()
    half = len(inputs) // 2
    first = _slopes(loss, of, inputs[:half], None if labels is None else labels[:half])
    second = _slopes(loss, of, inputs[half:], None if labels is None else labels[half:])
    share = half / len(inputs)
    return [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]


def answer_objective(outputs: Tensor, labels: Tensor | None) -> Tensor:
    """Cross-entropy with the labels; without labels, with the network's own answers.

    ``outputs`` (n, ..., classes).  Where there are no classes: the mean of the squares, which
    changes when the outputs do.
    """
    if outputs.ndim < 2 or outputs.shape[-1] == 1:
        return outputs.square().mean()
    own = outputs.argmax(dim=-1).detach()
    answers = labels if labels is not None and outputs.ndim == 2 else own
    return F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), answers.reshape(-1))


def score(
    graph: Graph,
    analysis: Analysis,
    criterion: Criterion = magnitude,
    batches: Batches | None = None,
) -> Scores:
    """Scores of every unit of every group.  Raises PlanError for another network's analysis."""
    if graph.fingerprint != analysis.fingerprint:
        raise PlanError(f"the analysis is of another structure than {graph.architecture}")
    return criterion(graph, analysis, batches)


# -- slices ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices of trained parameters that stand for units.

    ``members``: a parameter, a dimension, and for which units (by global number) it counts.
    """

    labelling: Labelling
    members: tuple[tuple[Stored, int, NDArray[np.bool_]], ...]

    @property
    def units(self) -> int:
        """Global numbers, 0 ("always kept") among them."""
        return len(self.labelling.group_of)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, each once."""
        return tuple(dict.fromkeys(item.name for item, _, _ in self.members))

    def sums(self, elements: Mapping[str, Tensor]) -> Floats:
        """For every unit the sum of ``elements`` (by parameter) over its slices, in float64."""
        total = np.zeros(self.units)
        for item, dim, counted in self.members:
            rows = self.labelling.rows(item.dims[dim])
            assert rows is not None
            found = _row_sums(elements[item.name].double(), dim).cpu().numpy()
            total += counted * _per_unit(found, rows, self.units)
        return total

    def scores(self, criterion: str, analysis: Analysis, values: Floats) -> Scores:
        """A number for every unit, group by group."""
        return _by_group(criterion, analysis, self.labelling, values)


def reading_slices(graph: Graph) -> Slices:
    """The consumer side: what reads each unit; what carries it where no weight reads it."""
    labelling = label(graph)
    return Slices(labelling, tuple(_consumers(labelling)))


def all_slices(graph: Graph) -> Slices:
    """All that goes with each unit: what writes, carries and reads it."""
    labelling = label(graph)
    counted = np.ones(len(labelling.group_of), dtype=bool)
    held = members(labelling, ("writes", "carries", "reads"))
    return Slices(labelling, tuple((item, dim, counted) for item, dim, _ in held))


# -- members -----------------------------------------------------------------------------------


def members(labelling: Labelling, roles: tuple[Role, ...]) -> Iterator[tuple[Stored, int, Role]]:
    """Trained parameter dimensions that hold units in one of these roles."""
    for item in labelling.stored:
        for dim, labels in enumerate(item.dims):
            names = (item.name, *item.aliases)
            role = next(
                (r for n in names if (r := labelling.record.roles.get((n, dim)))), "carries"
            )
            if item.trained and role in roles and labelling.rows(labels) is not None:
                yield item, dim, role


def _consumers(labelling: Labelling) -> Iterator[tuple[Stored, int, NDArray[np.bool_]]]:
    """What reads each unit, or else carries it, and for which units it counts."""
    reading = list(members(labelling, ("reads",)))
    read = np.zeros(len(labelling.group_of), dtype=bool)
    for item, dim, _ in reading:
        rows = labelling.rows(item.dims[dim])
        read[rows] = True
        yield item, dim, np.ones_like(read)
    for item, dim, _ in members(labelling, ("carries", "writes")):
        rows = labelling.rows(item.dims[dim])
        assert rows is not None
        if not read[rows[rows > 0]].all():
            yield item, dim, ~read


def _row_sums(tensor: Tensor, dim: int) -> Tensor:
    """Sums over all other dimensions; a vector is its own."""
    return tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1).sum(dim=1)


def _per_unit(rows_value: Floats, rows: Matrix, count: int) -> Floats:
    """Sum of the values of the rows that each global unit belongs to; entry 0 is meaningless."""
    total = np.zeros(count)
    for column in range(rows.shape[1]):
        total += np.bincount(rows[:, column], weights=rows_value, minlength=count)
    return total


def as_normalised(graph: Graph) -> dict[str, Tensor]:
    """Weight name -> the weight, its outputs scaled by gamma / sigma of the batch norm that alone
    reads them."""
    tensors = graph.tensors
    found = {}
    for node in graph.program.graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        norm = bound(node)
        given, variance = norm["input"], norm["running_var"]
        layer = find_layer(given)
        if layer is None or not gives_channels(layer):
            continue
        if len(given.users) != 1 or not _stored(variance):
            continue
        scale = (tensors[str(variance.target)].detach().double() + norm["eps"]).rsqrt()
        if _stored(norm["weight"]):
            scale = scale * tensors[str(norm["weight"].target)].detach().double()
        weight = tensors[layer.weight].detach().double()
        matrix = layer.form.matrix(weight)
        by_output = scale.reshape(len(matrix), 1, -1)
        found[layer.weight] = layer.form.weight(matrix * by_output, weight.shape)
    return found


def _stored(node: Any) -> TypeGuard[fx.Node]:
    return isinstance(node, fx.Node) and node.op == "get_attr"


# -- assembling --------------------------------------------------------------------------------


def _mean_of_members(
    criterion: str, analysis: Analysis, labelling: Labelling, parts: list[Floats]
) -> Scores:
    """Each member's norms relative to their mean inside the group, averaged over members."""
    groups = labelling.group_of
    total, members = np.zeros(len(groups)), np.zeros(len(groups))
    inside = groups >= 0
    sizes = np.bincount(groups[inside])
    for part in parts:
        sums = np.bincount(groups[inside], weights=part[inside], minlength=len(sizes))
        means = (sums / sizes)[groups[inside]]
        touched = means > 0
        relative = np.divide(part[inside], means, out=np.zeros_like(means), where=touched)
        total[inside] += relative
        members[inside] += touched
    return _by_group(criterion, analysis, labelling, total / np.maximum(members, 1))


def _by_group(criterion: str, analysis: Analysis, labelling: Labelling, values: Floats) -> Scores:
    found = tuple(
        tuple(values[labelling.group_of == index].tolist())
        for index in range(len(labelling.groups))
    )
    return Scores(criterion=criterion, fingerprint=analysis.fingerprint, values=found)
