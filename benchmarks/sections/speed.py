"""Speed-ups with their intervals, latencies, distributions, latency by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks import formatting
from benchmarks.blocks import (
    Block,
    Fold,
    Items,
    Picture,
    Pictures,
    Section,
    Stack,
    Table,
    Text,
    subject_keys,
)
from benchmarks.entries import Entry
from benchmarks.figures import Figure, Phrase, cite, derive, joined, phrase, show
from benchmarks.formatting import TIMES, UNKNOWN, grouped, milliseconds, significant, whole
from benchmarks.plots.curves import Curve, curves
from benchmarks.plots.distributions import distribution
from benchmarks.plots.forests import Ends, Speedup, drawn, forest
from benchmarks.wording import (
    full_workload,
    interval,
    judged,
    setting,
    short_workload,
    workload,
)

SUBJECTS = (("t", "teacher"), ("s", "student"))
Samples = Mapping[str, Mapping[str, Sequence[int]]]  # file -> subject -> wall times, nanoseconds
METHOD = (
    "How many times faster than the teacher, measured in pairs, with the 95 % interval. The pale "
    "band is the teacher measured against its own copy: what falls inside it cannot be told from "
    "nothing."
)
SUPPORT = (
    "A percentile is given only where the calls support it (29 for p90, 299 for p99). All that was "
    "measured is shown: "
)


def speed(report: Entry, samples: Samples) -> Section:
    rows = report.get("benchmarks").each()
    skipped = [
        Text(
            said=phrase(
                "Not measured: ", workload(one), ", because ", cite(one.get("reason")), "."
            ),
            tone="small",
        )
        for one in report.get("benchmarks_skipped").each()
    ]
    if not rows:
        told = Text(said=phrase("Speed was not measured."))
        return Section(title="Speed", blocks=(told, *skipped))
    settings = derive("length", report.get("benchmarks"), form=whole)
    blocks: list[Block] = [
        Text(said=phrase(METHOD)),
        *speedups(rows),
        latencies(rows),
        Text(
            said=phrase(
                SUPPORT,
                settings,
                " setting" if len(rows) == 1 else " settings",
                ". Inputs are random numbers; times include no data loading.",
            ),
            tone="small",
        ),
        *skipped,
        *circumstances(rows),
        *by_batch(rows),
        *distributions(rows, samples),
    ]
    return Section(title="Speed", blocks=tuple(blocks))


def speedups(rows: Sequence[Entry]) -> tuple[Block, ...]:
    lines = []
    for row in rows:
        value = show(row.get("speedup"), significant)
        if isinstance(value, Figure) and value.value > 0:
            lines.append(
                Speedup(
                    label=drawn(full_workload(row)),
                    value=value,
                    interval=ends_of(row.get("interval")),
                    band=ends_of(row.get("twin_interval")),
                    verdict=row.value["verdict"],
                )
            )
    return (Picture(drawing=forest(lines)),) if lines else ()


def ends_of(found: Entry) -> Ends | None:
    low, high = (show(found.get(place), significant) for place in (0, 1))
    return (low, high) if isinstance(low, Figure) and isinstance(high, Figure) else None


def latencies(rows: Sequence[Entry]) -> Table:
    def pair(row: Entry, key: str, form: Callable[[float], str], unit: str) -> Stack:
        return Stack(
            lines=tuple(told(row.get(n, key), form, unit) for _, n in SUBJECTS), tone="pair"
        )

    def told(found: Entry, form: Callable[[float], str], unit: str) -> Phrase:
        return phrase(show(found, form), unit if found.known else "")

    return Table(
        columns=("workload", "", "median", "p90", "p99", "inputs/s", "calls", "speed-up"),
        rows=tuple(
            (
                Stack(lines=(short_workload(row), setting(row))),
                Stack(lines=("teacher", "student"), tone="pair"),
                pair(row, "median_ms", milliseconds, " ms"),
                pair(row, "p90_ms", milliseconds, " ms"),
                pair(row, "p99_ms", milliseconds, " ms"),
                pair(row, "throughput_per_s", significant, ""),
                pair(row, "n", grouped, ""),
                Stack(lines=(gain(row), interval(row.get("interval")), judged(row))),
            )
            for row in rows
        ),
        words=(1,),
        name="latencies",
    )


def gain(row: Entry) -> Phrase:
    found = show(row.get("speedup"), significant)
    return phrase(found, TIMES) if isinstance(found, Figure) else phrase(UNKNOWN)


def circumstances(rows: Sequence[Entry]) -> tuple[Block, ...]:
    """What ran the models and what else went on, as far as the report knows."""
    told = [
        phrase(full_workload(row), ": ", joined(known)) for row in rows if (known := around(row))
    ]
    if not told:
        return ()
    summary = phrase("How each was measured, and what else went on meanwhile")
    return (Fold(summary=summary, blocks=(Items(items=tuple(told)),)),)


def around(row: Entry) -> list[Phrase]:
    found = []
    for key, word in (("processes", "fresh processes"), ("rounds", "rounds")):
        if row.get(key).known:
            found.append(phrase(show(row.get(key), grouped), f" {word}"))
    if row.get("interval_method").known:
        found.append(phrase("interval by ", cite(row.get("interval_method"))))
    if row.get("stopped").known:
        found.append(phrase("stopped: ", cite(row.get("stopped"))))
    if row.get("decided_by").known:
        found.append(phrase("judged by ", cite(row.get("decided_by")), " time"))
    surroundings = row.get("surroundings").each()
    others = [one.get("others_cores") for one in surroundings]
    if others:
        found.append(
            phrase("others kept ", derive("mean", *others, form=significant), " cores busy")
        )
    stolen = [one.get("steal_share") for one in surroundings]
    if stolen and all(one.known for one in stolen):
        share = derive("mean", *stolen, form=formatting.fine_share)
        found.append(phrase("the hypervisor took ", share))
    if row.get("ran_by", "student").known:
        found.append(phrase("student run by ", cite(row.get("ran_by", "student"))))
    return found


def by_batch(rows: Sequence[Entry]) -> tuple[Block, ...]:
    """A picture for each setting that was measured at several batches."""
    found: dict[tuple[object, ...], list[Entry]] = {}
    for row in rows:
        key = tuple(row.value[name] for name in ("runtime", "device", "precision", "threads"))
        found.setdefault(key, []).append(row)
    pictures = []
    for members in found.values():
        lines = [batch_curve(subject, word, members) for subject, word in SUBJECTS]
        if all(len(line.points) > 1 for line in lines):
            name = phrase(formatting.runtime(members[0].value), ", ", setting(members[0]))
            drawing = curves(
                lines, title="Median latency by batch", x_name="batch", y_name="median, ms"
            )
            pictures.append(Picture(drawing=drawing, caption=name))
    if not pictures:
        return ()
    return (
        Pictures(
            heading="Latency by batch",
            said=phrase("Median of a call, both axes logarithmic. ", subject_keys("line")),
            pictures=tuple(pictures),
        ),
    )


def batch_curve(subject: str, word: str, rows: Sequence[Entry]) -> Curve:
    ordered = sorted(rows, key=lambda row: row.value["batch"])
    points = [
        (show(row.get("batch"), whole), show(row.get(word, "median_ms"), milliseconds))
        for row in ordered
    ]
    known = [(x, y) for x, y in points if isinstance(x, Figure) and isinstance(y, Figure)]
    return Curve(subject=subject, points=tuple(known))


def distributions(rows: Sequence[Entry], samples: Samples) -> tuple[Block, ...]:
    """One for each workload whose samples are at hand."""
    pictures = []
    for row in rows:
        times = samples.get(row.value.get("samples") or "", {})
        milli = {name: [one / 1e6 for one in times.get(name, ())] for _, name in SUBJECTS}
        if all(milli.values()) and min(map(min, milli.values())) > 0:
            medians = {
                key: show(row.get(name, "median_ms"), milliseconds) for key, name in SUBJECTS
            }
            pictures.append(
                Picture(
                    drawing=distribution(milli["teacher"], milli["student"], medians),
                    caption=full_workload(row),
                    small=phrase(show(row.get("teacher", "n"), grouped), " calls each"),
                )
            )
    if not pictures:
        return ()
    said = phrase(
        "Every timed call, in milliseconds on a logarithmic axis; dots are medians. The slowest "
        "0.5 % lie beyond the right end. ",
        subject_keys("line"),
    )
    heading = "Share of calls done within a time"
    return (Pictures(heading=heading, said=said, pictures=tuple(pictures)),)
