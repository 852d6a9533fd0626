"""Several runs side by side, from the document of `benchmarks.lineup`."""

from __future__ import annotations

from benchmarks.blocks import Items, Section, Stack, Table
from benchmarks.entries import Entry
from benchmarks.figures import Figure, Phrase, cite, phrase, show
from benchmarks.formatting import (
    TIMES,
    UNKNOWN,
    count,
    grouped,
    metric_name,
    milliseconds,
    points,
    share,
    significant,
    size,
)
from benchmarks.wording import full_workload, headline_metric, interval


def contest(document: Entry) -> tuple[Section, ...]:
    """Sizes and accuracy, then speed, then what must be known."""
    found = [
        Section(title="Teachers", blocks=(teachers(document),)),
        Section(title="Students", blocks=(students(document),)),
    ]
    if document.value["speeds"]:
        found.append(Section(title="Speed", blocks=(speeds(document),)))
    told = document.get("remarks").each()
    if told:
        found.append(Section(title="To know", blocks=(Items(items=tuple(map(cite, told))),)))
    return tuple(found)


def teachers(document: Entry) -> Table:
    return Table(
        columns=("run", "teacher", "sha256", "parameters", "MACs", "accuracy"),
        rows=tuple(
            (
                cite(run.get("name")),
                cite(run.get("teacher", "name")),
                shortened(run.get("teacher", "sha256")),
                show(run.get("teacher", "parameters"), grouped),
                show(run.get("teacher", "macs"), count),
                accuracy(run.get("teacher", "metrics")),
            )
            for run in document.get("runs").each()
        ),
        words=(1, 2),
    )


def shortened(found: Entry) -> str:
    return str(found.value)[:12] if found.known else UNKNOWN


def accuracy(metrics: Entry) -> Phrase:
    name = headline_metric(metrics)
    if name is None:
        return phrase("unknown")
    return phrase(metric_name(name), " ", show(metrics.get(name), share))


def students(document: Entry) -> Table:
    return Table(
        columns=("run", "recipe", "parameters", "MACs", "file", "accuracy", "against the first",
                 "agreement", "proof"),
        rows=tuple(
            (
                cite(run.get("name")),
                Stack(lines=(run.value["recipe"], run.value["form"] or "")),
                show(run.get("parameters"), grouped),
                show(run.get("macs"), count),
                show(run.get("bytes"), size),
                accuracy(run.get("metrics")),
                gap(run.get("difference")),
                show(run.get("agreement"), share),
                {None: "none", True: "passed", False: "FAILED"}[run.value["proof"]],
            )
            for run in document.get("runs").each()
        ),
        words=(1,),
    )  # fmt: skip


def gap(found: Entry) -> Stack | str:
    if not found.value:
        return ""
    told = phrase(show(found.get("value"), points), " points")
    if not found.get("interval").known:
        return Stack(lines=(told,))
    return Stack(lines=(told, interval(found.get("interval"), points)))


def speeds(document: Entry) -> Table:
    names = [cite(run.get("name")) for run in document.get("runs").each()]
    return Table(
        columns=("setting", "run", "teacher", "student", "speed-up", "against the first"),
        rows=tuple(
            (
                full_workload(row) if not number else "",
                names[number],
                *measured(row.get("runs", number)),
            )
            for row in document.get("speeds").each()
            for number in range(len(names))
        ),
        words=(1,),
    )


def measured(found: Entry) -> tuple[object, ...]:
    if not found.value:
        return UNKNOWN, UNKNOWN, "not measured", ""
    gain = show(found.get("speedup"), significant)
    doubt = "" if found.value["status"] == "VALID" else f", {found.value['status']}"
    lines = (
        phrase(gain, TIMES) if isinstance(gain, Figure) else UNKNOWN,
        interval(found.get("interval")),
        phrase(found.value["verdict"], doubt),
    )
    first: Stack | str = ""
    if found.get("against_first").value:
        ratio = phrase(show(found.get("against_first", "value"), significant), TIMES)
        first = Stack(lines=(ratio, interval(found.get("against_first", "interval"))))
    return (
        phrase(show(found.get("teacher_ms"), milliseconds), " ms"),
        phrase(show(found.get("student_ms"), milliseconds), " ms"),
        Stack(lines=lines),
        first,
    )
