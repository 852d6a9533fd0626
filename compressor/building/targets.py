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

from compressor.preparing import Prepared
from compressor.processes import is_first, told_by_first
from compressor.reporting import plain
from compressor.runs import Run
from compressor.types import Budget
from compressor.watching import Listener, Stopwatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A budget with the widths that a target likes, and what the report says of these."""

    budget: Budget
    facts: Mapping[str, Any] | None


def aim_of(
    run: Run,
    target: str | None,
    budget: Budget,
    prepared: Prepared,
    threads: int,
    minutes: float,
    device: str,
    listener: Listener,
    watch: Stopwatch,
) -> Aim:
    """As ``for_target``, once in a run: measured anew, widths may come out otherwise."""
    known = run.finished("target")
    if known is not None:
        return Aim(budget=msgspec.convert(known["budget"], Budget), facts=known["facts"])
    aim = for_target(target, budget, prepared, threads, minutes, device, listener, watch)
    if target is not None and is_first():
        run.finish("target", {"budget": plain(aim.budget), "facts": plain(aim.facts)})
    return aim


def for_target(
    target: str | None,
    budget: Budget,
    prepared: Prepared,
    threads: int,
    minutes: float,
    device: str,
    listener: Listener,
    watch: Stopwatch,
) -> Aim:
    """Have the widths of every group measured, or read what was measured before.

    Raises OptionError for a target that is unknown or cannot run here.
    """
    if target is None:
        return Aim(budget=budget, facts=None)
    from benchmarks.probe.choices import choose_for
    from benchmarks.probe.targets import parse_target
    from benchmarks.probe.telling import note

    def found() -> tuple[Budget, dict[str, Any], str]:
        chosen = choose_for(
            prepared.graph,
            prepared.analysis,
            parse_target(target, threads=threads or torch.get_num_threads()),
            minutes=minutes,
            announce=listener.note,
            progress=listener.working,
        )
        return chosen.on(budget), chosen.facts(), note(chosen)

    listener.stage(f"widths for {target}")
    with watch.timed("probe"):
        aimed, facts, told = told_by_first(found, device)
    listener.note(told)
    return Aim(budget=aimed, facts=facts)
