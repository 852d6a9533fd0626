"""Paired differences of students, from the test images they have right.

Comes in: records of a study.  Goes out: numbers with intervals.  Knows nothing of torch or pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.studies.answers import Difference, difference
from benchmarks.studies.peers_records import (
    STAGES,
    Arm,
    Cell,
    Network,
    Pair,
    Settings,
    TeacherRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that a study folder holds of one study."""

    networks: tuple[Network, ...]
    arms: tuple[Arm, ...]
    settings: Settings
    teachers: tuple[TeacherRecord, ...]
    cells: tuple[Cell, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm of ours beside one of torch-pruning's, over all seeds that both have.

    ``latency``: how many times faster ours is, by seed, with the interval of each.
    ``seconds``: to prune, ours and theirs, means.  ``repair`` likewise.
    """

    network: Network
    sparsity: float
    first: Arm
    second: Arm
    seeds: int
    gone: tuple[float, float]
    stages: dict[str, Difference]
    latency: tuple[Pair, ...]
    prune_s: tuple[float, float]
    repair_s: tuple[float, float]

    @property
    def equal_costs(self) -> bool:
        """Whether what went of both differs by at most half a point."""
        return abs(self.gone[0] - self.gone[1]) <= 0.005

    @property
    def faster(self) -> int:
        """1 where our student is measurably faster with every seed, -1 where theirs is; else 0."""
        verdicts = {pair.latency.verdict for pair in self.latency}
        return int(verdicts == {"faster"}) - int(verdicts == {"slower"})


def whole(results: Results, network: Network, sparsity: float, arm: Arm) -> tuple[Cell, ...]:
    """The cells of one arm that came to their end, by seed."""
    found = (
        cell
        for cell in results.cells
        if (cell.network, cell.sparsity, cell.arm) == (network.name, sparsity, arm.name)
    )
    return tuple(sorted((cell for cell in found if not cell.failed), key=lambda cell: cell.seed))


def sparsities(results: Results) -> tuple[float, ...]:
    return tuple(sorted({cell.sparsity for cell in results.cells}))


def comparisons(results: Results) -> Iterator[Comparison]:
    """Every arm of ours with every one of torch-pruning's, where both have a seed in common."""
    for network in results.networks:
        for sparsity in sparsities(results):
            for first in (arm for arm in results.arms if arm.tool == "compressor"):
                for second in (arm for arm in results.arms if arm.tool == "torch-pruning"):
                    found = _compared(results, network, sparsity, first, second)
                    if found is not None:
                        yield found


def _compared(
    results: Results, network: Network, sparsity: float, first: Arm, second: Arm
) -> Comparison | None:
    ours = {cell.seed: cell for cell in whole(results, network, sparsity, first)}
    theirs = {cell.seed: cell for cell in whole(results, network, sparsity, second)}
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    stages = {
        stage: difference(
            [ours[seed].stages[stage].right for seed in seeds],
            [theirs[seed].stages[stage].right for seed in seeds],
        )
        for stage in STAGES
    }
    wanted = (network.name, sparsity, first.name, second.name)
    pairs = (p for p in results.pairs if (p.network, p.sparsity, p.first, p.second) == wanted)

    def mean(name: str) -> tuple[float, float]:
        return (
            float(np.mean([ours[seed].seconds[name] for seed in seeds])),
            float(np.mean([theirs[seed].seconds[name] for seed in seeds])),
        )

    return Comparison(
        network=network,
        sparsity=sparsity,
        first=first,
        second=second,
        seeds=len(seeds),
        gone=(
            float(np.mean([ours[seed].gone for seed in seeds])),
            float(np.mean([theirs[seed].gone for seed in seeds])),
        ),
        stages=stages,
        latency=tuple(sorted(pairs, key=lambda pair: pair.seed)),
        prune_s=mean("prune"),
        repair_s=mean("repair"),
    )
