"""Runs side by side: what is refused, what intervals say, what is shown."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.entries import Entry
from benchmarks.lineup import FILE, Contestant, add, line_up, names_of, wilson_interval
from benchmarks.markdown import render_sections
from benchmarks.sections.contest import contest
from benchmarks.text_tables import lines_of
from compressor.errors import OptionError
from tests.benchmarks.reports import full_report

IMAGES = "ef" * 32


def runs(count: int = 2) -> list[Contestant]:
    found = []
    for number in range(count):
        report = copy.deepcopy(full_report())
        report["data"] |= {"evaluated": 539, "evaluated_sha256": IMAGES}
        report["student"]["metrics"]["top1"] = 0.91 - 0.05 * number
        found.append(Contestant(name=f"run-{number}", report=report))
    return found


def test_runs_are_compared_with_the_first() -> None:
    document = line_up(runs(3))
    assert [one["difference"] is None for one in document["runs"]] == [True, False, False]
    told = document["runs"][2]["difference"]
    assert told["value"] == pytest.approx(-0.1)
    assert told["interval"][0] < -0.1 < told["interval"][1] < 0
    assert document["runs"][0]["bytes"] == 410_000
    assert len(document["speeds"]) == 8
    first, second, _ = document["speeds"][0]["runs"]
    assert first["against_first"] is None
    assert second["against_first"]["value"] == pytest.approx(1.0)
    low, high = second["against_first"]["interval"]
    assert low < 1 < high
    # each alone is within 4 %: two together within sqrt(2) times that
    assert np.log(high) == pytest.approx(np.sqrt(np.log(1.04) ** 2 + np.log(0.96) ** 2), rel=1e-6)


def test_a_setting_that_one_run_lacks_is_shown_as_not_measured() -> None:
    two = runs()
    del two[1].report["benchmarks"][1:]
    document = line_up(two)
    assert [one["runs"][1] is None for one in document["speeds"]] == [False] + 7 * [True]
    lines = [line for one in contest(Entry(document, FILE)) for line in lines_of(one)]
    assert sum("not measured" in line for line in lines) == 7


def test_other_teachers_are_told_and_speed_ups_are_not_set_against_each_other() -> None:
    two = runs()
    two[1].report["teacher"]["sha256"] = "99" * 32
    document = line_up(two)
    assert any("teachers differ" in one for one in document["remarks"])
    assert all(one["runs"][1]["against_first"] is None for one in document["speeds"])


def change(report: dict[str, Any], *path: str, value: object) -> None:
    for part in path[:-1]:
        report = report[part]
    report[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("environment", "cpu"), "Another", "processor: A Processor in one, Another in the other"),
        (("environment", "packages"), {"torch": "2.11.0"}, "torch: 2.15.0 in one, 2.11.0"),
        (("environment", "cores"), 8, "cores: 2 in one, 8 in the other"),
        (("data", "name"), "photos", "name: digits and photos"),
        (("data", "evaluated"), 500, "evaluated: 539 and 500"),
        (("data", "evaluated_sha256"), "00", "evaluated sha256"),
    ],
)
def test_what_does_not_compare_is_refused_by_name(
    path: tuple[str, ...], value: object, told: str
) -> None:
    two = runs()
    change(two[1].report, *path, value=value)
    with pytest.raises(OptionError, match=r"run-0 and run-1 .*compare") as caught:
        line_up(two)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_environments_do_not_matter_where_nothing_was_timed() -> None:
    two = runs()
    change(two[1].report, "environment", "cpu", value="Another")
    two[1].report["benchmarks"].clear()
    assert line_up(two)["speeds"]


def test_without_a_hash_of_the_images_that_is_said() -> None:
    two = runs()
    for one in two:
        del one.report["data"]["evaluated_sha256"]
    assert any("by name and number alone" in one for one in line_up(two)["remarks"])
    del two[1].report["data"]["evaluated"]
    assert line_up(two)["runs"][1]["difference"]["interval"] is None


def test_unknown_accuracy_has_no_difference() -> None:
    two = runs()
    two[1].report["student"]["metrics"] = None
    assert line_up(two)["runs"][1]["difference"] is None


def test_wilson_interval_holds_the_share_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    for share in (0.5, 0.9, 0.99):
        held = [
            low <= share <= high
            for low, high in (
                wilson_interval(float(generator.binomial(539, share)) / 539, 539)
                for _ in range(2000)
            )
        ]
        assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    low, high = wilson_interval(1.0, 20)
    assert (low, high) == (pytest.approx(0.839, abs=0.001), 1.0)  # Wilson's, not [1, 1]


def test_interval_of_a_difference_holds_it_too_often_where_errors_are_shared() -> None:
    generator = np.random.default_rng(1)
    count, held, shared = 539, [], []
    for _ in range(1000):
        luck = generator.random(count)
        other = generator.random(count)
        for answers, found in (((luck < 0.9, other < 0.88), held),
                               ((luck < 0.9, luck < 0.88), shared)):  # fmt: skip
            one, two = (float(np.mean(right)) for right in answers)
            ends = [wilson_interval(right, count) for right in (one, two)]
            low, high = add(-one, [-ends[0][1], -ends[0][0]], two, ends[1])
            found.append(low <= -0.02 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    assert np.mean(shared) > 0.99


def test_names_are_short_where_they_tell_apart() -> None:
    assert names_of([Path("runs/a"), Path("runs/b")]) == ("a", "b")
    assert names_of([Path("x/a"), Path("y/a")]) == ("x/a", "y/a")


def test_terminal_and_markdown_say_the_same() -> None:
    document = Entry(line_up(runs()), FILE)
    lines = "\n".join(line for one in contest(document) for line in lines_of(one))
    told = render_sections(contest(document))
    for words in ("91.0 %", "86.0 %", "2.40", "run-1"):
        assert words in lines
        assert words in told
    assert "points" in lines
