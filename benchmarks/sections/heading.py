"""The verdict with its status and doubts, and the figures in large type."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.entries import Entry
from benchmarks.figures import Phrase, phrase, show
from benchmarks.formatting import count, metric_name, milliseconds, share
from benchmarks.verdict import SHOWN, Judgement, caveats, headline_row, judge, sentence
from benchmarks.wording import headline_metric, workload

STANDING = {
    "VALID": "measured in paired rounds; nothing speaks against the figures",
    "NOISY": "take the figures below with care",
    "INVALID": "do not rely on these figures",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    figure: Phrase
    said: Phrase
    before: Phrase | None  # what it was in the teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """``shown``: reasons for doubt; ``further``: those that are told on request."""

    verdict: Phrase
    judgement: Judgement
    standing: str
    shown: tuple[Phrase, ...]
    further: tuple[Phrase, ...]
    caveats: tuple[Phrase, ...]
    tiles: tuple[Tile, ...]


def heading(report: Entry) -> Heading:
    judgement = judge(report)
    return Heading(
        verdict=capitalised(sentence(report)),
        judgement=judgement,
        standing=STANDING[judgement.status],
        shown=judgement.reasons[:SHOWN],
        further=judgement.reasons[SHOWN:],
        caveats=caveats(report),
        tiles=tiles(report),
    )


def capitalised(told: Phrase) -> Phrase:
    """With a capital and a full stop, as a sentence has them."""
    first, *rest = told.parts
    if isinstance(first, Phrase):
        return phrase(*capitalised(first).parts[:-1], *rest, ".")
    if isinstance(first, str):
        first = first[:1].upper() + first[1:]
    return phrase(first, *rest, ".")


def tiles(report: Entry) -> tuple[Tile, ...]:
    teacher, student = report.get("teacher"), report.get("student")
    found = [
        Tile(
            figure=phrase(show(student.get(key), count)),
            said=phrase(name),
            before=phrase(show(teacher.get(key), count)),
        )
        for key, name in (("parameters", "parameters"), ("macs", "MACs per input"))
    ]
    row = headline_row(report)
    if row is not None and row.value["verdict"] != "invalid":
        now, before = (row.get(name, "median_ms") for name in ("student", "teacher"))
        found.append(
            Tile(
                figure=phrase(show(now, milliseconds), " ms"),
                said=workload(row),
                before=phrase(show(before, milliseconds), " ms"),
            )
        )
    name = headline_metric(student.get("metrics"))
    if name is not None:
        known = teacher.get("metrics", name)
        found.append(
            Tile(
                figure=phrase(show(student.get("metrics", name), share)),
                said=phrase(metric_name(name)),
                before=phrase(show(known, share)) if known.known else None,
            )
        )
    elif student.get("agreement").known:
        found.append(
            Tile(
                figure=phrase(show(student.get("agreement"), share)),
                said=phrase("agreement with the teacher; accuracy unknown"),
                before=None,
            )
        )
    return tuple(found)
