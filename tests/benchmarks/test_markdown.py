"""Markdown for a pull request: short, whole tables, nothing from files becomes markup."""

from __future__ import annotations

import re
from typing import Any

import pytest

from benchmarks.formatting import TIMES
from benchmarks.markdown import escaped, render
from tests.benchmarks.reports import full_report, small_report


def tables(text: str) -> list[list[str]]:
    blocks = text.split("\n\n")
    return [block.splitlines() for block in blocks if block.startswith("|")]


def test_verdict_files_speeds_and_warnings_are_told() -> None:
    told = render(full_report())
    assert told.startswith("### resnet8\n\n**NOISY**: 3.3")
    assert f"2.40{TIMES} faster at batch 1" in told
    assert "- widths are multiples of 1, not of 8" in told
    files, speeds, _ = tables(told)
    assert any("onnx/student-int8.onnx" in line and "not advised" in line for line in files)
    assert len(speeds) == 2 + 8
    assert len(told) < 4000


@pytest.mark.parametrize("report", [small_report(), full_report()], ids=["small", "full"])
def test_tables_have_as_many_cells_in_every_line(report: dict[str, Any]) -> None:
    for lines in tables(render(report)):
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_a_run_that_measured_nothing_has_no_empty_tables() -> None:
    report = small_report() | {"benchmarks": [], "deployables": [], "proof": None}
    assert tables(render(report)) == []


@pytest.mark.parametrize(
    "payload",
    ["<script>alert(1)</script>", "a | b", "[x](http://y)", "**b**", "`c`", "a\n# b", "$x$"],
)
def test_names_become_no_markup(payload: str) -> None:
    report = full_report()
    report["teacher"]["name"] = report["deployables"][0]["file"] = payload
    report["warnings"] = [payload]
    told = render(report)
    assert "<script" not in told
    assert "\n# b" not in told
    assert not re.search(r"(?<!\\)\]\(", told)
    for lines in tables(told):
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert escaped(payload) in told


def test_what_is_missing_against_the_macs_is_a_table_of_its_own() -> None:
    told = render(full_report())
    missing = tables(told)[-1]
    assert len(missing) == 2 + 2
    assert "int8" in missing[-1]
    assert "conversions (0.300 ms)" in missing[-1]
    assert "openvino is not installed" not in told


def test_a_verdict_by_processor_time_says_so() -> None:
    report = full_report()
    for row in report["benchmarks"]:
        row["decided_by"] = "wall"
    assert "by processor time" not in render(report)
    report["benchmarks"][0]["decided_by"] = "cpu"
    speeds = tables(render(report))[1]
    assert [line.endswith("faster, by processor time |") for line in speeds].count(True) == 1


def test_reasons_for_doubt_are_few() -> None:
    report = full_report()
    for row in report["benchmarks"]:
        row |= {"status": "NOISY", "reasons": ["contention"]}
    told = render(report)
    assert told.count("contention") == 2
    assert "- 6 further settings are not VALID either; report.html says why" in told
