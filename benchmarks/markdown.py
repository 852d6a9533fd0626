"""A report as a few lines of Markdown, for a pull request.

In comes ``report.json``; out comes the verdict, what speaks against it, a table of files with their
accuracy, one of speeds with their intervals and one of what is missing against the MACs.  Or
sections, of which tables and lists are told.
Texts from files are escaped: none becomes markup.
Knows nothing of pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.blocks import Items, Section, Stack, Table
from benchmarks.entries import Entry, entry
from benchmarks.figures import Figure, phrase, show
from benchmarks.formatting import TIMES, UNKNOWN, milliseconds, significant, size
from benchmarks.sections.files import advice
from benchmarks.sections.heading import heading
from benchmarks.sections.layers import overview, verdicts_of
from benchmarks.wording import full_workload, interval, judged, metrics


def render(report: Mapping[str, Any]) -> str:
    """Short: the page holds the rest."""
    found = entry(report)
    top = heading(found)
    lines = [
        f"### {escaped(found.value['teacher']['name'])}",
        f"**{top.judgement.status}**: {escaped(top.verdict)}",
    ]
    doubts = [*top.judgement.short, *top.caveats, *(found.value.get("warnings") or ())]
    if doubts:
        lines.append("\n".join(f"- {escaped(one)}" for one in doubts))
    if found.value["deployables"]:
        lines.append(table(files(found)))
    if found.value["benchmarks"]:
        lines.append(table(speeds(found)))
        lines.append("Speed-ups are against the teacher, measured in pairs, with 95 % intervals.")
    explained = [one for one in found.get("explanation").each() if one.get("causes").known]
    if explained:
        lines.append("Time that did not fall as the MACs did, and the reason that weighs most:")
        lines.append(table(overview(explained, verdicts_of(found))))
    return "\n\n".join(lines) + "\n"


def render_sections(sections: Sequence[Section]) -> str:
    """Tables and lists under their titles."""
    lines = []
    for section in sections:
        lines.append(f"### {escaped(section.title)}")
        for block in section.blocks:
            if isinstance(block, Table):
                lines.append(table(block))
            elif isinstance(block, Items):
                lines.append("\n".join(f"- {escaped(one)}" for one in block.items))
    return "\n\n".join(lines) + "\n"


def files(report: Entry) -> Table:
    return Table(
        columns=("file", "precision", "size", "accuracy of the file", ""),
        rows=tuple(
            (
                one.value["file"],
                one.value["precision"],
                show(one.get("bytes"), size),
                metrics(one.get("metrics")),
                advice(one),
            )
            for one in report.get("deployables").each()
        ),
        words=(1, 4),
    )


def speeds(report: Entry) -> Table:
    return Table(
        columns=("setting", "teacher", "student", "speed-up", "interval", "verdict"),
        rows=tuple(
            (
                full_workload(row),
                *(
                    phrase(show(row.get(name, "median_ms"), milliseconds), " ms")
                    for name in ("teacher", "student")
                ),
                gain(row),
                interval(row.get("interval")),
                judged(row),
            )
            for row in report.get("benchmarks").each()
        ),
        words=(5,),
    )


def gain(row: Entry) -> object:
    found = show(row.get("speedup"), significant)
    return phrase(found, TIMES) if isinstance(found, Figure) else UNKNOWN


def table(block: Table) -> str:
    """Columns of numbers to the right."""
    rule = [
        "---" if number in (0, *block.words) else "---:" for number in range(len(block.columns))
    ]
    return "\n".join(
        [row(block.columns), f"| {' | '.join(rule)} |", *(row(cells) for cells in block.rows)]
    )


def row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(cell(one) for one in cells)} |"


def cell(one: object) -> str:
    if isinstance(one, Stack):
        return "<br>".join(escaped(line) for line in one.lines)
    return escaped(one)


def escaped(value: object) -> str:
    """One line of plain text for Markdown: nothing in it is markup, HTML or a new line."""
    line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in str(value)))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line.strip())
    # At a line's start these begin a heading, a list, an underline or front matter.
    line = re.sub(r"^([-+=#])", r"\\\1", re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line))
    # What would become a link by itself.
    return line.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
