"""The files of raw samples: what a picture needs of them, and one table of them all.

In come the files of ``benchmarks/``, in any of their formats; out come wall times by subject, or
CSV with a line for each timed call.  Knows nothing of what the numbers say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from benchmarks.workloads import SETTING, Setting
from compressor import documents
from compressor.errors import FolderError
from compressor.tables.text import visible

Document = Mapping[str, Any]
_Count = Annotated[int, msgspec.Meta(ge=0)]

CALL = ("process", "round", "order", "subject", "wall_ns", "cpu_ns")
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # https://owasp.org/www-community/attacks/CSV_Injection
FIRST_PROCESS = 0  # files of format 1 are of one process and do not say which


def read(folder: Path, report: Mapping[str, Any]) -> dict[str, Document]:
    """Files that the report's benchmarks name and that are there, all of them inside the folder."""
    own = (folder / "benchmarks").resolve()
    if own.parent != folder.resolve():  # a link to elsewhere
        return {}
    named = [row.get("samples") for row in report.get("benchmarks") or ()]
    inside = [
        name
        for name in named
        if isinstance(name, str) and (folder / name).resolve().is_relative_to(own)
    ]
    return {name: _read(folder / name) for name in inside if (folder / name).is_file()}


class _Samples(msgspec.Struct, frozen=True, kw_only=True):
    subject: list[_Count]
    round: list[_Count]
    order: list[_Count]
    wall_ns: list[_Count]
    cpu_ns: list[_Count]
    process: list[_Count] | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a file, whatever else it holds."""

    workload: Setting
    subjects: list[str]
    samples: _Samples


def _read(path: Path) -> Document:
    try:
        document: Document = documents.read(path)
        found = msgspec.convert(document, _File)
        columns = msgspec.to_builtins(found.samples).values()
        if len({len(column) for column in columns if column is not None}) > 1:
            raise ValueError("its columns are of unlike length")
        if max(found.samples.subject, default=0) >= len(found.subjects):
            raise ValueError("a sample is of a subject that it does not name")
    except ValueError as error:
        raise FolderError(f"{path} cannot be used ({error}); build anew") from error
    return document


def wall_times(documents: Mapping[str, Document]) -> dict[str, dict[str, list[int]]]:
    """File -> subject -> nanoseconds of every call."""
    found: dict[str, dict[str, list[int]]] = {}
    for name, document in documents.items():
        times: dict[str, list[int]] = {subject: [] for subject in document["subjects"]}
        for call in calls(document):
            times[call["subject"]].append(call["wall_ns"])
        found[name] = times
    return found


def calls(document: Document) -> Iterator[dict[str, Any]]:
    """One dictionary for each timed call, with the keys of CALL."""
    columns, subjects = document["samples"], document["subjects"]
    count = len(columns["wall_ns"])
    processes = columns.get("process", [FIRST_PROCESS] * count)
    names = ("round", "order", "subject", "wall_ns", "cpu_ns")
    for process, *values in zip(processes, *(columns[name] for name in names), strict=True):
        call = {"process": process, **dict(zip(names, values, strict=True))}
        yield {**call, "subject": subjects[call["subject"]]}


def to_csv(documents: Mapping[str, Document]) -> str:
    """A heading, then a line for each timed call: the setting, then the call."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=(*SETTING, *CALL), lineterminator="\n")
    writer.writeheader()
    for document in documents.values():
        setting = {name: document["workload"][name] for name in SETTING}
        for call in calls(document):
            writer.writerow({name: _cell(value) for name, value in {**setting, **call}.items()})
    return stream.getvalue()


def _cell(value: object) -> object:
    """A text in one line; one that a spreadsheet would take for a formula is marked as text."""
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value.startswith(FORMULAS) else visible(value)
