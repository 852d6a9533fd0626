"""Which cells a study has, and what its folder holds of them.

Comes in: networks, shares, seeds, arms, settings.  Goes out: the rows to run and the ``Results`` so
far.  Knows nothing of how a cell is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.studies.peers_figures import Results
from benchmarks.studies.peers_records import (
    Arm,
    Cell,
    Network,
    Pair,
    Settings,
    TeacherRecord,
    cell_file,
    key_of,
    pair_file,
    teacher_file,
)
from benchmarks.studies.records import read_keyed
from compressor.files import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Which cells there are, and where their results lie."""

    networks: tuple[Network, ...]
    sparsities: tuple[float, ...]
    seeds: int
    arms: tuple[Arm, ...]
    settings: Settings
    folder: Path

    def arms_of(self, network: Network) -> tuple[Arm, ...]:
        """Our restricted arm is the free one where torch-pruning may cut every width."""
        return tuple(
            arm
            for arm in self.arms
            if network.ignored or arm.tool == "torch-pruning" or not arm.restricted
        )

    def rows(self) -> Iterator[tuple[Network, float, int]]:
        for network in self.networks:
            for sparsity in self.sparsities:
                for seed in range(self.seeds):
                    yield network, sparsity, seed

    def key(self, weights: Path) -> str:
        return key_of(self.settings, sha256(weights))


def results(plan: Study, weights: dict[str, Path]) -> Results:
    """What the folder holds of this study."""
    teachers, cells, pairs = [], [], []
    for network in plan.networks:
        key = plan.key(weights[network.name])
        teacher = read_keyed(teacher_file(plan.folder, network.name), TeacherRecord, key)
        teachers += [teacher] if teacher else []
    for network, sparsity, seed in plan.rows():
        key = plan.key(weights[network.name])
        here = cells_of(plan, network, sparsity, seed, key)
        cells += here
        for first, second in couples_of(plan, here):
            pair = read_keyed(pair_file(plan.folder, first, second), Pair, key)
            pairs += [pair] if pair else []
    return Results(
        networks=plan.networks,
        settings=plan.settings,
        arms=plan.arms,
        teachers=tuple(teachers),
        cells=tuple(cells),
        pairs=tuple(pairs),
    )


def cells_of(plan: Study, network: Network, sparsity: float, seed: int, key: str) -> list[Cell]:
    """The cells of one row that are there, failed ones among them."""
    found = (
        read_keyed(cell_file(plan.folder, network.name, sparsity, seed, arm.name), Cell, key)
        for arm in plan.arms_of(network)
    )
    return [cell for cell in found if cell is not None]


def couples_of(plan: Study, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Each arm of ours with each of torch-pruning's as its users get it."""
    named = {cell.arm: cell for cell in cells if not cell.failed}
    for ours in plan.arms:
        for theirs in plan.arms:
            wanted = ours.tool == "compressor" and theirs.tool == "torch-pruning"
            if wanted and not theirs.refits and ours.name in named and theirs.name in named:
                yield named[ours.name], named[theirs.name]
