"""Where the time went, layer by layer, and why it is not less."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.blocks import (
    BarGroup,
    BarLine,
    Bars,
    Block,
    Items,
    Section,
    Stack,
    Table,
    Text,
    folded,
    subject_keys,
)
from benchmarks.entries import Entry
from benchmarks.figures import Phrase, cite, joined, phrase, show
from benchmarks.formatting import TIMES, microseconds, milliseconds, share, significant, whole
from benchmarks.plots.bars import pair_bar
from benchmarks.sections.widths import shorten
from benchmarks.wording import full_workload

SHOWN = 24  # layers; the others on request


def layers(report: Entry) -> Section | None:
    """None where no layer was timed."""
    blocks: list[Block] = []
    for one in report.get("explanation").each():
        blocks += explained(one)
    for one in report.get("layers").each():
        blocks += timed(one)
    return Section(title="Where the time went", blocks=tuple(blocks)) if blocks else None


def explained(one: Entry) -> tuple[Block, ...]:
    """The sentences about a workload, and its reasons in a table."""
    if one.get("reason").known:
        told = phrase(full_workload(one), ": not explained, because ", cite(one.get("reason")), ".")
        return (Text(said=told, tone="small"),)
    first, *rest = one.get("sentences").each()
    blocks: list[Block] = [Text(said=phrase(cite(first)))]
    if rest:
        blocks.append(Items(items=tuple(cite(sentence) for sentence in rest)))
    causes = one.get("causes").each()
    if causes:
        rows = tuple(
            (cause.value["cause"], phrase(show(cause.get("ms"), milliseconds), " ms"))
            for cause in causes
        )
        summary = phrase(
            "Time missing against the MACs, by reason: ",
            show(one.get("missing_ms"), milliseconds),
            " ms; faster by MACs ",
            show(one.get("macs_speedup"), significant),
            f"{TIMES}, by the clock ",
            show(one.get("time_speedup"), significant),
            TIMES,
        )
        table = Table(columns=("reason", "of a call"), rows=rows)
        blocks += folded(summary, (table,), unless=False)
    return tuple(blocks)


def timed(one: Entry) -> tuple[Block, ...]:
    """Bars of a workload's layers, the slowest first shown, and all in a table on request."""
    rows = one.get("rows").each()
    if not rows:
        return ()
    slowest = {row.path for row in sorted(rows, key=cost, reverse=True)[:SHOWN]}
    shown = [row for row in rows if row.path in slowest]
    widest = max(map(cost, rows))
    said = phrase(
        full_workload(one),
        ": microseconds of a call in each layer, in network order",
        ", the slowest alone" if len(rows) > len(shown) else "",
        ". ",
        subject_keys("bar"),
    )
    summary = phrase("Every layer with its widths, MACs and kernels")
    return (
        Text(said=said),
        Bars(groups=(BarGroup(heading=phrase(), lines=tuple(bar(row, widest) for row in shown)),)),
        *folded(summary, (table(rows),), unless=False),
    )


def cost(row: Entry) -> float:
    """The slower side's microseconds."""
    sides = (row.get(name, "us").value or 0.0 for name in ("teacher", "student"))
    return float(max(sides))


def bar(row: Entry, widest: float) -> BarLine:
    before, after = (row.get(name, "us") for name in ("teacher", "student"))
    told = phrase(show(before, microseconds), " → ", show(after, microseconds))
    return BarLine(
        name=shorten(row.value["name"]),
        bar=pair_bar(before.value or 0.0, after.value or 0.0, widest),
        said=told,
        hint=phrase(row.value["name"], ": ", told, " microseconds"),
    )


def table(rows: Sequence[Entry]) -> Table:
    return Table(
        columns=("layer", "", "µs", "inputs", "outputs", "MACs left", "time left", "missing µs",
                 "kernels"),
        rows=tuple(
            (
                row.value["name"],
                Stack(lines=("teacher", "student"), tone="pair"),
                sides(row, "us", microseconds),
                sides(row, "in_width", whole),
                sides(row, "out_width", whole),
                show(row.get("macs_left"), share),
                show(row.get("time_left"), share),
                show(row.get("missing_us"), microseconds),
                Stack(lines=(kernels(row, "teacher"), kernels(row, "student")), tone="pair"),
            )
            for row in rows
        ),
        words=(1, 8),
        name="latencies",
    )  # fmt: skip


def sides(row: Entry, key: str, form: object) -> Stack:
    found = (row.get(name, key) for name in ("teacher", "student"))
    return Stack(lines=tuple(show(one, form) for one in found), tone="pair")  # type: ignore[arg-type]


def kernels(row: Entry, subject: str) -> Phrase:
    return joined([cite(one) for one in row.get(subject, "kernels").each()], " + ")
