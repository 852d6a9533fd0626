"""A run folder's files to one self-contained page.

In come the contents of ``report.json``, ``analysis.json``, ``plan.json`` and the raw samples; out
comes HTML that loads nothing and runs no script.  A pure function: the same files give the same
page.  Keys of the report beyond the agreed ones are optional.  Everything from files is escaped.
Knows nothing of torch or of how the student was made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmarks import formatting, pictures
from benchmarks.measurements import decode_samples
from benchmarks.sampling import Sample
from benchmarks.verdict import caveats, headline_row, judge, verdict
from compressor.types import Analysis, KeptUnits, Plan

DENSE = 70  # more groups than this are drawn as thin bars under headings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What the page is made of.  ``analysis`` and ``plan`` are None where nothing was removed."""

    report: Mapping[str, Any]
    analysis: Analysis | None
    plan: Plan | None
    samples: Mapping[str, tuple[Sample, ...]]  # by the row's "samples" key


def read(folder: Path) -> RunData:
    """Read a run folder; ``analysis.json``, ``plan.json`` and samples may be absent.

    Raises FileNotFoundError where ``report.json`` is, msgspec.DecodeError where a file is no JSON.
    """

    def decode(name: str, kind: Any) -> Any:
        path = folder / name
        return msgspec.json.decode(path.read_bytes(), type=kind) if path.is_file() else None

    report = msgspec.json.decode((folder / "report.json").read_bytes())
    named = [row.get("samples") for row in report.get("benchmarks") or ()]
    kept = [name for name in named if name and Path(name).parts[:1] == ("benchmarks",)]
    return RunData(
        report=report,
        analysis=decode("analysis.json", Analysis),
        plan=decode("plan.json", Plan),
        samples={
            name: decode_samples((folder / name).read_bytes())
            for name in kept
            if ".." not in Path(name).parts and (folder / name).is_file()
        },
    )


def render(run: RunData) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("benchmarks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report = run.report
    return environment.get_template("report.html.j2").render(
        report=report,
        f=formatting,
        sentence=sentence(report),
        judgement=judge(report),
        caveats=caveats(report),
        headline=headline_row(report),
        files=teacher_and_student_files(report),
        plan=run.plan,
        stages=widths(run.plan.groups) if run.plan else (),
        dense=run.plan is not None and len(run.plan.groups) > DENSE,
        forest=forest(report),
        plots=plots(run),
        frozen=sorted(run.analysis.frozen, key=lambda one: -one.parameters) if run.analysis else (),
        analysis=run.analysis,
        environment=flatten(report.get("environment") or {}),
        command=command(report),
        notes=(*(report.get("warnings") or ()), *(report.get("notes") or ())),
    )


def sentence(report: Mapping[str, Any]) -> str:
    """The verdict as a sentence with proper signs."""
    line = verdict(report).replace(" -> ", " → ")
    for word in ("fewer", "faster", "slower"):
        line = line.replace(f"x {word}", f"{formatting.TIMES} {word}")
    line = re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", line)
    return line[:1].upper() + line[1:] + "."


def command(report: Mapping[str, Any]) -> str | None:
    """The command to repeat, one string."""
    found = report.get("command")
    return found if found is None or isinstance(found, str) else " ".join(map(str, found))


def teacher_and_student_files(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The first float32 file of each, for the size in bytes."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in report.get("deployables") or ():
        name = entry["file"].rsplit("/", 1)[-1]
        for subject in ("teacher", "student"):
            if name.startswith(subject) and entry.get("precision", "fp32") == "fp32":
                found.setdefault(subject, entry)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthLine:
    name: str
    short: str
    units: int
    kept: int
    bar: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthStage:
    """Neighbouring groups under one heading."""

    name: str
    units: int
    kept: int
    lines: tuple[WidthLine, ...]


def widths(groups: Sequence[KeptUnits]) -> tuple[WidthStage, ...]:
    """Groups in network order, under headings by the part of the path they share."""
    widest = max((group.units for group in groups), default=1)
    stages: list[tuple[str, list[KeptUnits]]] = []
    depth = heading_depth([group.name for group in groups])
    for group in groups:
        name = ".".join(group.name.split(".")[:depth])
        if not stages or stages[-1][0] != name:
            stages.append((name, []))
        stages[-1][1].append(group)
    return tuple(
        WidthStage(
            name=name,
            units=sum(group.units for group in members),
            kept=sum(group.width for group in members),
            lines=tuple(
                WidthLine(
                    name=group.name,
                    short=shorten(group.name),
                    units=group.units,
                    kept=group.width,
                    bar=pictures.width_bar(group.width, group.units, widest),
                )
                for group in members
            ),
        )
        for name, members in stages
    )


def heading_depth(names: Sequence[str], fewest: int = 4) -> int:
    """How many parts of the paths to share a heading by: the first that gives ``fewest`` parts."""
    for depth in (1, 2, 3):
        if len({tuple(name.split(".")[:depth]) for name in names}) >= fewest:
            return depth
    return 1


def shorten(name: str, most: int = 30) -> str:
    """The end of a path says more than its beginning."""
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def forest(report: Mapping[str, Any]) -> Markup | None:
    """The speed-up picture, None where nothing was measured."""
    lines = [
        pictures.Speedup(
            label=formatting.workload(row),
            value=row["speedup"],
            interval=row["interval"] and tuple(row["interval"]),
            band=row.get("twin_interval") and tuple(row["twin_interval"]),
            verdict=row["verdict"],
        )
        for row in report.get("benchmarks") or ()
        if row.get("speedup")
    ]
    return pictures.forest(lines) if lines else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    title: str
    picture: Markup
    calls: int


def plots(run: RunData) -> tuple[Plot, ...]:
    """One distribution per workload whose samples are at hand."""
    found = []
    for row in run.report.get("benchmarks") or ():
        samples = run.samples.get(row.get("samples", ""), ())
        times = {
            subject: [one.wall_ns / 1e6 for one in samples if one.subject == subject]
            for subject in ("teacher", "student")
        }
        if all(times.values()) and min(map(min, times.values())) > 0:
            found.append(
                Plot(
                    title=formatting.workload(row),
                    picture=pictures.distribution(times["teacher"], times["student"]),
                    calls=len(times["teacher"]),
                )
            )
    return tuple(found)


def flatten(environment: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values for a table; what is empty is left out."""
    rows = []
    for name, value in environment.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {one}" for key, one in value.items())
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        if value not in ("", None):
            rows.append((name.replace("_", " "), str(value)))
    return tuple(rows)
