"""The page: complete, escaped, self-contained, the same for the same files."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import formatting
from benchmarks.report import RunData, open_run, read, render
from benchmarks.sections.widths import stages
from compressor import locks
from compressor.errors import FolderError, SurroundingsError
from compressor.types import KeptUnits

PAYLOAD = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Collects tags and attributes and checks that what opens also closes."""

    void = ("meta", "br", "img", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.void:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def poison(value: Any) -> Any:
    """The same value with every free text replaced by a payload."""
    fixed = {"onnxruntime", "torch", "cpu", "float32", "faster", "VALID", "params"}
    if isinstance(value, str):
        return value if value in fixed or value.startswith("benchmarks/") else PAYLOAD
    if isinstance(value, Mapping):
        return {key: poison(one) for key, one in value.items()}
    if isinstance(value, list):
        return [poison(one) for one in value]
    return value


def with_report(run: RunData, **changes: Any) -> RunData:
    report = copy.deepcopy(dict(run.report))
    report.update(changes)
    return dataclasses.replace(run, report=report)


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", re.sub(r"<(h|p|d|t|li)", " <\\1", page)))


def test_page_tells_everything_with_the_verdict_first(run: RunData) -> None:
    page = render(run)
    said = text(page)
    places = [
        said.index(words)
        for words in (
            f"3.3{formatting.TIMES} fewer parameters, 2.40{formatting.TIMES} faster",
            "Teacher and student",
            "How accuracy came back",
            "Widths, before and after",
            "Speed",
            "Share of calls done",
            "Proof",
            "What was frozen, and why",
            "Files that ship",
            "To repeat this",
        )
    ]
    assert places == sorted(places)
    assert "stem: 16 units, 8 kept, 8 removed" in said
    assert "12 places are frozen" in said
    assert Tags(page).stack == []


def test_page_loads_nothing_and_runs_nothing(run: RunData) -> None:
    page = render(run)
    tags = Tags(page)
    assert not tags.names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert not tags.attributes & {"src", "href", "xlink:href", "srcset", "action"}
    assert not re.search(r"https?:|url\(|@import|//", page)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "not of format 1"),
        ({"proof": ...}, "'proof' is a required"),
        ({"stages": 3}, "stages"),
    ],
)
def test_another_format_is_refused(
    run: RunData, change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    report = {**run.report, **change}
    kept = {key: value for key, value in report.items() if value is not ...}
    (tmp_path / "report.json").write_bytes(msgspec.json.encode(kept))
    with pytest.raises(FolderError, match=told):
        open_run(tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for content in (None, "not JSON", "[]"):
        if content is not None:
            (tmp_path / "report.json").write_text(content)
        with pytest.raises(FolderError, match=r"no finished run|cannot be used"):
            open_run(tmp_path)


def test_same_files_give_the_same_page(run: RunData) -> None:
    assert render(run) == render(run)


def test_every_text_from_files_is_escaped(run: RunData) -> None:
    assert run.analysis is not None
    assert run.plan is not None
    bad = dataclasses.replace(
        with_report(
            run,
            **poison(run.report),
            notes=[PAYLOAD],
            warnings=[PAYLOAD],
            command=["compressor", PAYLOAD],
            data={"name": PAYLOAD},
            benchmarks_skipped=[
                {"runtime": PAYLOAD, "device": PAYLOAD, "batch": 1, "reason": PAYLOAD}
            ],
        ),
        analysis=dataclasses.replace(
            run.analysis,
            frozen=tuple(
                dataclasses.replace(one, where=PAYLOAD, op=PAYLOAD, reason=PAYLOAD, source=PAYLOAD)
                for one in run.analysis.frozen
            ),
        ),
        plan=dataclasses.replace(
            run.plan,
            criterion=PAYLOAD,
            groups=tuple(dataclasses.replace(one, name=PAYLOAD) for one in run.plan.groups),
        ),
    )
    page = render(bad)
    tags = Tags(page)
    assert "<script" not in page
    assert not tags.names & {"script", "img"}
    assert "onerror" not in tags.attributes
    assert "&lt;script&gt;" in page


def test_unknown_accuracy_is_stated(run: RunData) -> None:
    report = run.report
    unknown = with_report(
        run,
        teacher={**report["teacher"], "metrics": None, "trained": False, "sha256": None},
        student={**report["student"], "metrics": None},
        stages=[{"name": "removed", "metrics": None, "agreement": 0.2}],
    )
    said = text(render(unknown))
    assert "Accuracy is unknown" in said
    assert "dense network was not trained" in said


def test_agreement_may_be_unknown_too(run: RunData) -> None:
    student = {**run.report["student"], "metrics": None, "agreement": None}
    page = render(with_report(run, student=student, stages=[]))
    assert "Accuracy is unknown" in page


def test_run_without_proof_plan_samples_and_benchmarks_still_has_a_page(run: RunData) -> None:
    bare = RunData(
        report={**run.report, "proof": None, "benchmarks": [], "deployables": [], "stages": []},
        analysis=None,
        plan=None,
        samples={},
    )
    said = text(render(bare))
    assert "There is no proof" in said
    assert "Speed was not measured" in said


def test_invalid_workload_is_shown_without_an_interval(run: RunData) -> None:
    bad = {
        **run.report["benchmarks"][0],
        "interval": None,
        "twin_interval": None,
        "verdict": "invalid",
        "status": "INVALID",
        "reasons": ["only 2 rounds"],
    }
    said = text(render(with_report(run, benchmarks=[bad])))
    assert "INVALID" in said
    assert "only 2 rounds" in said


def test_many_groups_are_drawn_under_headings(run: RunData) -> None:
    groups = tuple(
        KeptUnits(group=n, name=f"block{n // 75}.layer{n}.conv", units=64, kept=((0, 16),))
        for n in range(300)
    )
    found = stages(groups)
    assert [name for name, _ in found] == [f"block{n}" for n in range(4)]
    assert sum(len(members) for _, members in found) == 300
    assert run.plan is not None
    page = render(dataclasses.replace(run, plan=dataclasses.replace(run.plan, groups=groups)))
    assert "widths dense" in page
    assert "block3.layer299.conv: 64 units, 16 kept, 48 removed" in text(page)


def test_run_folder_is_read_back(run: RunData, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(msgspec.json.encode(run.report))
    (tmp_path / "analysis.json").write_bytes(msgspec.json.encode(run.analysis))
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(run.plan))
    found = read(tmp_path)
    assert (found.report, found.analysis, found.plan) == (run.report, run.analysis, run.plan)
    assert found.samples == {}


def test_a_run_that_is_being_built_is_not_called_unfinished(tmp_path: Path) -> None:
    owner = msgspec.structs.replace(locks._this_process("compressor build"), host="elsewhere")
    (tmp_path / locks.LOCK_FILE).write_bytes(msgspec.json.encode(owner))
    with pytest.raises(SurroundingsError, match=r"on elsewhere \(compressor build.*wait for it"):
        open_run(tmp_path)
