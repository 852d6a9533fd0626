"""The widths that a plan may take for a target, group by group.

Comes in: a captured network and a ``Target``.  Goes out: a ``Chosen``: the probe, a choice for
every group, and the widths as a ``Budget`` wants them.  Knows nothing of scores and plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.probe.probing import MINUTES, Probe, probe
from benchmarks.probe.targets import Target
from compressor.expectations import Expectation
from compressor.graphs import Graph
from compressor.operators import find_operators
from compressor.staircases import (
    Choice,
    Layer,
    Staircase,
    by_shape,
    choose_widths,
    expected_seconds,
    wanted_widths,
)
from compressor.types import Analysis, Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """``choices`` are in the order of the analysis's groups."""

    probe: Probe
    layers: tuple[Layer, ...]
    choices: tuple[Choice, ...]

    def on(self, budget: Budget) -> Budget:
        """The budget with the widths that the target likes."""
        return replace(
            budget,
            preferred=tuple(one.worth for one in self.choices),
            tolerated=tuple(one.tolerable for one in self.choices),
        )

    def expectation(self) -> Expectation:
        """What a network of other widths is expected to take, and the widths worth having."""
        staircases = (*self.probe.staircases, *self._unclimbed())
        return Expectation(
            seconds=lambda kept: expected_seconds(self.layers, staircases, kept),
            liked=tuple(one.worth for one in self.choices),
            tolerated=tuple(one.tolerable for one in self.choices),
        )

    def _unclimbed(self) -> Iterator[Staircase]:
        """Layers that were not measured at other widths are taken to be proportional to them."""
        have = by_shape(self.probe.staircases)
        seen = {one.operator: one.seconds for one in self.probe.looks}
        for operator, side in wanted_widths(self.layers, [one.units for one in self.choices]):
            if (operator, side) not in have and seen.get(operator, 0.0) > 0:
                whole = operator.size(side)
                yield Staircase(
                    operator=operator,
                    side=side,
                    widths=(1, whole),
                    seconds=(seen[operator] / whole, seen[operator]),
                    noise=1.0,
                )

    def facts(self) -> dict[str, Any]:
        """For ``report.json``."""
        return {
            "name": self.probe.target.name,
            "environment": dict(self.probe.environment),
            "groups": len(self.choices),
            "groups_with_widths": sum(bool(one.worth) for one in self.choices),
            "noise": max((one.noise for one in self.choices), default=0.0),
        }


def choose_for(
    graph: Graph,
    analysis: Analysis,
    target: Target,
    *,
    minutes: float = MINUTES,
    anew: bool = False,
    folder: Path | None = None,
    announce: Callable[[str], None] = lambda text: None,
    progress: Callable[[float], None] = lambda share: None,
) -> Chosen:
    """Probe what is not known yet, and choose.  Raises what ``probe`` does."""
    layers = find_operators(graph)
    units = [group.units for group in analysis.groups]
    found = probe(
        layers,
        units,
        target,
        minutes=minutes,
        anew=anew,
        folder=folder,
        announce=announce,
        progress=progress,
    )
    choices = choose_widths(layers, units, found.staircases)
    return Chosen(probe=found, layers=layers, choices=choices)
