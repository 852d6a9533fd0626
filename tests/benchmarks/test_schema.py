"""The published schema: sound, complete in words, open to readers, strict in tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from benchmarks import schema
from compressor import reporting
from export.deployables import Deployable, Parity, TensorLoss
from tests.benchmarks.reports import full_report, small_report
from tests.benchmarks.strictness import mistakes

# As docs/design.md, section 6, promises them.
PROMISED = {
    "": ("format", "teacher", "student", "budget", "recipe", "stages", "proof", "deployables",
         "benchmarks", "environment", "seconds"),
    "teacher": ("name", "sha256", "trained", "parameters", "macs", "metrics"),
    "student": ("parameters", "macs", "metrics", "agreement"),
    "budget": ("sparsity", "of", "achieved"),
    "recipe": ("name", "form", "phases"),
    "proof": ("passed", "max_relative_error", "tolerance", "nodes_compared", "moved",
              "exact_groups", "inexact_groups"),
}  # fmt: skip
IN_LISTS = {
    "stage": ("name", "metrics", "agreement"),
    "deployable": ("file", "precision", "bytes", "sha256", "opset", "parity", "metrics"),
    "parity": ("samples", "max_abs_error", "agreement"),
    "benchmark": ("runtime", "device", "precision", "batch", "threads", "teacher", "student",
                  "speedup", "interval", "verdict"),
    "latency": ("median_ms", "p90_ms", "p99_ms", "throughput_per_s"),
}  # fmt: skip


def nodes(found: Any) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        yield found
        for one in found.values():
            yield from nodes(one)
    elif isinstance(found, list):
        for one in found:
            yield from nodes(one)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("deployable", Deployable), ("parity", Parity), ("tensor_loss", TensorLoss)],
)
def test_files_are_told_as_the_schema_says(name: str, kind: type) -> None:
    described = schema.report_schema()["$defs"][name]["properties"]
    assert set(described) == {field.name for field in fields(kind)}


def test_the_schema_is_sound_and_describes_every_key_in_words() -> None:
    found = schema.report_schema()
    Draft202012Validator.check_schema(found)
    definitions = found["$defs"]
    for node in nodes(found):
        for name, one in (node.get("properties") or {}).items():
            if not isinstance(one, dict):
                continue  # a key that is itself called "properties"
            target = one.get("$ref", "").removeprefix("#/$defs/")
            words = one.get("description") or definitions.get(target, {}).get("description")
            assert words or name in ("teacher", "student"), name
    used = {node["$ref"].removeprefix("#/$defs/") for node in nodes(found) if "$ref" in node}
    assert used == set(definitions)


def test_what_the_design_promises_is_required() -> None:
    found = schema.report_schema()
    for key, names in PROMISED.items():
        part = found["properties"][key] if key else found
        assert set(names) <= set(part["required"])
    for key, names in IN_LISTS.items():
        assert set(names) <= set(found["$defs"][key]["required"])


def test_format_numbers_agree() -> None:
    assert schema.report_schema()["properties"]["format"]["const"] == schema.FORMAT
    assert schema.FORMAT == reporting.FORMAT


@pytest.mark.parametrize("report", [small_report(), full_report()], ids=["small", "full"])
def test_reports_are_valid(report: dict[str, Any]) -> None:
    assert mistakes(report) == []


def test_added_keys_stay_readable_and_are_mistakes_in_tests_alone() -> None:
    report = full_report()
    report["benchmarks"][0]["speed_up"] = 2.0
    report["throughput"]["batches"][0]["teh_rate"] = 1.0
    report["tpyo"] = None
    Draft202012Validator(schema.report_schema()).validate(report)
    found = mistakes(report)
    assert len(found) == 3
    for name in ("speed_up", "teh_rate", "tpyo"):
        assert any(name in one for one in found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("teacher", "parameters"), "many"),
        (("student", "agreement"), 92.5),  # a share, not percents
        (("benchmarks", 0, "verdict"), "quicker"),
        (("benchmarks", 0, "interval"), [1.0]),
        (("deployables", 0, "metrics"), {"top1": 91.2}),
        (("load", "trials", 0, "subject"), "twin"),
        (("budget", "of"), "flops"),
    ],
)
def test_wrong_values_are_found(path: tuple[Any, ...], value: Any) -> None:
    report = copy.deepcopy(full_report())
    place = report
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert len(mistakes(report)) == 1
    assert len(list(schema.mistakes(report))) == 1


def test_a_mistake_is_told_in_one_line_that_names_the_place_and_no_whole_tables() -> None:
    report = full_report()
    report["teacher"]["parameters"] = [report] * 3
    report["student"]["macs"] = "x" * 5000 + "\n"
    report["load"]["trials"][0]["subject"] = 7
    found = list(schema.mistakes(report))
    assert "teacher/parameters: a list is not of type 'integer'" in found
    assert any(one.startswith("student/macs: 'xxx") for one in found)
    assert any(one.startswith("load/trials/0/subject: 7 is not one of") for one in found)
    assert all(len(one) < 250 and "\n" not in one for one in found)


@pytest.mark.parametrize("key", ["teacher", "proof", "deployables", "seconds"])
def test_a_required_key_that_is_absent_is_found(key: str) -> None:
    report = full_report()
    del report[key]
    assert any(key in one for one in mistakes(report))
