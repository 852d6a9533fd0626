"""Pictures: well-formed, and every mark stands where the axis says its number is."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from markupsafe import Markup

from benchmarks.entries import Entry
from benchmarks.figures import Figure, phrase, show
from benchmarks.formatting import TIMES, UNKNOWN, significant
from benchmarks.plots.bars import pair_bar, part_bar
from benchmarks.plots.curves import Curve, curves
from benchmarks.plots.distributions import distribution
from benchmarks.plots.forests import Speedup, forest
from benchmarks.plots.fronts import Spot, accuracy_against_latency, clusters, front


def figure(value: float) -> Figure:
    found = show(Entry(value, path=("x",)), significant)
    assert isinstance(found, Figure)
    return found


def parse(markup: Markup) -> ET.Element:
    root = ET.fromstring(str(markup))
    assert root.tag == "svg"
    return root


def across(root: ET.Element) -> dict[float, float]:
    """Number of the lower axis -> place in per cent."""
    found = {}
    for one in root.iter("text"):
        if one.get("class") == "tick" and one.get("text-anchor") == "middle":
            number = (one.text or "").rstrip(TIMES).replace(",", "")
            found[float(number)] = float((one.get("x") or "").rstrip("%"))
    return found


def upwards(root: ET.Element) -> dict[float, float]:
    """Number of the side axis -> place in pixels."""
    found = {}
    for one in root.iter("text"):
        if one.get("class") == "tick" and one.get("text-anchor") == "end":
            try:
                number = float((one.text or "").rstrip(" %").replace(",", ""))
            except ValueError:  # the axis' name
                continue
            found[number] = float(one.get("y") or "") - 4
    return found


def read_off(axis: dict[float, float], place: float, *, log: bool) -> float:
    """The number that an axis says stands at a place."""
    ends = sorted(axis.items())
    numbers = np.array([np.log(number) if log else number for number, _ in ends])
    places = np.array([one for _, one in ends])
    slope = (numbers[-1] - numbers[0]) / (places[-1] - places[0])
    found = float(numbers[0] + slope * (place - places[0]))
    return float(np.exp(found)) if log else found


@pytest.mark.parametrize("limit", [None, 20.0])
def test_points_of_a_curve_stand_at_their_numbers(limit: float | None) -> None:
    points = ((1, 3.1), (8, 21.0), (32, 83.0))
    line = Curve(subject="t", points=tuple((figure(x), figure(y)) for x, y in points))
    drawn = curves(
        [line], title="a & b", x_name="batch", y_name="ms", limit=limit and figure(limit)
    )
    root = parse(drawn)
    circles = list(root.iter("circle"))
    for circle, (x, y) in zip(circles, points, strict=True):
        place, height = float((circle.get("cx") or "").rstrip("%")), float(circle.get("cy") or "")
        assert read_off(across(root), place, log=True) == pytest.approx(x, rel=0.01)
        assert read_off(upwards(root), height, log=True) == pytest.approx(y, rel=0.01)
    (path,) = root.iter("path")  # through the very same points
    corners = [one.split() for one in (path.get("d") or "")[1:].split("L")]
    for (place, height), circle in zip(corners, circles, strict=True):
        assert f"{place}%" == circle.get("cx")
        assert 22 + float(height) * 1.68 == pytest.approx(float(circle.get("cy") or ""), abs=0.05)


def test_dots_and_whiskers_of_a_forest_stand_at_their_numbers() -> None:
    line = Speedup(
        label=phrase("a & b"),
        value=figure(2.4),
        interval=(figure(2.3), figure(2.5)),
        band=(figure(0.9), figure(1.1)),
        verdict="faster",
    )
    bare = Speedup(label=phrase("c"), value=figure(0.9), interval=None, band=None, verdict="slower")
    root = parse(forest([line, bare]))
    axis = across(root)
    dots = [float((one.get("cx") or "").rstrip("%")) for one in root.iter("circle")]
    assert [read_off(axis, one, log=True) for one in dots] == pytest.approx([2.4, 0.9], rel=0.01)
    whisker = next(one for one in root.iter("line") if one.get("class") == "whisker")
    ends = [float((whisker.get(name) or "").rstrip("%")) for name in ("x1", "x2")]
    assert [read_off(axis, one, log=True) for one in ends] == pytest.approx([2.3, 2.5], rel=0.01)


SPOTS = tuple(
    Spot(mark=mark, subject=subject, latency=figure(latency), accuracy=figure(accuracy))
    for mark, subject, latency, accuracy in (
        ("A", "t", 3.1, 0.927),
        ("B", "s", 1.29, 0.912),
        ("C", "s", 0.71, 0.884),
        ("D", "s", 6.9, 0.912),
        ("E", "s", 1.31, 0.911),
    )
)


def test_spots_stand_at_their_latency_and_accuracy() -> None:
    root = parse(accuracy_against_latency(SPOTS, "top-1"))
    for circle in root.iter("circle"):
        title = circle.find("title")
        assert title is not None
        spot = next(one for one in SPOTS if one.mark == (title.text or "")[0])
        place, height = float((circle.get("cx") or "").rstrip("%")), float(circle.get("cy") or "")
        found = read_off(across(root), place, log=True)
        assert found == pytest.approx(spot.latency.value, rel=0.01)
        found = read_off(upwards(root), height, log=False)
        assert found == pytest.approx(100 * spot.accuracy.value, abs=0.06)
    marks = [one.text for one in root.iter("text") if one.get("class") == "mark"]
    assert sorted(" ".join(map(str, marks)).split()) == ["A", "B", "C", "D", "E"]


def test_the_front_is_what_nothing_else_beats() -> None:
    best = front(SPOTS)
    assert [one.mark for one in best] == ["C", "B", "A"]
    for one in SPOTS:
        beaten = [
            other
            for other in SPOTS
            if other.latency.value <= one.latency.value
            and other.accuracy.value >= one.accuracy.value
            and other is not one
        ]
        assert (one in best) == (not beaten)
    assert all(slow.accuracy.value > fast.accuracy.value for fast, slow in pairwise(best))


def test_spots_too_near_each_other_share_a_label() -> None:
    found = clusters({"A": (10.0, 50.0), "B": (11.0, 55.0), "C": (80.0, 50.0)})
    assert list(found.values()) == [["A", "B"], ["C"]]


def test_kept_and_removed_widths_are_in_proportion() -> None:
    before, after = parse(part_bar(8, 32, 64))
    assert (before.get("width"), after.get("width")) == ("50.0%", "12.5%")
    teacher, student = parse(pair_bar(30.0, 15.0, 60.0))
    assert (teacher.get("width"), student.get("width")) == ("50.0%", "25.0%")
    assert parse(pair_bar(0.0, 0.0, 0.0))[0].get("width") == "0.0%"


@pytest.mark.parametrize("times", [([3.0, 3.1, 3.2] * 20, [1.0, 1.1]), ([2.0], [2.0])])
def test_a_distribution_has_a_curve_for_each_and_dots_at_the_medians(
    times: tuple[list[float], list[float]],
) -> None:
    medians = {"t": figure(float(np.median(times[0]))), "s": UNKNOWN}
    root = parse(distribution(*times, medians))
    assert [one.get("class") for one in root.iter("path")] == ["curve t", "curve s"]
    (dot,) = root.iter("circle")
    place = float((dot.get("cx") or "").rstrip("%"))
    found = read_off(across(root), place, log=True)
    assert found == pytest.approx(np.median(times[0]), rel=0.02)
