"""The page of a recipe's study: a table of arms, what each idea is worth, and the picture.

Comes in: results.  Goes out: Markdown between two marks of a page that other studies share, and an
SVG beside it.  Whether an idea helps is worked out here, from the figures, whatever they are.
Knows nothing of networks, torch or clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.formatting import count, share
from benchmarks.studies.intervals import picture_of
from benchmarks.studies.parts import put_part, table
from benchmarks.studies.recipes.arms import Question
from benchmarks.studies.recipes.figures import (
    Answer,
    Results,
    answered,
    in_points,
    mean,
    mean_and_spread,
    paired,
    word_by_seed,
)
from benchmarks.studies.recipes.gradually import area
from benchmarks.studies.recipes.records import Cell
from benchmarks.studies.recipes.words import setting
from compressor.files import write_bytes


def write_page(results: Results, page: Path, command: str, facts: dict[str, Any]) -> None:
    """Put the study's part into ``page``, which may hold others, and the picture beside it."""
    answers = answered(results)
    name = f"recipes-{results.settings.recipe}"
    picture = f"studies-{name}.svg"
    if answers:
        drawn = picture_of(
            f"{results.recipe.title}: differences in top-1 with 95 % intervals",
            [_titles(results, one.question) for one in answers],
            {"top-1": [one.top1 for one in answers]},
            margin=620,
        )
        write_bytes(page.with_name(picture), drawn.encode())
    put_part(page, name, render(results, answers, command, facts, picture))


def render(
    results: Results,
    answers: Sequence[Answer],
    command: str,
    facts: dict[str, Any],
    picture: str,
) -> str:
    """The study's part of the page.  ``facts`` are those of ``benchmarks.environment``."""
    title = results.recipe.title
    lines = [f"## Does it help: {title}", "", *setting(results, command, facts)]
    lines += [f"### What each idea of {title} is worth", "", *verdicts(answers), ""]
    if answers:
        lines += [*_differences_table(results, answers), f"![{title}]({picture})", ""]
    lines += [f"### Every network of {title}", "", *_arms_table(results)]
    lines += [*_early(results), *_recovery(results)]
    failed = [f"- seed {c.seed}, {c.arm}: {c.failed}" for c in results.cells if c.failed]
    lines += [f"### Not measured of {title}", "", *failed, ""] if failed else []
    return "\n".join(lines).rstrip()


def verdicts(answers: Sequence[Answer]) -> list[str]:
    """A line for every idea, as its interval says."""
    if not answers:
        return ["Nothing has been compared yet."]
    return [f"- {_upper(one.question.idea)}: {one.word} ({one.top1.points})." for one in answers]


def _differences_table(results: Results, answers: Sequence[Answer]) -> list[str]:
    body = [
        (_titles(results, one.question), in_points(one.by_seed), one.top1.points, one.word)
        for one in answers
    ]
    return table(("first minus second, in points of top-1", "by seed", "mean, 95 %", "is"), body)


def _arms_table(results: Results) -> list[str]:
    sdp = results.settings.recipe == "sdp"
    head = ["network", "top-1, mean \u00b1 std", "parameters", "gone", "MACs", "passes", "seconds"]
    head += ["area under recovery"] if sdp else []
    body = []
    for arm in results.recipe.arms:
        cells = results.whole(arm.name)
        if not cells:
            continue
        row = [
            arm.title + _living(cells),
            mean_and_spread([cell.last.top1 for cell in cells]),
            count(mean(cells, lambda cell: cell.params)),
            share(1 - mean(cells, lambda cell: cell.params) / results.dense_params, 2),
            count(mean(cells, lambda cell: cell.macs)),
            f"{round(mean(cells, lambda cell: cell.passes), 2):g}",
            f"{mean(cells, lambda cell: cell.seconds):.1f}",
        ]
        row += [mean_and_spread(_areas(cells)) if cells[0].curve else ""] if sdp else []
        body.append(row)
    return table(head, body)


def _living(cells: Sequence[Cell]) -> str:
    if "density" not in cells[0].facts:
        return ""
    return f", {share(mean(cells, lambda cell: cell.facts['density']))} of its weights living"


def _areas(cells: Sequence[Cell]) -> list[float]:
    return [area(cell.curve) for cell in cells]


def _early(results: Results) -> Iterator[str]:
    """EPSD: whether self-distillation had a say in what stays."""
    cells = results.whole("epsd") if results.settings.recipe == "epsd" else ()
    if not cells:
        return
    yield from ("### Whether self-distillation had a say", "")
    yield from table(
        ("seed", "gradient ratio", "units kept by both", "control: other batches"),
        [
            (
                str(cell.seed),
                f"{cell.facts['added_gradient']:.2f}",
                share(cell.facts["overlap"]),
                share(cell.facts["overlap_other_batches"]),
            )
            for cell in cells
        ],
    )
    told = sum(c.facts["overlap"] < c.facts["overlap_other_batches"] for c in cells)
    yield (
        "The gradient ratio is of what self-distillation adds, to that of the labels. Units kept "
        "with it and without, as a share of those kept by either; the control is the same share of "
        f"two look-aheads by labels alone with other batches. In {told} of {len(cells)} seeds "
        "self-distillation changes what stays more than other batches do."
    )
    yield ""


def _recovery(results: Results) -> Iterator[str]:
    """SDP: areas against cross-entropy only, seed by seed; they have no test images to resample."""
    if results.settings.recipe != "sdp":
        return
    body = []
    for question in results.recipe.questions:
        pairs = paired(results, question)
        if question.second != "ce" or not pairs:
            continue
        apart = [area(first.curve) - area(second.curve) for first, second in pairs]
        body.append(
            (
                _titles(results, question),
                in_points(apart),
                word_by_seed(apart),
            )
        )
    if body:
        yield from ("### Recovery after each step", "")
        yield from table(("area, first minus second, in points", "by seed", "is"), body)


def _titles(results: Results, asked: Question) -> str:
    titles = {arm.name: arm.title for arm in results.recipe.arms}
    return f"{titles[asked.first]} minus {titles[asked.second]}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
