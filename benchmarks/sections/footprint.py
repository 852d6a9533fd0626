"""Cold start, memory and energy."""

from __future__ import annotations

from benchmarks.blocks import Block, Section, Stack, Table, Text
from benchmarks.entries import Entry
from benchmarks.figures import Phrase, cite, phrase, show
from benchmarks.formatting import UNKNOWN, grouped, milliseconds, significant, size
from benchmarks.wording import full_workload

SUBJECTS = ("teacher", "student")
TIMES_OF_A_START = (
    ("import_ms", "import of the runtime"),
    ("load_ms", "loading the file"),
    ("first_call_ms", "first call"),
    ("steady_call_ms", "a call once steady"),
)
MEMORY = (
    ("loaded_bytes", "when the file is loaded"),
    ("peak_bytes", "at the most"),
)


def footprint(report: Entry) -> Section | None:
    """None where none of the three was looked at."""
    blocks = (*cold_start(report.get("cold_start")), *memory(report.get("memory")),
              *energy(report.get("energy")))  # fmt: skip
    if not blocks:
        return None
    return Section(title="Cold start, memory, energy", blocks=blocks)


def cold_start(found: Entry) -> tuple[Block, ...]:
    if not found.value:
        return ()
    blocks: list[Block] = [
        Text(
            said=phrase(
                full_workload(found), ", fresh processes: medians, and the least and most of "
                "them, in milliseconds."
            )
        )
    ]  # fmt: skip
    for key, words in (("warm", "file in the page cache"), ("cold", "file not in the page cache")):
        side = found.get(key)
        if side.value:
            blocks.append(starts(side, words))
    if found.get("cold_reason").known:
        told = phrase(
            "With a cold file: not measured, because ", cite(found.get("cold_reason")), "."
        )
        blocks.append(Text(said=told, tone="small"))
    return tuple(blocks)


def starts(side: Entry, words: str) -> Table:
    rows: list[tuple[object, ...]] = [
        (name, *(spread(side.get(subject, key)) for subject in SUBJECTS))
        for key, name in TIMES_OF_A_START
    ]
    counts = (show(side.get(subject, "calls_until_steady"), grouped) for subject in SUBJECTS)
    rows.append(("calls until steady", *counts))
    processes = (show(side.get(subject, "processes"), grouped) for subject in SUBJECTS)
    rows.append(("processes", *processes))
    return Table(columns=(words, *SUBJECTS), rows=tuple(rows))


def spread(found: Entry) -> Stack | str:
    if not found.value:
        return UNKNOWN
    ends = (show(found.get(name), milliseconds) for name in ("least", "most"))
    low, high = ends
    return Stack(lines=(show(found.get("median"), milliseconds), phrase(low, " to ", high)))


def memory(found: Entry) -> tuple[Block, ...]:
    if not found.value:
        return ()
    if found.get("reason").known:
        return (Text(said=phrase("Memory: ", cite(found.get("reason")), "."), tone="small"),)
    rows = [
        (phrase(f"{words}{suffix}"), *(show(found.get(arena, s, key), size) for s in SUBJECTS))
        for arena, suffix in (("arena", ""), ("no_arena", ", without arena"))
        for key, words in MEMORY
        if found.get(arena).value
    ]
    baseline = found.get("arena", "student", "baseline_bytes")
    return (
        Table(columns=("memory beyond the libraries", *SUBJECTS), rows=tuple(rows)),
        Text(
            said=phrase(
                "Resident memory of a fresh process, ", full_workload(found), "; Python and "
                "libraries alone take ", show(baseline, size), "."
            ),
            tone="small",
        ),
    )  # fmt: skip


def energy(found: Entry) -> tuple[Block, ...]:
    if not found.value:
        return ()
    if not found.get("joules").value:
        told = phrase("Energy: ", cite(found.get("reason")), ".")
        return (Text(said=told, tone="small"),)
    meters = list(found.get("joules", "student").value)
    return (
        Table(
            columns=("joules of a call", *SUBJECTS),
            rows=tuple(
                (meter, *(joules(found.get("joules", s, meter)) for s in SUBJECTS))
                for meter in meters
            ),
        ),
        Text(
            said=phrase(
                "A meter counts its whole processor or card, whoever uses it: an upper bound, and "
                "fair in comparison alone."
            ),
            tone="small",
        ),
    )


def joules(found: Entry) -> Phrase:
    return phrase(show(found, significant), " J")
