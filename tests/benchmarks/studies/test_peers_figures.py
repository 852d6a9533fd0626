"""Differences between students that answer the same images."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.answers import answers_of, difference
from benchmarks.studies.peers_figures import Results, comparisons
from benchmarks.studies.peers_records import ARMS
from tests.benchmarks.studies.peers_made_up import made_up


def test_answers_survive_their_text() -> None:
    right = np.random.default_rng(0).random(1017) < 0.9
    found = answers_of(right)
    assert np.array_equal(found.right, right)
    assert found.top1 == pytest.approx(right.mean())


def test_a_difference_is_of_pairs() -> None:
    generator = np.random.default_rng(1)
    hard = generator.random(2000) < 0.3
    second = [~hard for _ in range(3)]
    first = [one | (generator.random(2000) < 0.1) for one in second]
    found = difference(first, second)
    assert found.value == pytest.approx(0.03, abs=0.01)
    assert found.sign == 1  # far narrower than the spread of either accuracy
    assert found.interval[1] - found.interval[0] < 0.03
    assert difference(second, first).sign == -1
    assert difference(first, second) == found


def test_equal_students_are_told_apart_by_nothing() -> None:
    right = [np.arange(100) % 3 == 0] * 2
    found = difference(right, right)
    assert (found.value, found.interval, found.sign) == (0.0, (0.0, 0.0), 0)


def test_seeds_that_disagree_widen_the_interval() -> None:
    ones, zeros = np.ones(1000, dtype=np.bool_), np.zeros(1000, dtype=np.bool_)
    found = difference([ones, zeros], [zeros, ones])
    assert found.interval == (-1.0, 1.0)


def test_only_seeds_that_both_have_are_compared() -> None:
    results: Results = made_up(seeds=3, failed=(("tp-taylor", 1),))
    found = {(one.first.name, one.second.name): one for one in comparisons(results)}
    assert found["ours", "tp-taylor"].seeds == 2
    assert found["ours", "tp-magnitude"].seeds == 3
    peers = [arm for arm in ARMS if arm.tool == "torch-pruning"]
    assert len(found) == 2 * len(peers)
