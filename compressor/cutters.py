"""Cutters: what is gone after one step of pruning while training, and how it stays gone.

Comes in: a graph, the share of the final sparsity that is due, what is gone already.  Goes out:
what is gone now: single weights (``MaskedWeights``, the papers' form), or units that are masked
(``MaskedUnits``) or removed (``RemovedUnits``) while they wait for the end.  Knows nothing of
losses, optimisers or time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import msgspec
import torch

from compressor.choosing import Allocation
from compressor.cuts import Cut, kept_rows_of, lay
from compressor.errors import BudgetError
from compressor.evaluation import device_of
from compressor.graphs import Graph, Rows
from compressor.keeping import Snapshot
from compressor.nested import plan_within
from compressor.planning import keep_mask, plan
from compressor.processes import agree_on, average
from compressor.removal import Fills, find_fills, hold_masked, mask, put_back, remove
from compressor.scoring import Batches, Criterion, magnitude, score
from compressor.sparsity import (
    WeightMask,
    density_of,
    full_mask,
    hold_zero,
    keep_dearest,
    magnitudes,
    sparse,
)
from compressor.types import Analysis, Budget, Plan, Scores

KeptNodes = Mapping[str, Mapping[int, Rows]]
# A score of every prunable weight, by the weight's name.
WeightScores = Callable[[Graph], Mapping[str, torch.Tensor]]


class Gone(Protocol):
    """What is gone.  *Whole* is a graph of the full shapes that remembers all values."""

    @property
    def sparsity(self) -> float:
        """The share that is gone, in the cutter's own measure."""

    @property
    def kept(self) -> KeptNodes:
        """Rows of the whole's nodes that live, where something went."""

    @property
    def kept_in_student(self) -> KeptNodes:
        """The same rows, to be picked from the student's nodes; empty where it has no others."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def student(self, whole: Graph) -> Graph:
        """What is trained: a new graph without what is gone."""

    def zeroed(self, whole: Graph) -> Graph:
        """A new graph of the whole's own structure, zero where something is gone."""

    def hold(self, student: Graph) -> None:
        """What is gone stays so, in place: after every step."""

    def put_back(self, student: Graph, whole: Graph) -> None:
        """What lives takes the student's values in the whole, in place."""

    def state(self) -> Snapshot:
        """What a cutter makes the same of again."""


G = TypeVar("G", bound=Gone)


class Cutter(Protocol[G]):
    """Decides what goes next."""

    def __call__(self, whole: Graph, due: float, gone: G | None) -> G:
        """What is gone when ``due`` of the final sparsity (0 to 1) is; ``gone`` among it."""

    def again(self, whole: Graph, kept: Snapshot) -> G:
        """What was gone when this was kept, without a decision."""


# -- single weights ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedWeights:
    """Single weights that are zero."""

    mask: WeightMask
    kept: KeptNodes = field(default_factory=dict)
    kept_in_student: KeptNodes = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        return 1.0 - density_of(self.mask)

    def student(self, whole: Graph) -> Graph:
        return sparse(whole, self.mask)

    def zeroed(self, whole: Graph) -> Graph:
        return sparse(whole, self.mask)

    def hold(self, student: Graph) -> None:
        hold_zero(student, self.mask)

    @torch.no_grad()
    def put_back(self, student: Graph, whole: Graph) -> None:
        sources = student.tensors
        for name, target in whole.tensors.items():
            source = sources[name].to(device=target.device)
            if name in self.mask:
                source = torch.where(self.mask[name].to(target.device), source, target)
            target.copy_(source)

    def state(self) -> Snapshot:
        return Snapshot(tensors=dict(self.mask))


@dataclass(frozen=True, slots=True, kw_only=True)
class CutWeights:
    """A cutter of single weights; see ``cut_weights``."""

    sparsity: float
    scores: WeightScores

    def __call__(self, whole: Graph, due: float, gone: MaskedWeights | None) -> MaskedWeights:
        within = full_mask(whole) if gone is None else gone.mask
        seen = whole if gone is None else gone.zeroed(whole)
        found = self.scores(seen)
        agreed = {name: average(one, str(device_of(seen))) for name, one in found.items()}
        return MaskedWeights(mask=keep_dearest(agreed, 1.0 - due * self.sparsity, within))

    def again(self, whole: Graph, kept: Snapshot) -> MaskedWeights:
        there = device_of(whole)
        return MaskedWeights(mask={name: alive.to(there) for name, alive in kept.tensors.items()})


def cut_weights(sparsity: float, scores: WeightScores = magnitudes) -> Cutter[MaskedWeights]:
    """Weights with the lowest scores go, one ranking over all layers, until ``sparsity`` of the
    prunable ones are gone.  Raises BudgetError for a sparsity that is not between 0 and 1."""
    if not 0 < sparsity < 1:
        raise BudgetError(f"sparsity {sparsity} is not between 0 and 1; 0.9 zeroes 90 % of weights")

    return CutWeights(sparsity=sparsity, scores=scores)


