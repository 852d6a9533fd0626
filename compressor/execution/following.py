"""Following: phases carried out one after the other.

Comes in: phases, a ``Site``, a length.  Goes out: the ``Standing`` after the last.  How one kind of
phase is carried out is registered with ``carry_out``.  Knows nothing of run folders or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import singledispatch

import torch

from compressor.choosing import Way
from compressor.errors import DataError, OptionError
from compressor.execution.standing import Length, Site, Standing
from compressor.graphs import Graph
from compressor.phases import (
    Distill,
    Phase,
    Prune,
    PruneGradually,
    PruneUnitsEarly,
    ReadWidths,
    SelfDistill,
    lengths,
)
from compressor.planning import require_reachable as require_reachable_plan
from compressor.planning import steps_of
from compressor.samples import is_labelled
from compressor.types import Analysis, Budget
from compressor.watching import Stopwatch


def follow(
    phases: Sequence[Phase],
    site: Site,
    length: Length,
    standing: Standing,
    keep: Callable[[Standing], None] = lambda standing: None,
) -> Standing:
    """Carry out the phases that are left; ``keep`` is told after each."""
    shares = lengths(phases, length)
    for phase, share in list(zip(phases, shares, strict=True))[standing.done :]:
        before = _spent(site.watch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(site.seed + standing.done)  # dropout draws from torch's own generator
            own = replace(site, keeper=site.keeper.at(f"phase-{standing.done + 1}"))
            after = carry_out(phase, standing, own, share)
        entry = {
            "name": phase.name,
            "metrics": (after.stages[-1].metrics or {}) if after.stages else {},
            "seconds": round(_spent(site.watch) - before, 3),
            **(after.phases[-1] if len(after.phases) > standing.done else {}),
        }
        recorded = (*after.phases[: standing.done], entry)
        standing = replace(after, done=standing.done + 1, phases=recorded)
        keep(standing)
    return standing


def _spent(watch: Stopwatch) -> float:
    return sum(seconds for name, seconds in watch.seconds.items() if name != "evaluation")


def require_reachable(
    phases: Sequence[Phase], graph: Graph, analysis: Analysis, budget: Budget
) -> None:
    """Refuse a budget as soon as the analysis tells that a phase would.  Raises BudgetError."""
    for phase in phases:
        if isinstance(phase, Prune | PruneUnitsEarly):
            require_reachable_plan(analysis, budget)
        elif isinstance(phase, ReadWidths):
            steps_of(analysis, budget)
        elif isinstance(phase, PruneGradually):
            phase.make_cutter(graph, analysis, budget, ())


def require_possible(phases: Sequence[Phase], site: Site, length: Length) -> None:
    """Refuse before anything is written what a later phase would refuse.

    Raises OptionError where a phase must train and may not, or needs fresh weights of a network
    whose code is not known; DataError where it learns from labels and there are none.
    """
    for phase in phases:
        fresh = isinstance(phase, Distill) and phase.start == "fresh"
        if fresh:
            site.fresh()
        if length is None and (fresh or isinstance(phase, SelfDistill | PruneGradually)):
            raise OptionError(
                "--epochs 0: "
                + (
                    "this recipe prunes while it trains"
                    if isinstance(phase, PruneGradually)
                    else "a student from fresh weights knows nothing"
                )
                + "; give it some epochs"
            )
        if isinstance(phase, SelfDistill) and not is_labelled(site.data):
            raise DataError(
                f"{site.data.name}: self-distillation learns from labels; give class folders of "
                "at least 2 training images each, or a recipe with a teacher"
            )


@singledispatch
def carry_out(phase: Phase, standing: Standing, site: Site, length: Length) -> Standing:
    """The standing after this phase.  Each kind of phase has a function registered here."""
    raise TypeError(f"no function carries out {type(phase).__name__}")


def first_ways(phases: Sequence[Phase]) -> tuple[Way, ...]:
    """How a recipe's first phase chooses what goes.  Raises OptionError where only training can
    tell."""
    if not isinstance(phases[0], Prune):
        raise OptionError(
            "only prune-then-distill in its structured form can be planned beforehand; other "
            "recipes find out what goes while they build"
        )
    return phases[0].ways
