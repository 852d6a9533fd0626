"""The page of the study: for each network a table of settings, then why each is as fast as it is.

Comes in: the report.json of finished runs.  Goes out: Markdown between two marks of a page that
other studies share.  Every number is an entry of a report, or comes of such as `figures` says.
Knows nothing of networks, torch or clocks.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.entries import Entry, entry
from benchmarks.figures import derive, show
from benchmarks.formatting import UNKNOWN, count, interval, milliseconds, runtime, significant
from benchmarks.markdown import escaped
from benchmarks.sections.layers import place_of
from benchmarks.studies.parts import number, put_part, table
from benchmarks.verdict import status_of

PART = "halves"
CAUSES = 3  # that are named for each setting
HEAD = (
    "runtime", "precision", "batch", "teacher, ms", "student, ms", "times faster (95 %)", "verdict",
    "times fewer MACs", "time left of MACs left", "missing, ms", "for the most part",
)  # fmt: skip
PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A network's run; ``failed`` says why there is none."""

    name: str
    title: str
    report: Mapping[str, Any] | None
    failed: str = ""


def write_page(results: Sequence[Result], page: Path, command: str) -> None:
    """Put the study's part into ``page``, which may hold others."""
    put_part(page, PART, render(results, command))


def render(results: Sequence[Result], command: str) -> str:
    """The study's part of the page."""
    found = [(one, entry(one.report)) for one in results if one.report is not None]
    lines = ["## Half of the MACs gone", "", f"Written by `{command}`.", ""]
    if found:
        lines += [*_setting([report for _, report in found]), ""]
        lines += [*(who_is_faster(one, report) for one, report in found), ""]
    for one, report in found:
        lines += [f"### {one.title}", "", *_of_network(report)]
    failed = [f"- {one.name}: {escaped(one.failed)}" for one in results if one.report is None]
    lines += ["### Not built", "", *failed, ""] if failed else []
    return "\n".join(lines).rstrip()


def who_is_faster(one: Result, report: Entry) -> str:
    """In how many settings the student is faster, slower, or neither can be said."""
    counts = Counter(row.value["verdict"] for row in report.get("benchmarks").each())
    slower = f"slower in {counts['slower']}"
    same = f"; in {counts['no measurable difference']} no difference could be measured"
    invalid = f", {counts['invalid']} could not be measured well enough"
    return (
        f"- {one.title}: with {_fewer(report)} times fewer MACs, the student is faster in "
        f"{counts['faster']} of {counts.total()} settings, "
        f"{f'**{slower}**' if counts['slower'] else slower}"
        f"{same if counts['no measurable difference'] else ''}"
        f"{invalid if counts['invalid'] else ''}."
    )


def _setting(reports: Sequence[Entry]) -> list[str]:
    first = reports[0]
    facts = first.get("environment")
    packages = facts.get("packages").value or {}
    versions = ", ".join(f"{name} {packages[name]}" for name in PACKAGES if name in packages)
    flags = " ".join(facts.get("flags").value or ())
    python = facts.get("python").value
    threads = first.get("benchmarks", 0, "threads").value
    return [
        "Each student is made by `compressor build --of macs --epochs 0`; the command stands with "
        "the network. Nothing is trained: what a student answers is no matter here, and where the "
        "teacher's weights are random all groups are cut alike, by magnitude.",
        "",
        "How many times faster is measured against the teacher in the same precision and runtime, "
        "in pairs, over fresh processes; NOISY and INVALID as in every report. Time left of MACs "
        "left is the share of the teacher's time over the share of its MACs: 1 where the time fell "
        "as the MACs did. What is missing against that, and why, is measured apart, under each "
        "runtime's profiler at batch 1, and so not the same to the last digit.",
        "",
        f"{facts.get('cpu').value} ({flags}), {number(threads or 1, 'thread', 'threads')}; "
        f"{f'Python {python}, ' if python else ''}{versions}.",
    ]


def _of_network(report: Entry) -> list[str]:
    before, after = report.get("teacher"), report.get("student")
    command = report.get("command").value or ()
    lines = [f"`{shlex.join(command)}`", ""] if command else []
    lines += [
        f"MACs {show(before.get('macs'), count)} to {show(after.get('macs'), count)}, parameters "
        f"{show(before.get('parameters'), count)} to {show(after.get('parameters'), count)}.",
        "",
        *table(HEAD, [_row(report, row) for row in report.get("benchmarks").each()]),
        *_explanations(report),
        *_skipped(report),
    ]
    return lines


def _fewer(report: Entry) -> str:
    macs = (report.get(name, "macs") for name in ("teacher", "student"))
    return str(derive("quotient", *macs, form=significant))


def _row(report: Entry, row: Entry) -> tuple[str, ...]:
    why = explanation_of(report, row)
    missing, most = UNKNOWN, UNKNOWN
    if why is not None:
        missing = str(show(why.get("missing_ms"), milliseconds))
        most = ", ".join(causes(why, 1)) or UNKNOWN
    return (
        runtime(row.value),
        str(row.value["precision"]),
        str(row.value["batch"]),
        str(show(row.get("teacher", "median_ms"), milliseconds)),
        str(show(row.get("student", "median_ms"), milliseconds)),
        _speedup(row),
        _verdict(row),
        _fewer(report),
        _left(report, row),
        missing,
        most,
    )


def _speedup(row: Entry) -> str:
    return f"{show(row.get('speedup'), significant)} ({interval(row.value['interval'])})"


def _verdict(row: Entry) -> str:
    said, status = row.value["verdict"], status_of(row)
    doubt = "" if status == "VALID" or said == "invalid" else f", {status}"
    return f"{f'**{said}**' if said == 'slower' else said}{doubt}"


def _left(report: Entry, row: Entry) -> str:
    """(student's time / teacher's) / (student's MACs / teacher's), the time by the speed-up."""
    macs = [report.get(name, "macs").value for name in ("teacher", "student")]
    speedup = row.get("speedup").value
    return significant(macs[0] / macs[1] / speedup) if speedup and all(macs) else UNKNOWN


def explanation_of(report: Entry, row: Entry) -> Entry | None:
    """That of the same workload, where one could be made."""
    for one in report.get("explanation").each():
        if place_of(one) == place_of(row) and not one.get("reason").known:
            return one
    return None


def causes(why: Entry, most: int) -> list[str]:
    """Those that weigh most, whichever way, with their milliseconds."""
    found = sorted(why.get("causes").each(), key=lambda one: -abs(one.value["ms"]))
    return [f"{one.value['cause']} {show(one.get('ms'), milliseconds)} ms" for one in found[:most]]


def _explanations(report: Entry) -> Iterator[str]:
    explained = report.get("explanation").each()
    for one in explained:
        if one.get("reason").known:
            place = f"{runtime(one.value)}, {one.value['precision']}"
            yield f"- {place}: not explained, because {escaped(one.value['reason'])}."
            continue
        first = one.get("sentences", 0).value
        told = "; ".join(causes(one, CAUSES))
        yield f"- {escaped(first)}{f' By reason: {told}.' if told else ''}"
    if explained:
        yield ""


def _skipped(report: Entry) -> Iterator[str]:
    """A line for each reason, with the settings that it is the reason for."""
    places: dict[str, list[str]] = {}
    for one in report.get("benchmarks_skipped").each():
        place = f"{runtime(one.value)} in {one.value['precision']}"
        held = places.setdefault(one.value["reason"], [])
        if place not in held:
            held.append(place)
    for reason, held in places.items():
        yield f"- Not measured: {', '.join(held)}, because {escaped(reason)}."
    if places:
        yield ""
