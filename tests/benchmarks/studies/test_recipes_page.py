"""What the page says of cells, whoever is ahead in them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from benchmarks.environment import describe
from benchmarks.studies.answers import answers_of
from benchmarks.studies.parts import marks
from benchmarks.studies.recipes.arms import RECIPES
from benchmarks.studies.recipes.figures import Results, answered, word_by_seed
from benchmarks.studies.recipes.gradually import area
from benchmarks.studies.recipes.page import write_page
from benchmarks.studies.recipes.records import Cell, Point, RecipeName, Settings

IMAGES, DENSE = 500, 1000
TOP1 = {"kd-pruned": 0.6, "kd-dense": 0.7, "kd-restarts": 0.6, "simple": 0.5, "epsd": 0.6}
TOP1 |= {"cross-correlation": 0.8, "one-shot": 0.9}


def made_up(
    recipe: RecipeName, *, seeds: int = 2, params: dict[str, int] | None = None, failed: str = ""
) -> Results:
    """Cells of a study that nobody ran."""
    settings = Settings(
        recipe=recipe,
        network="resnet8",
        sparsity=0.6,
        data="cifar",
        train_images=2000,
        test_images=IMAGES,
        epochs=4,
    )
    cells = []
    for seed in range(seeds):
        for arm in RECIPES[recipe].arms:
            share = TOP1.get(arm.name, 0.65)
            curve = (Point(passes=0.0, accuracy=share - 0.2), Point(passes=4.0, accuracy=share))
            cells.append(
                Cell(
                    recipe=recipe,
                    network="resnet8",
                    sparsity=0.6,
                    seed=seed,
                    arm=arm.name,
                    key="k",
                    failed="BudgetError: out of reach" if arm.name == failed else "",
                    dense_params=DENSE,
                    params=DENSE if arm.teacher else (params or {}).get(arm.name, 400),
                    macs=5000,
                    passes=arm.passes(settings),
                    seconds=2.0,
                    stages={"trained": answers_of(np.arange(IMAGES) < share * IMAGES)},
                    curve=curve if recipe == "sdp" and not arm.teacher else (),
                    facts={
                        "steps": 3,
                        "added_gradient": 0.2,
                        "overlap": 0.9,
                        "overlap_other_batches": 0.6,
                    }
                    | ({"density": 0.41} if arm.name == "pruned" else {}),
                )
            )
    return Results(recipe=RECIPES[recipe], settings=settings, cells=tuple(cells))


def page_of(results: Results, path: Path) -> str:
    write_page(results, path, "python -m benchmarks.studies.recipes --seeds 2", describe())
    return path.read_text()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "studies.md"


def line_of(text: str, *words: str) -> str:
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_the_words_follow_the_figures(page: Path) -> None:
    text = page_of(made_up("prune-then-distill"), page)
    assert "- A pruned teacher: **unfavourable** (-10.0, " in text
    assert "beyond training it longer: cannot be told from nothing (+0.0, " in text
    assert "- A teacher: favourable (+5.0, " in text
    row = line_of(text, "fresh, KD from pruned minus fresh, KD from dense |")
    assert "-10.00, -10.00" in row
    assert "pruned teacher, 41.0 % of its weights living" in text
    assert "4 rounds of 1 pass, each without 20 %" in text


def test_one_seed_tells_nothing_of_an_idea(page: Path) -> None:
    text = page_of(made_up("prune-then-distill", seeds=1), page)
    assert "- A pruned teacher: one seed: cannot be told (-10.0, " in text
    assert "favourable" not in text
    assert word_by_seed([0.1]) == "one seed: cannot be told"
    assert word_by_seed([0.1, 0.2]) == "favourable in every seed"
    assert word_by_seed([0.1, -0.2]) == "not of one sign"
    assert word_by_seed([-0.1, -0.2]) == "**unfavourable in every seed**"


def test_equal_costs_and_passes_are_told_and_unequal_ones_stand_out(page: Path) -> None:
    text = page_of(made_up("prune-then-distill"), page)
    assert "at most 0.00 points apart" in text
    assert "every student trains 4 passes, of 4 passes asked for" in text
    text = page_of(made_up("prune-then-distill", params={"uniform": 420}), page)
    assert "**at most 2.00 points apart, which is more than half a point**" in text


def test_the_page_says_what_was_held_out_and_claims_no_paper(page: Path) -> None:
    text = page_of(made_up("sdp"), page)
    assert "The last 500 images of the training part" in text
    assert "none is claimed to be reproduced" in text
    assert "A seed (0, 1) decides" in text
    assert "`python -m benchmarks.studies.recipes --seeds 2`" in text


def test_epsd_says_whether_self_distillation_had_a_say(page: Path) -> None:
    text = page_of(made_up("epsd"), page)
    assert "| 0 | 0.20 | 90.0 % | 60.0 % |" in text
    assert "In 0 of 2 seeds self-distillation changes what stays more" in text
    assert "- Looking ahead with the self-distillation loss: favourable (+10.0, " in text


def test_sdp_says_how_students_recover(page: Path) -> None:
    text = page_of(made_up("sdp"), page)
    row = line_of(text, "gradual, cross-correlation minus gradual, cross-entropy only", "in every")
    assert "+15.00, +15.00 | favourable in every seed" in row
    assert "- Cross-correlation, against one-shot pruning: **unfavourable**" in text
    assert "| gradual, cross-correlation | 80.0 \u00b1 0.0 |" in text
    assert "| 70.0 \u00b1 0.0 |" in line_of(text, "| gradual, cross-correlation | 80.0")


def test_an_area_is_a_mean_over_passes() -> None:
    points = [(0, 0.2), (1, 0.6), (1, 0.3), (3, 0.5)]  # cut, recovered, cut, recovered
    curve = tuple(Point(passes=passes, accuracy=accuracy) for passes, accuracy in points)
    assert area(curve) == pytest.approx((0.4 * 1 + 0.4 * 2) / 3)
    assert area(()) == 0.0


def test_each_recipe_has_its_part_and_replaces_it(page: Path) -> None:
    page.write_text("# Studies\n\nbefore\n")
    for recipe in RECIPES:
        page_of(made_up(recipe), page)
    page.write_text(page.read_text() + "\nafter\n")
    text = page_of(made_up("epsd", seeds=3), page)
    assert text.startswith("# Studies\n\nbefore\n")
    assert text.endswith("\nafter\n")
    for recipe in RECIPES:
        assert text.count(marks(f"recipes-{recipe}")[0]) == 1
    assert "A seed (0, 1, 2)" in text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(set(headings)) == len(headings)


def test_what_failed_is_listed_and_not_compared(page: Path) -> None:
    results = made_up("epsd", failed="simple")
    text = page_of(results, page)
    assert "- seed 1, simple: BudgetError: out of reach" in text
    assert {one.question.second for one in answered(results)} == {"densities", "uniform"}


def test_the_picture_has_a_mark_for_every_idea(page: Path) -> None:
    results = made_up("sdp")
    page_of(results, page)
    drawn = ElementTree.fromstring(page.with_name("studies-recipes-sdp.svg").read_text())
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == len(answered(results)) == len(RECIPES["sdp"].questions)
