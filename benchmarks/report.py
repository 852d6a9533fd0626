"""A run folder's files to one self-contained page.

In come the contents of ``report.json``, ``analysis.json``, ``plan.json`` and the raw samples; out
comes HTML that loads nothing and runs no script.  A pure function: the same files give the same
page.  Keys of the report beyond the agreed ones are optional.  Everything from files is escaped.
Knows nothing of torch or of how the student was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks import lineup, raw_samples
from benchmarks.blocks import Section
from benchmarks.entries import REPORT, Entry, entry
from benchmarks.schema import FORMAT, mistakes
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
from compressor import documents, planning
from compressor.errors import FolderError, PlanError
from compressor.locks import require_idle
from compressor.types import ANALYSIS_FORMAT, Analysis, Plan

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What the page is made of.  ``analysis`` and ``plan`` are None where nothing was removed."""

    report: Mapping[str, Any]
    analysis: Analysis | None
    plan: Plan | None
    samples: Mapping[str, raw_samples.Document]  # by the row's "samples" key


def read(folder: Path) -> RunData:
    """Read a run folder; ``analysis.json``, ``plan.json`` and samples may be absent.

    Raises FileNotFoundError where ``report.json`` is, FolderError where a file cannot be read, is
    of another format, or does not say what its format promises.
    """
    report = read_report(folder)
    return RunData(
        report=report,
        analysis=_read_as(folder / "analysis.json", Analysis, _check_analysis),
        plan=_read_as(folder / "plan.json", Plan, _check_plan),
        samples=raw_samples.read(folder, report),
    )


def read_report(folder: Path) -> dict[str, Any]:
    """``report.json`` alone; raises as `read`."""
    path = folder / REPORT
    try:
        report = documents.read(path)
        if isinstance(report, dict) and report.get("format") not in (None, FORMAT):
            raise ValueError(f"it is not of format {FORMAT}")
        wrong = next(mistakes(report), None)
        if wrong is not None:
            raise ValueError(wrong)
    except ValueError as error:
        raise FolderError(f"{path} cannot be used ({error}); build anew") from error
    return dict(report)


def open_run(folder: Path) -> RunData:
    """As `read`.  Raises FolderError where there is no finished run, SurroundingsError while a
    build is at work in the folder."""
    require_idle(folder)
    try:
        return read(folder)
    except OSError as error:
        raise FolderError(f"{folder} holds no finished run; build into it first") from error


def _read_as(path: Path, kind: type[Kind], check: Callable[[Kind], None]) -> Kind | None:
    if not path.is_file():
        return None
    try:
        found = documents.read_as(path, kind)
        check(found)
    except (ValueError, PlanError) as error:
        raise FolderError(f"{path} cannot be used ({error}); build anew") from error
    return found


def _check_plan(found: Plan) -> None:
    if found.format != planning.FORMAT:
        raise ValueError(f"it is of format {found.format}, not {planning.FORMAT}")
    for group in found.groups:
        planning.check_spans(group)


def _check_analysis(found: Analysis) -> None:
    if found.format != ANALYSIS_FORMAT:
        raise ValueError(f"it is of format {found.format}, not {ANALYSIS_FORMAT}")
    if not 0 <= found.prunable_parameters <= 1:
        raise ValueError(f"{found.prunable_parameters} is no share of parameters")


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
