"""Choosing units: one way to plan carried out, or several tried and the best taken.

Comes in: a graph, its analysis, a budget, batches, ways.  Goes out: a ``Plan`` and what was said of
it.  A trial cuts the network by each way's plan, refits it from a few inputs and compares it with
the whole network on inputs held out.  Knows nothing of training or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from compressor.evaluation import device_of, distance
from compressor.expectations import Expectation
from compressor.graphs import Graph
from compressor.processes import agree_on, average
from compressor.reconstruction import reconstruct
from compressor.removal import remove
from compressor.scoring import Batch, Criterion, score
from compressor.types import Analysis, Budget, Plan, Scores

MOST_INPUTS, FEWEST_INPUTS = 256, 32  # of a trial, for refitting; a quarter as many held out
MACS = 2e11  # of all those inputs, between the two
PIECE = 32


class Allocation(Protocol):
    """From scores and a budget to a plan; by a target's expected time, where that is known."""

    def __call__(
        self,
        analysis: Analysis,
        scores: Scores,
        budget: Budget,
        expectation: Expectation | None = None,
    ) -> Plan: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A criterion inside groups and an allocation over groups; ``name`` says both.

    ``of_weights``: the criterion looks at nothing else, and needs no batches.
    """

    name: str
    criterion: Criterion
    allocation: Allocation
    of_weights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    plan: Plan
    note: str  # for the report


def needs_batches(ways: Sequence[Way]) -> bool:
    """One way may look at weights alone; several are tried."""
    return len(ways) > 1 or not ways[0].of_weights


def choose(
    graph: Graph,
    analysis: Analysis,
    budget: Budget,
    ways: Sequence[Way],
    batches: Sequence[Batch],
    expectation: Expectation | None = None,
) -> Chosen:
    """The plan of the way whose student is nearest to the network in a short trial.

    One way needs no trial.  Raises what its allocation raises, such as BudgetError.
    """
    plans = [_plan(graph, analysis, budget, way, batches, expectation) for way in ways]
    if len(plans) == 1:
        return Chosen(plan=plans[0], note=f"units chosen by {ways[0].name}")
    inputs = torch.cat([given for given, _ in batches])
    most = min(max(FEWEST_INPUTS, int(MACS / max(1, analysis.model.macs))), MOST_INPUTS)
    held = max(1, min(most // 4, len(inputs) // 4))
    refitted = inputs[:-held] if len(inputs) > held else inputs  # one alone serves for both
    used, held_out = refitted[:most], inputs[-held:].split(PIECE)
    apart = [_apart(graph, analysis, plan, used, held_out) for plan in plans]
    found = average(torch.tensor(apart), str(device_of(graph))).tolist()
    best = min(range(len(plans)), key=lambda place: found[place])
    told = "; ".join(f"{way.name} {apart:.3g}" for way, apart in zip(ways, found, strict=True))
    return Chosen(
        plan=plans[best],
        note=f"units chosen by {ways[best].name}; distance to the teacher in a trial: {told}",
    )


def _plan(
    graph: Graph,
    analysis: Analysis,
    budget: Budget,
    way: Way,
    batches: Sequence[Batch],
    expectation: Expectation | None,
) -> Plan:
    scores = agree_on(score(graph, analysis, way.criterion, batches), str(device_of(graph)))
    return way.allocation(analysis, scores, budget, expectation)


def _apart(
    graph: Graph, analysis: Analysis, plan: Plan, used: Tensor, held_out: Sequence[Tensor]
) -> float:
    student = reconstruct(remove(graph, analysis, plan), graph, used).graph
    found = distance(student, graph, held_out)
    return found if math.isfinite(found) else math.inf
