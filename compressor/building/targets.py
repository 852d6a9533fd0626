"""The widths that a target likes, as part of the budget.

Comes in: a target's name, a budget, a captured network.  Goes out: an ``Aim``.  Knows nothing of
how widths are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import torch

from compressor.expectations import Expectation
from compressor.preparing import Studied
from compressor.processes import is_first, told_by_first
from compressor.reporting import plain
from compressor.runs import Run
from compressor.types import Budget, Plan
from compressor.watching import Listener, Stopwatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A budget with the widths that a target likes, what the target is expected to take, and what
    the report says of it; the budget alone where there is no target."""

    budget: Budget
    expectation: Expectation | None = None
    facts: Mapping[str, Any] | None = None

    def told(self, plan: Plan | None) -> dict[str, Any] | None:
        """For ``report.json``: the facts, and how many times faster the plan is expected to be."""
        if self.facts is None or self.expectation is None:
            return None
        return {
            **self.facts,
            "expected_speedup": None if plan is None else self.expectation.speedup(plan),
        }


def for_target(
    target: str | None,
    budget: Budget,
    studied: Studied,
    threads: int,
    minutes: float,
    device: str,
    listener: Listener,
    watch: Stopwatch,
    run: Run | None = None,
) -> Aim:
    """Have the widths of every group measured, or read what was measured before.

    In a ``run`` that is done once: measured anew, widths may come out otherwise.  Its journal keeps
    all that was chosen and why, so that what a plan is expected to gain is told by the same
    staircases, whoever plans and whoever reports.

    Raises OptionError for a target that is unknown or cannot run here.
    """
    if target is None:
        return Aim(budget=budget)
    from benchmarks.probe.choices import Chosen

    known = None if run is None else run.finished("target")
    if known is not None:
        chosen = msgspec.convert(known["chosen"], Chosen)
    else:
        chosen = _choose(target, studied, threads, minutes, device, listener, watch)
        if run is not None and is_first():
            run.finish("target", {"chosen": plain(chosen)})
    return Aim(budget=chosen.on(budget), expectation=chosen.expectation(), facts=chosen.facts())


def _choose(
    target: str,
    studied: Studied,
    threads: int,
    minutes: float,
    device: str,
    listener: Listener,
    watch: Stopwatch,
) -> Any:
    """The ``Chosen`` that the first process finds, in all of them."""
    from benchmarks.probe.choices import Chosen, choose_for
    from benchmarks.probe.targets import parse_target
    from benchmarks.probe.telling import note

    def found() -> tuple[Chosen, str]:
        chosen = choose_for(
            studied.graph,
            studied.analysis,
            parse_target(target, threads=threads or torch.get_num_threads()),
            minutes=minutes,
            announce=listener.note,
            progress=listener.working,
        )
        return chosen, note(chosen)

    listener.stage(f"widths for {target}")
    with watch.timed("probe"):
        chosen, told = told_by_first(found, device)
    listener.note(told)
    return chosen
