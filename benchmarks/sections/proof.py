"""The proof, and what was frozen and why."""

from __future__ import annotations

from benchmarks.blocks import Block, Facts, Section, Stack, Table, Text, folded
from benchmarks.entries import Entry
from benchmarks.figures import cite, derive, phrase, show
from benchmarks.formatting import error, fine_share, grouped, whole
from compressor.types import Analysis

FEW = 10  # frozen places that are shown at once
PASSED = (
    "Right after removal the student gave the same values as the teacher with the removed units "
    "silenced, node by node in float64."
)
FAILED = "The student differs from the teacher with the removed units silenced"
MOVED = (
    "“Moved” tells how far pruning moved the output: a proof on a network that did not move would "
    "prove nothing."
)
INEXACT = (
    " For inexact groups a norm, mean or softmax runs over the units; there the student equals "
    "the teacher with that operation restricted to the kept units."
)


def proof(report: Entry) -> Section:
    found = report.get("proof")
    if not found.known:
        told = "There is no proof: weights were zeroed, not removed."
        return Section(title="Proof", blocks=(Text(said=phrase(told)),))
    passed = bool(found.value["passed"])
    said = phrase(PASSED)
    if not passed:
        wrong = found.get("first_wrong")
        place = phrase("; the first wrong node is ", cite(wrong)) if wrong.known else ""
        said = phrase(FAILED, place, ".")
    facts = Facts(
        pairs=(
            ("largest relative error", show(found.get("max_relative_error"), error)),
            ("tolerance", show(found.get("tolerance"), error)),
            ("nodes compared", show(found.get("nodes_compared"), grouped)),
            ("output moved by", show(found.get("moved"), error)),
            ("exact groups", show(found.get("exact_groups"), whole)),
            ("inexact groups", show(found.get("inexact_groups"), whole)),
        )
    )
    more = phrase(MOVED, INEXACT if found.value["inexact_groups"] else "")
    pill = ("PASSED", "VALID") if passed else ("FAILED", "INVALID")
    blocks = (Text(said=said, pill=pill), facts, Text(said=more, tone="small"))
    return Section(title="Proof", blocks=blocks)


def frozen(analysis: Analysis | None) -> Section | None:
    """None where nothing was analysed for removal."""
    if analysis is None:
        return None
    share = Entry(analysis.prunable_parameters, "analysis.json", ("prunable_parameters",))
    told = phrase(
        show(share, fine_share),
        " of the parameters can be pruned",
        "" if analysis.frozen else "; nothing was frozen",
        ".",
    )
    blocks: list[Block] = [Text(said=told)]
    if analysis.frozen:
        places = Entry(analysis.frozen, "analysis.json", ("frozen",))
        summary = phrase(
            derive("length", places, form=whole), " places are frozen; show them, largest first"
        )
        blocks += folded(summary, (table(analysis),), unless=len(analysis.frozen) <= FEW)
    return Section(title="What was frozen, and why", blocks=tuple(blocks))


def table(analysis: Analysis) -> Table:

    def at(number: int, key: str) -> Entry:
        return Entry(
            getattr(analysis.frozen[number], key), "analysis.json", ("frozen", number, key)
        )

    def text(number: int, key: str) -> object:
        return cite(at(number, key))

    ordered = sorted(enumerate(analysis.frozen), key=lambda one: -one[1].parameters)
    return Table(
        columns=("where", "operator", "reason", "parameters"),
        rows=tuple(
            (
                text(number, "where" if one.where else "node"),
                text(number, "op"),
                Stack(lines=(text(number, "reason"), text(number, "source")))
                if one.source
                else text(number, "reason"),
                show(at(number, "parameters"), grouped),
            )
            for number, one in ordered
        ),
        words=(1, 2),
        name="places",
    )
