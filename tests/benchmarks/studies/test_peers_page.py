"""What the page says of records, whoever is ahead in them."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from benchmarks.environment import describe
from benchmarks.studies.parts import marks
from benchmarks.studies.peers_figures import Results, comparisons
from benchmarks.studies.peers_page import PART, PICTURE, write_page
from benchmarks.studies.peers_picture import picture
from tests.benchmarks.studies.peers_made_up import made_up


def page_of(results: Results, path: Path) -> str:
    write_page(results, path, "python -m benchmarks.studies.peers --seeds 2", describe())
    return path.read_text()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "studies.md"


def line_of(text: str, *words: str) -> str:
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_where_torch_pruning_wins_the_page_says_so(page: Path) -> None:
    text = page_of(made_up(), page)
    assert "compressor is ahead in 2 of 4 comparisons" in text
    assert "torch-pruning in 2" in text
    taylor = line_of(text, "- ResNet-20", "compressor against", "Taylor")
    assert "after training **torch-pruning is ahead** (-5.0, " in taylor
    assert "**torch-pruning's is faster in every seed**" in taylor
    assert "**torch-pruning is quicker** (9.0 s and 1.0 s)" in taylor
    magnitude = line_of(text, "- ResNet-20", "compressor against", "magnitude:")
    assert "after training compressor is ahead (+20.0, " in magnitude
    assert "as cut no difference can be told" in magnitude


def test_a_speed_that_is_not_measurable_in_every_seed_is_not_claimed(page: Path) -> None:
    text = page_of(made_up(verdict="no measurable difference"), page)
    assert "no student is measurably faster in every seed" in text
    assert "faster in every seed**" not in text


def test_the_command_the_seeds_and_the_scorings_are_told(page: Path) -> None:
    text = page_of(made_up(seeds=2), page)
    assert "`python -m benchmarks.studies.peers --seeds 2`" in text
    assert "A seed (0, 1) decides" in text
    assert "The 500 test images were scored 31 times" in text  # a teacher, 2 x 5 x 3
    assert "padded with zeros" in text
    assert "| **ResNet-20**, dense |  |  |  |  | 96.0 % |" in text


def test_cells_of_several_versions_are_told(page: Path) -> None:
    results = made_up()
    assert "versions of compressor's sources" not in page_of(results, page)
    other = msgspec.structs.replace(results.cells[0], sources="other")
    mixed = dataclasses.replace(results, cells=(other, *results.cells[1:]))
    assert "by 2 versions of compressor's sources" in page_of(mixed, page)


def test_what_failed_is_listed(page: Path) -> None:
    text = page_of(made_up(failed=(("tp-taylor", 0), ("tp-taylor", 1))), page)
    assert "- resnet20, 50 %, seed 1, tp-taylor: BudgetError: out of reach" in text
    assert "of 2 comparisons" in text


def test_other_parts_of_the_page_stay(page: Path) -> None:
    page.write_text("# Studies\n\nbefore\n")
    page_of(made_up(), page)
    page.write_text(page.read_text() + "\nafter\n")
    text = page_of(made_up(seeds=3), page)
    assert text.startswith("# Studies\n\nbefore\n")
    assert text.endswith("\nafter\n")
    assert text.count(marks(PART)[0]) == 1
    assert "A seed (0, 1, 2)" in text


def test_nothing_measured_yet_is_a_page_without_a_picture(page: Path) -> None:
    results = made_up(seeds=0)
    assert "Nothing has been compared yet" in page_of(results, page)
    assert not page.with_name(PICTURE).exists()


def test_the_picture_has_a_mark_for_every_stage_of_every_comparison(page: Path) -> None:
    results = made_up()
    page_of(results, page)
    drawn = ElementTree.fromstring(page.with_name(PICTURE).read_text())
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    compared = tuple(comparisons(results))
    assert len(circles) == 3 * len(compared)
    assert picture(compared) == page.with_name(PICTURE).read_text()
