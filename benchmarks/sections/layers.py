"""Where the time went, layer by layer, and why it is not less.

One runtime and precision is shown, the first; the others stand in a table with the reason that
weighs most, and whole on request.  Where its own ratio lies outside the interval of the verdict,
that is said beside it: these times are of one process, and by the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from benchmarks.formatting import (
    TIMES,
    UNKNOWN,
    microseconds,
    milliseconds,
    share,
    significant,
    whole,
)
from benchmarks.plots.bars import pair_bar
from benchmarks.sections.widths import shorten
from benchmarks.wording import full_workload, interval, setting, short_workload
from benchmarks.workloads import SETTING

SHOWN = 24  # layers; the others on request
Place = tuple[Any, ...]


def layers(report: Entry) -> Section | None:
    """None where no layer was timed."""
    told = report.get("explanation").each()
    left = {place_of(one): one for one in report.get("layers").each()}
    explained = [one for one in told if not one.get("reason").known]
    verdicts = verdicts_of(report)
    blocks: list[Block] = []
    if len(explained) > 1:
        blocks.append(overview(explained, verdicts))
    for number, one in enumerate(explained):
        rows = left.pop(place_of(one), Entry(None))
        inside = (*account(one, verdicts), *timed(rows))
        blocks += folded(headline(one, verdicts), inside, unless=number == 0)
    for rows in left.values():
        blocks += timed(rows)
    blocks += [unexplained(one) for one in told if one.get("reason").known]
    return Section(title="Where the time went", blocks=tuple(blocks)) if blocks else None


def place_of(one: Entry) -> Place:
    """The workload: equal ones belong together."""
    return tuple(one.value[key] for key in SETTING)


def verdicts_of(report: Entry) -> Mapping[Place, Entry]:
    """The benchmark of each workload."""
    return {place_of(row): row for row in report.get("benchmarks").each()}


def contradicted(one: Entry, verdicts: Mapping[Place, Entry]) -> Entry | None:
    """The benchmark in whose interval the ratio of a breakdown does not lie; None where it does,
    and where there is no such benchmark, or no valid one."""
    row = verdicts.get(place_of(one), Entry({"verdict": "invalid"}))
    if row.value["verdict"] == "invalid" or not row.get("interval").known:
        return None
    low, high = row.value["interval"]
    return None if low <= one.value["time_speedup"] <= high else row


def by_the_clock(one: Entry, verdicts: Mapping[Place, Entry]) -> Phrase:
    """ "3.43x (verdict: 1.91x)": the breakdown's ratio, the verdict's where it is another."""
    row = contradicted(one, verdicts)
    own = phrase(show(one.get("time_speedup"), significant), TIMES)
    if row is None:
        return own
    return phrase(own, " (verdict: ", show(row.get("speedup"), significant), TIMES, ")")


def overview(explained: Sequence[Entry], verdicts: Mapping[Place, Entry]) -> Table:
    """A line for each runtime and precision: times faster, what is missing, and most of it why."""
    return Table(
        columns=("setting", "faster by MACs", "by the clock", "missing, ms", "for the most part"),
        rows=tuple(
            (
                Stack(lines=(short_workload(one), setting(one))),
                phrase(show(one.get("macs_speedup"), significant), TIMES),
                by_the_clock(one, verdicts),
                show(one.get("missing_ms"), milliseconds),
                main_cause(one),
            )
            for one in explained
        ),
        words=(4,),
    )


def main_cause(one: Entry) -> Phrase:
    """The reason that weighs most, with its milliseconds."""
    causes = one.get("causes").each()
    if not causes:
        return phrase(UNKNOWN)
    most = max(causes, key=lambda cause: abs(cause.value["ms"]))
    return phrase(cite(most.get("cause")), " (", show(most.get("ms"), milliseconds), " ms)")


def headline(one: Entry, verdicts: Mapping[Place, Entry]) -> Phrase:
    return phrase(
        full_workload(one),
        ": faster by MACs ",
        show(one.get("macs_speedup"), significant),
        f"{TIMES}, by the clock ",
        by_the_clock(one, verdicts),
    )


def unexplained(one: Entry) -> Text:
    told = phrase(full_workload(one), ": not explained, because ", cite(one.get("reason")), ".")
    return Text(said=told, tone="small")


def disagreement(one: Entry, row: Entry) -> Text:
    """Why a breakdown and a verdict give two ratios for one workload."""
    return Text(
        said=phrase(
            "These times were taken apart from the verdict's, in one process and by the clock, and "
            "their ratio of ",
            show(one.get("time_speedup"), significant),
            f"{TIMES} lies outside the verdict's interval (",
            interval(row.get("interval")),
            "): they tell where time goes, not how much faster the student is.",
        )
    )


def account(one: Entry, verdicts: Mapping[Place, Entry]) -> tuple[Block, ...]:
    """The sentences about a workload, and its reasons in a table."""
    first, *rest = one.get("sentences").each()
    blocks: list[Block] = [Text(said=phrase(cite(first)))]
    row = contradicted(one, verdicts)
    if row is not None:
        blocks.append(disagreement(one, row))
    if rest:
        blocks.append(Items(items=tuple(cite(sentence) for sentence in rest)))
    causes = one.get("causes").each()
    if causes:
        rows = tuple(
            (cite(cause.get("cause")), phrase(show(cause.get("ms"), milliseconds), " ms"))
            for cause in causes
        )
        summary = phrase(
            "Time missing against the MACs, by reason: ",
            show(one.get("missing_ms"), milliseconds),
            " ms",
        )
        table = Table(columns=("reason", "of a call"), rows=rows)
        blocks += folded(summary, (table, *conversions(one)), unless=False)
    return tuple(blocks)


def conversions(one: Entry) -> tuple[Block, ...]:
    """Conversions between types that are kernels of their own."""
    kinds = one.get("conversions").each()
    if not kinds:
        return ()
    rows = tuple(
        (
            cite(kind.get("kind")),
            *(
                phrase(
                    show(kind.get(name), whole),
                    ", ",
                    show(kind.get(f"{name}_ms"), milliseconds),
                    " ms",
                )
                for name in ("teacher", "student")
            ),
        )
        for kind in kinds
    )
    columns = ("conversion that runs on its own", "teacher", "student")
    return (Table(columns=columns, rows=rows),)


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
