"""The page of the study: tables, sentences that say who is ahead, and the picture.

Comes in: what a study folder holds.  Goes out: Markdown between two marks of a page that other
studies share, and an SVG beside it.  Who is ahead is worked out here, from the figures, whoever it
is.  Knows nothing of networks, torch or clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.formatting import seconds, share, significant
from benchmarks.studies.answers import Difference
from benchmarks.studies.parts import put_part, table
from benchmarks.studies.peers_figures import (
    Comparison,
    Results,
    comparisons,
    sparsities,
    whole,
)
from benchmarks.studies.peers_picture import picture
from benchmarks.studies.peers_records import STAGES, Arm, Cell, Network, TeacherRecord
from benchmarks.studies.peers_words import setting
from compressor.files import write_bytes

PART = "peers"
PICTURE = "studies-peers.svg"
STAGE_WORDS = {"cut": "as cut", "repaired": "after repair", "trained": "after training"}


def write_page(results: Results, page: Path, command: str, facts: dict[str, Any]) -> None:
    """Put the study's part into ``page``, which may hold others, and the picture beside it."""
    compared = tuple(comparisons(results))
    if compared:
        write_bytes(page.with_name(PICTURE), picture(compared).encode())
    put_part(page, PART, render(results, compared, command, facts))


def render(
    results: Results, compared: Sequence[Comparison], command: str, facts: dict[str, Any]
) -> str:
    """The study's part of the page.  ``facts`` are those of ``benchmarks.environment``."""
    lines = ["## Against torch-pruning", "", *setting(results, command, facts)]
    lines += ["### Who is ahead", "", *who_is_ahead(compared), ""]
    lines += ["### Every arm", "", *_arms_table(results)]
    if compared:
        lines += [
            "### Differences, ours minus torch-pruning's, in points",
            "",
            *_differences_table(compared),
            f"![Differences with their intervals]({PICTURE})",
            "",
        ]
    failed = [f"- {_subject(c)}: {c.failed}" for c in results.cells if c.failed]
    lines += ["### Not measured", "", *failed, ""] if failed else []
    return "\n".join(lines).rstrip()


def who_is_ahead(compared: Sequence[Comparison]) -> list[str]:
    """One line per comparison and, before them, how often which tool is ahead after training."""
    users = [one for one in compared if not one.second.refits]
    if not users:
        return ["Nothing has been compared yet."]
    signs = [one.stages["trained"].sign for one in users]
    lines = [
        f"After training, compressor is ahead in {signs.count(1)} of {len(signs)} comparisons with "
        f"torch-pruning as its users get it, torch-pruning in {signs.count(-1)}; in "
        f"{signs.count(0)} the interval holds 0 and neither can be called better.",
        "",
    ]
    return lines + [f"- {_sentence(one)}" for one in compared]


def _sentence(one: Comparison) -> str:
    subject = f"{one.network.title}, {share(one.sparsity, 0)}: {one.first.title} against "
    said = "; ".join(f"{STAGE_WORDS[stage]} {_ahead(one.stages[stage], one)}" for stage in STAGES)
    latency = ""
    if one.latency:
        words = {
            1: "ours is faster in every seed",
            -1: "**torch-pruning's is faster in every seed**",
        }
        told = words.get(one.faster, "no student is measurably faster in every seed")
        latency = f"; in ONNX Runtime {told} ({_ratios(one)})"
    ours, theirs = one.prune_s
    quicker = "**torch-pruning is quicker**" if theirs < ours else "compressor is quicker"
    unequal = "" if one.equal_costs else " **Their costs differ by over half a point.**"
    return (
        f"{subject}{one.second.title}: {said}{latency}; to prune, {quicker} "
        f"({seconds(ours)} and {seconds(theirs)}).{unequal}"
    )


def _ahead(found: Difference, one: Comparison) -> str:
    theirs = "torch-pruning" if not one.second.refits else "the refitted cut of torch-pruning"
    if found.sign == 0:
        return f"no difference can be told ({found.points})"
    who = "compressor is ahead" if found.sign > 0 else f"**{theirs} is ahead**"
    return f"{who} ({found.points})"


def _ratios(one: Comparison) -> str:
    return ", ".join(significant(pair.latency.speedup) for pair in one.latency)


def _arms_table(results: Results) -> list[str]:
    head = (
        "student", "gone", "params gone", "as cut", "repaired", "trained", "speed-up over dense",
        "prune s", "repair s", "train s",
    )  # fmt: skip
    teachers = {teacher.network: teacher for teacher in results.teachers}
    body: list[tuple[str, ...]] = []
    for network in results.networks:
        teacher = teachers.get(network.name)
        if teacher is None:
            continue
        top1 = share(teacher.answers.top1)
        body.append((f"**{network.title}**, dense", "", "", "", "", top1, "", "", "", ""))
        for sparsity in sparsities(results):
            for arm in results.arms:
                cells = whole(results, network, sparsity, arm)
                if cells:
                    body.append(_arm_row(teacher, network, sparsity, arm, cells))
    return table(head, body)


def _arm_row(
    teacher: TeacherRecord, network: Network, sparsity: float, arm: Arm, cells: Sequence[Cell]
) -> tuple[str, ...]:
    def mean(values: Iterator[float]) -> float:
        return float(np.mean(list(values)))

    faster = [cell.latency.speedup for cell in cells if cell.latency is not None]
    return (
        f"{network.title}, {share(sparsity, 0)}: {arm.title}",
        share(mean(cell.gone for cell in cells), 2),
        share(1 - mean(cell.params for cell in cells) / teacher.params),
        *(_mean_and_range([cell.stages[stage].top1 for cell in cells]) for stage in STAGES),
        ", ".join(significant(one) for one in faster),
        *(f"{mean(c.seconds[name] for c in cells):.1f}" for name in ("prune", "repair", "train")),
    )


def _mean_and_range(values: Sequence[float]) -> str:
    mean = f"{100 * float(np.mean(values)):.1f}"
    return f"{mean} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def _differences_table(compared: Sequence[Comparison]) -> list[str]:
    head = ("ours", "torch-pruning's", "seeds", *STAGE_WORDS.values(), "times faster, by seed")
    body = [
        (
            f"{one.network.title}, {share(one.sparsity, 0)}: {one.first.title}",
            one.second.title,
            str(one.seeds),
            *(one.stages[stage].points for stage in STAGES),
            _ratios(one),
        )
        for one in compared
    ]
    return table(head, body)


def _subject(cell: Cell) -> str:
    return f"{cell.network}, {share(cell.sparsity, 0)}, seed {cell.seed}, {cell.arm}"
