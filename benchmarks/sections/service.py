"""What a server would see: samples per second, and latency while requests arrive as they like."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import formatting
from benchmarks.blocks import Block, Picture, Pictures, Section, Table, Text, folded, subject_keys
from benchmarks.entries import Entry
from benchmarks.figures import Figure, Phrase, cite, phrase, show
from benchmarks.formatting import UNKNOWN, grouped, milliseconds, share, significant, whole
from benchmarks.plots.curves import Curve, curves
from benchmarks.wording import full_workload, setting

SUBJECTS = (("t", "teacher"), ("s", "student"))


def throughput(report: Entry) -> Section | None:
    """None where it was not measured."""
    found = report.get("throughput")
    if not found.value:
        return None
    batches, streams = found.get("batches").each(), found.get("streams").each()
    blocks: list[Block] = [
        Text(
            said=phrase(
                "Samples per second when all of them wait already, on ",
                show(found.get("cores"), whole),
                " core" if found.value["cores"] == 1 else " cores",
                ": medians over windows.",
            )
        ),
        *best(found),
        *pictures(batches),
    ]
    for rows, name in ((batches, "By batch"), (streams, "By streams and threads")):
        if rows:
            blocks += folded(phrase(f"{name}, in numbers"), (rates(rows),), unless=False)
    return Section(title="Throughput", blocks=tuple(blocks))


def best(found: Entry) -> tuple[Block, ...]:
    """The best batch under the limit that was asked for."""
    rows = found.get("best_batch").each()
    if not rows:
        return ()
    return (
        Text(
            said=phrase(
                "Most samples per second among batches whose p99 keeps to ",
                show(found.get("limit_ms"), significant),
                " ms:",
            )
        ),
        Table(
            columns=("runtime", "model", "batch", "samples/s"),
            rows=tuple(
                (
                    formatting.runtime(row.value),
                    row.value["subject"],
                    show(row.get("batch"), whole) if row.get("batch").known else "none",
                    show(row.get("samples_per_s"), significant),
                )
                for row in rows
            ),
            words=(1,),
        ),
    )


def pictures(rows: Sequence[Entry]) -> tuple[Block, ...]:
    found: dict[str, list[Entry]] = {}
    for row in rows:
        found.setdefault(formatting.runtime(row.value), []).append(row)
    drawn = []
    for name, members in found.items():
        lines = [
            curve(subject, [row for row in members if row.value["subject"] == word],
                  "batch", "samples_per_s")
            for subject, word in SUBJECTS
        ]  # fmt: skip
        if all(len(line.points) > 1 for line in lines):
            drawing = curves(lines, title="Throughput by batch", x_name="batch", y_name="samples/s")
            drawn.append(Picture(drawing=drawing, caption=phrase(name)))
    if not drawn:
        return ()
    said = phrase("Both axes logarithmic. ", subject_keys("line"))
    return (Pictures(heading="Throughput by batch", said=said, pictures=tuple(drawn)),)


def curve(subject: str, rows: Sequence[Entry], x: str, y: str) -> Curve:
    forms = {"batch": whole}
    points = [
        (show(row.get(x), forms.get(x, significant)), show(row.get(y), significant))
        for row in sorted(rows, key=lambda row: row.value[x])
    ]
    known = [(a, b) for a, b in points if isinstance(a, Figure) and isinstance(b, Figure)]
    return Curve(subject=subject, points=tuple(known))


def rates(rows: Sequence[Entry]) -> Table:
    return Table(
        columns=("setting", "model", "batch", "streams", "samples/s", "least", "most", "p99"),
        rows=tuple(
            (
                phrase(formatting.runtime(row.value), ", ", setting(row)),
                row.value["subject"],
                show(row.get("batch"), whole),
                show(row.get("streams"), whole),
                show(row.get("samples_per_s"), significant),
                show(row.get("least"), significant),
                show(row.get("most"), significant),
                in_ms(row.get("p99_ms")),
            )
            for row in rows
        ),
        words=(1,),
    )


def in_ms(found: Entry) -> Phrase:
    return phrase(show(found, milliseconds), " ms") if found.known else phrase(UNKNOWN)


def load(report: Entry) -> Section | None:
    """None where it was not measured."""
    found = report.get("load")
    if not found.value:
        return None
    trials = found.get("trials").each()
    limit = show(found.get("slo_ms"), significant)
    lines = [
        curve(subject, [one for one in trials if one.value["subject"] == word and fair(one)],
              "rate_per_s", "p99_ms")
        for subject, word in SUBJECTS
    ]  # fmt: skip
    blocks: list[Block] = [
        Text(
            said=phrase(
                full_workload(found),
                ": requests arrive as a Poisson process whether or not the model is busy; latency "
                "counts from the moment a request was scheduled. ",
                subject_keys("line"),
            )
        ),
        *kept(found),
    ]
    if any(line.points for line in lines):
        drawing = curves(
            [line for line in lines if line.points],
            title="p99 against the rate of arrival",
            x_name="requests/s",
            y_name="p99, ms",
            limit=limit if isinstance(limit, Figure) else None,
        )
        blocks.append(Picture(drawing=drawing))
    blocks += folded(phrase("Every rate, in numbers"), (table(trials),), unless=False)
    return Section(title="Under load", blocks=tuple(blocks))


def fair(trial: Entry) -> bool:
    """Whether all requests were served, so that the percentile is of all of them."""
    return not trial.value.get("given_up")


def kept(found: Entry) -> tuple[Block, ...]:
    """The highest rate that keeps the limit."""
    rows = found.get("goodput").each()
    if not rows:
        return ()
    return (
        Table(
            columns=("", "highest rate within the limit", "fails at", ""),
            rows=tuple(
                (
                    row.value["subject"],
                    per_second(row.get("rate_per_s")),
                    per_second(row.get("fails_at_per_s")),
                    cite(row.get("reason")) if row.get("reason").known else "",
                )
                for row in rows
            ),
            words=(3,),
        ),
    )


def per_second(found: Entry) -> Phrase:
    return phrase(show(found, significant), "/s") if found.known else phrase(UNKNOWN)


def table(trials: Sequence[Entry]) -> Table:
    return Table(
        columns=("requests/s", "model", "requests", "busy", "median", "p90", "p99", "slowest", ""),
        rows=tuple(
            (
                show(one.get("rate_per_s"), significant),
                one.value["subject"],
                show(one.get("requests"), grouped),
                show(one.get("busy_share"), share),
                *(in_ms(one.get(f"{name}_ms")) for name in ("median", "p90", "p99", "slowest")),
                "" if fair(one) else "given up: the queue only grew",
            )
            for one in trials
        ),
        words=(1, 8),
    )
