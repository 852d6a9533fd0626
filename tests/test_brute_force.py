"""Label analysis against brute force on small random networks.

The laws, for every drawn network (``random_networks``), with S(r) the smallest sets of parameter
rows that hold row r and can be removed, as found by closing and trying (``brute_force``):

    sound     the rows of one unit, and of any units that leave one in every group, are exactly what
              can be removed: nothing else has to go, and masked equals removed at every node
    minimal   a unit is one of S(its first row): it couples nothing that could go alone
    complete  a row that the analysis freezes has no S(r), but for the imprecisions listed here
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from compressor.analysis import analyze
from compressor.graphs import Graph
from compressor.labelling import label
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from tests.brute_force import Oracle, Row, TooManyError
from tests.random_networks import network

FAST, SLOW = range(60), range(60, 500)
ALONE = "is the only unit of its group"
# Frozen though it could go.  Seed -> why.
REFACTORED = "a dimension made of two factors is cut again by other factors: labels are not refined"
IMPRECISE = {
    9: REFACTORED,
    19: "every part of a split holds both of two units, and the rule keeps one row of each part",
    35: REFACTORED,
}
MISSED = 0.032  # of all rows that could go, over many networks: 3.0 %, nearly all REFACTORED


@dataclass(frozen=True, slots=True)
class Drawn:
    """``units``: the rows of each.  ``frozen``: rows in no unit; ``alone``: those of a lone one."""

    graph: Graph
    oracle: Oracle
    units: tuple[frozenset[Row], ...]
    group_of: tuple[int, ...]
    frozen: tuple[Row, ...]
    alone: frozenset[Row]


@cache
def drawn(seed: int) -> Drawn:
    graph = network(seed)
    labelling = label(graph)
    units: list[set[Row]] = [set() for _ in labelling.group_of]
    frozen, alone = [], set()
    for item in labelling.stored:
        for dim, labels in enumerate(item.dims):
            if labels is None:
                continue
            rows = labelling.rows(labels)
            leaves = labelling.record.units.resolve(labels)
            for place in range(item.shape[dim]):
                row = (item.name, dim, place)
                numbers = [] if rows is None else [n for n in rows[place].tolist() if n]
                for number in numbers:
                    units[number].add(row)
                if not numbers:
                    frozen.append(row)
                    if leaves.shape[1] and labelling.single[leaves[place]].any():
                        alone.add(row)
    return Drawn(
        graph=graph,
        oracle=Oracle(graph),
        units=tuple(frozenset(rows) for rows in units[1:]),
        group_of=tuple(labelling.group_of[1:].tolist()),
        frozen=tuple(frozen),
        alone=frozenset(alone),
    )


def subsets(seed: int, count: int) -> list[np.ndarray]:
    """Units that stay (bool, by number from 1), one of each group at least."""
    of = np.array(drawn(seed).group_of)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        stay = generator.random(len(of)) < generator.uniform(0.2, 0.9)
        for group in np.unique(of):
            stay[generator.choice(np.flatnonzero(of == group))] = True
        found.append(stay)
    return found


def could_go(seed: int) -> list[Row]:
    """Rows that the analysis freezes though some set with them can be removed."""
    case = drawn(seed)
    covered: set[Row] = set()
    found = []
    for row in case.frozen:
        if row in case.alone:
            continue
        if row not in covered:
            covered.update(*case.oracle.smallest(row))
        if row in covered:
            found.append(row)
    return found


def assert_sound(seed: int) -> None:
    case = drawn(seed)
    for rows in case.units:
        assert case.oracle.closure(rows), f"network {seed}: {sorted(rows)} are not all that goes"
    analysis = analyze(case.graph)
    for number, stay in enumerate(subsets(seed, 2) if case.units else ()):
        gone = frozenset().union(*(r for r, kept in zip(case.units, stay, strict=True) if not kept))
        assert case.oracle.closure(gone), f"network {seed}: {sorted(gone)} are not all that goes"
        if number:
            continue
        chosen = plan_keeping(analysis, np.array([True, *stay]))
        proof = prove(case.graph, remove(case.graph, analysis, chosen), analysis, chosen)
        assert proof.passed, proof.first_wrong


def assert_minimal(seed: int) -> None:
    """Of every group one unit: the others are made alike."""
    case = drawn(seed)
    for rows in dict(zip(case.group_of, case.units, strict=True)).values():
        assert rows in case.oracle.smallest(min(rows)), f"network {seed}: {sorted(rows)}"


@pytest.mark.parametrize("seed", FAST)
def test_a_unit_is_all_and_only_what_has_to_go_together(seed: int) -> None:
    assert_sound(seed)
    assert_minimal(seed)


@pytest.mark.parametrize("seed", FAST)
def test_what_could_go_is_not_frozen(seed: int) -> None:
    assert bool(could_go(seed)) == (seed in IMPRECISE), could_go(seed)


@pytest.mark.parametrize("seed", range(12))
def test_every_single_unit_is_proved(seed: int) -> None:
    case = drawn(seed)
    analysis = analyze(case.graph)
    for number in range(1, len(case.units) + 1):
        keep = np.ones(len(case.units) + 1, dtype=bool)
        keep[number] = False
        chosen = plan_keeping(analysis, keep)
        proof = prove(case.graph, remove(case.graph, analysis, chosen), analysis, chosen)
        assert proof.passed, proof.first_wrong
        assert proof.max_relative_error < 1e-12


def test_the_drawn_networks_are_worth_the_trouble() -> None:
    used = {str(n.target) for s in FAST for n in drawn(s).graph.program.graph.nodes}
    assert len(used & {str(target) for target in _OPERATORS}) == len(_OPERATORS)
    assert sum(len(drawn(seed).units) for seed in FAST) > 400
    assert sum(bool(drawn(seed).units) for seed in FAST) > 45


def test_brute_force_notices_a_forgotten_row() -> None:
    case = drawn(0)
    rows = max(case.units, key=len)
    assert case.oracle.closure(rows)
    for row in rows:
        assert not case.oracle.closure(rows - {row})


@pytest.mark.slow
def test_the_laws_hold_over_many_networks() -> None:
    removable = missed = unanswered = 0
    for seed in SLOW:
        assert_sound(seed)
        try:
            assert_minimal(seed)
            missed += len(could_go(seed))
        except TooManyError:
            unanswered += 1
        removable += len(frozenset().union(*drawn(seed).units))
        drawn.cache_clear()
    assert missed <= MISSED * (removable + missed)
    assert unanswered <= 0.02 * len(SLOW)


_OPERATORS = (
    "aten.conv2d.default", "aten.conv_transpose2d.input", "aten.batch_norm.default",
    "aten.linear.default", "aten.cat.default", "aten.split_with_sizes.default",
    "aten.add.Tensor", "aten.mul.Tensor",
    "aten.reshape.default", "aten.view.default", "aten.permute.default", "aten.transpose.int",
    "aten.pad.default", "aten.slice.Tensor", "aten.expand.default", "aten.repeat.default",
    "aten.flip.default", "aten.matmul.default", "aten.flatten.using_ints", "aten.sum.dim_IntList",
)  # fmt: skip