# -- units -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedUnits:
    """Units cut out of the student of every stretch.

    Right for inexact groups too: norms run over what lives.  Later stretches are cheaper.
    """

    analysis: Analysis
    plan: Plan
    cut: Cut = field(repr=False)
    fills: Fills = field(repr=False)
    kept: KeptNodes = field(repr=False)
    kept_in_student: KeptNodes = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        return self.plan.achieved

    def student(self, whole: Graph) -> Graph:
        return remove(whole, self.analysis, self.plan)

    def zeroed(self, whole: Graph) -> Graph:
        return _zeroed(whole, self.fills)

    def hold(self, student: Graph) -> None:
        """What is removed cannot move."""

    def put_back(self, student: Graph, whole: Graph) -> None:
        put_back(student, whole, self.cut)

    def state(self) -> Snapshot:
        return _state(self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedUnits:
    """Units that are zero in the student of every stretch, which keeps its shapes.

    Equal to the network without them where groups are exact; elsewhere norms still run over what
    is gone, and ``notes`` says so.
    """

    analysis: Analysis
    plan: Plan
    cut: Cut = field(repr=False)
    fills: Fills = field(repr=False)
    kept: KeptNodes = field(repr=False)
    placed: dict[torch.device, Fills] = field(default_factory=dict, repr=False)

    @property
    def sparsity(self) -> float:
        return self.plan.achieved

    @property
    def kept_in_student(self) -> KeptNodes:
        return self.kept

    @property
    def notes(self) -> tuple[str, ...]:
        pairs = zip(self.plan.groups, self.analysis.groups, strict=True)
        inexact = sum(kept.width < group.units and not group.exact for kept, group in pairs)
        if not inexact:
            return ()
        return (
            f"{inexact} inexact groups are masked: their norms run over what is gone until it is "
            "removed; train removed units, or repair after removal",
        )

    def student(self, whole: Graph) -> Graph:
        return mask(whole, self.analysis, self.plan)

    def zeroed(self, whole: Graph) -> Graph:
        return _zeroed(whole, self.fills)

    def hold(self, student: Graph) -> None:
        device = next(student.parameters()).device
        if device not in self.placed:  # once, not at every step
            self.placed[device] = find_fills(student, self.cut, device)
        hold_masked(student, self.placed[device])

    def put_back(self, student: Graph, whole: Graph) -> None:
        put_back(student, whole, self.cut)

    def state(self) -> Snapshot:
        return _state(self.plan)


class Units(Gone, Protocol):
    """Gone by a plan."""

    @property
    def plan(self) -> Plan: ...


U = TypeVar("U", bound=Units)
# (graph, analysis, plan) -> what is gone
Form = Callable[[Graph, Analysis, Plan], U]


def masked_units(graph: Graph, analysis: Analysis, plan: Plan) -> MaskedUnits:
    """What the plan removes, masked.  Raises PlanError where the plan does not fit the graph."""
    cut = lay(graph, analysis, plan)
    return MaskedUnits(
        analysis=analysis,
        plan=plan,
        cut=cut,
        fills=find_fills(graph, cut),
        kept=kept_rows_of(cut),
    )


def removed_units(graph: Graph, analysis: Analysis, plan: Plan) -> RemovedUnits:
    """What the plan removes, removed.  Raises PlanError where the plan does not fit the graph."""
    cut = lay(graph, analysis, plan)
    return RemovedUnits(
        analysis=analysis,
        plan=plan,
        cut=cut,
        fills=find_fills(graph, cut),
        kept=kept_rows_of(cut),
    )


def _state(plan: Plan) -> Snapshot:
    return Snapshot(facts=msgspec.to_builtins(plan))


@dataclass(frozen=True, slots=True, kw_only=True)
class CutUnits(Generic[U]):
    """A cutter of units; see ``cut_units``."""

    analysis: Analysis
    budget: Budget
    form: Form[U]
    criterion: Criterion
    batches: Batches | None
    allocation: Allocation

    def __call__(self, whole: Graph, due: float, gone: U | None) -> U:
        analysis = self.analysis
        seen = whole if gone is None else gone.zeroed(whole)
        scores = score(seen, analysis, self.criterion, self.batches)
        found = agree_on(scores, str(device_of(seen)))
        aim = replace(self.budget, sparsity=due * self.budget.sparsity)
        before = None if gone is None else keep_mask(analysis, gone.plan)
        made = plan_within(analysis, found, aim, self.allocation, before)
        return self.form(whole, analysis, made)

    def again(self, whole: Graph, kept: Snapshot) -> U:
        return self.form(whole, self.analysis, msgspec.convert(kept.facts, Plan))


def cut_units(
    analysis: Analysis,
    budget: Budget,
    form: Form[U],
    *,
    criterion: Criterion = magnitude,
    batches: Batches | None = None,
    allocation: Allocation = plan,
) -> Cutter[U]:
    """Units go by ``criterion``, scored anew at every step, spread over groups by ``allocation``,
    until ``budget`` is met.

    ``form`` is ``masked_units`` or ``removed_units``.  ``batches`` are gone through at every step
    that scores: give a sequence.  The criterion sees the graph of full shapes with what is gone at
    zero.  Raises BudgetError at once where the budget is malformed or out of reach.
    """
    even = tuple(tuple(float(unit) for unit in range(group.units)) for group in analysis.groups)
    allocation(
        analysis, Scores(criterion="even", fingerprint=analysis.fingerprint, values=even), budget
    )

    return CutUnits(
        analysis=analysis,
        budget=budget,
        form=form,
        criterion=criterion,
        batches=batches,
        allocation=allocation,
    )


def _zeroed(whole: Graph, fills: Fills) -> Graph:
    copied = whole.copy()
    hold_masked(copied, fills)
    return copied
