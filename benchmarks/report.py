"""A run folder's files to one self-contained page.

In come the contents of ``report.json``, ``analysis.json``, ``plan.json`` and the raw samples; out
comes HTML that loads nothing and runs no script.  A pure function: the same files give the same
page.  Keys of the report beyond the agreed ones are optional.  Everything from files is escaped.
Knows nothing of torch or of how the student was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks import lineup, raw_samples
from benchmarks.blocks import Section
from benchmarks.entries import Entry, entry
from benchmarks.schema import FORMAT, report_schema
from benchmarks.sections import (
    contest,
    files,
    footprint,
    heading,
    layers,
    networks,
    proof,
    repeating,
    service,
    speed,
    tradeoff,
    widths,
)
from compressor.errors import FolderError
from compressor.locks import require_idle
from compressor.types import Analysis, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What the page is made of.  ``analysis`` and ``plan`` are None where nothing was removed."""

    report: Mapping[str, Any]
    analysis: Analysis | None
    plan: Plan | None
    samples: Mapping[str, raw_samples.Document]  # by the row's "samples" key


def read(folder: Path) -> RunData:
    """Read a run folder; ``analysis.json``, ``plan.json`` and samples may be absent.

    Raises FileNotFoundError where ``report.json`` is, msgspec.DecodeError where a file is no JSON,
    FolderError where the report is of another format or lacks what its format promises.
    """

    def decode(name: str, kind: Any) -> Any:
        path = folder / name
        return msgspec.json.decode(path.read_bytes(), type=kind) if path.is_file() else None

    report = msgspec.json.decode((folder / "report.json").read_bytes())
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise FolderError(f"{folder}/report.json is not of format {FORMAT}: build anew")
    absent = [key for key in report_schema()["required"] if key not in report]
    if absent:
        raise FolderError(f"{folder}/report.json has no {', '.join(absent)}: build anew")
    return RunData(
        report=report,
        analysis=decode("analysis.json", Analysis),
        plan=decode("plan.json", Plan),
        samples=raw_samples.read(folder, report),
    )


def open_run(folder: Path) -> RunData:
    """As `read`.  Raises FolderError where there is no finished run, SurroundingsError while a
    build is at work in the folder."""
    require_idle(folder)
    try:
        return read(folder)
    except (OSError, ValueError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise FolderError(f"{folder} holds no finished run; build into it first") from error


def render(run: RunData) -> str:
    """The whole page."""
    report = entry(run.report)
    found = heading.heading(report)
    title = report.value["teacher"]["name"]
    sections = [one for one in sections_of(report, run) if one is not None]
    return page("report.html.j2", title, sections, heading=found)


def render_lineup(document: Mapping[str, Any]) -> str:
    """The page of a comparison of `benchmarks.lineup`."""
    title = " and ".join(run["name"] for run in document["runs"])
    found = Entry(document, lineup.FILE)
    return page("lineup.html.j2", title, list(contest.contest(found)))


def sections_of(report: Entry, run: RunData) -> Iterator[Section | None]:
    """The page from top to bottom."""
    yield networks.networks(report, run.plan)
    yield tradeoff.tradeoff(report)
    yield networks.stages(report)
    yield widths.widths(run.plan)
    yield speed.speed(report, raw_samples.wall_times(run.samples))
    yield layers.layers(report)
    yield service.throughput(report)
    yield service.load(report)
    yield footprint.footprint(report)
    yield proof.proof(report)
    yield proof.frozen(run.analysis)
    yield files.files(report)
    yield repeating.notes(report)
    yield repeating.repeating(report)


def page(template: str, title: str, sections: list[Section], **told: Any) -> str:
    """A template of this package, filled in; what it does not know is an error."""
    environment = Environment(
        loader=PackageLoader("benchmarks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(title=title, sections=sections, **told)
