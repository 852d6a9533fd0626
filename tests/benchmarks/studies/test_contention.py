"""The simulated weather, and that the rule as built keeps its word in it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.contention import WEATHERS, Noise, neighbour_of, rates, section, simulate


def test_neighbour_wants_the_core_for_its_share_of_the_time() -> None:
    noise = Noise(name="half", call_ms=1.0, busy_share=0.5, busy_ms=20.0)
    neighbour = neighbour_of(noise, 50_000, np.random.default_rng(0))
    wanted = [neighbour.wants(now) for now in np.arange(0, 50_000, 7.3)]
    assert np.mean(wanted) == pytest.approx(0.5, abs=0.05)


def test_loaded_core_costs_wall_time_and_hardly_any_processor_time() -> None:
    found = simulate(WEATHERS[2], 1.0, (0,), seconds=0.3)
    wall = sum(one.wall_ns for one in found.samples)
    cpu = sum(one.cpu_ns for one in found.samples)
    assert wall / cpu > 1.5
    assert np.median([one.cpu_ns for one in found.samples]) == pytest.approx(5e6, rel=0.1)


def test_same_seed_gives_the_same_measurement() -> None:
    noise = WEATHERS[1]
    assert simulate(noise, 1.1, (3,), seconds=0.1) == simulate(noise, 1.1, (3,), seconds=0.1)


def test_page_has_a_line_for_each_weather() -> None:
    table = {"fair": rates(WEATHERS[0], ("as built",), trials=1, seed=0)}
    assert "| fair | " in section(table, 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("noise", WEATHERS, ids=lambda noise: noise.name)
def test_false_alarms_are_at_most_one_in_twenty(noise: Noise) -> None:
    found = rates(noise, ("as built",), trials=60, seed=7)["as built"]
    assert found.false_alarms <= 0.05
    assert found.wrong == 0
    if noise.threads == 1 and not noise.heavy:
        assert found.found >= 0.9
