"""Raw samples of every format to pictures and to CSV, without a loss."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest

from benchmarks.raw_samples import read, to_csv, wall_times
from tests.benchmarks.reports import sample_file, small_report


def old_file() -> dict[str, object]:
    """As format 1 had it: one process, and no word of it."""
    found = sample_file()
    del found["samples"]["process"]
    return {**found, "format": 1}


@pytest.mark.parametrize("document", [sample_file(), old_file()], ids=["format 2", "format 1"])
def test_csv_has_a_line_for_every_call(document: dict[str, object]) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv({"a": document}))))
    assert len(lines) == 120
    columns = document["samples"]
    assert isinstance(columns, dict)
    for name in ("round", "order", "wall_ns", "cpu_ns"):
        assert [int(line[name]) for line in lines] == columns[name]
    assert [line["process"] for line in lines] == [
        str(one) for one in columns.get("process", [0] * 120)
    ]
    assert lines[1]["subject"] == "student"
    assert {line["runtime"] for line in lines} == {"onnxruntime"}


def test_wall_times_are_parted_by_subject() -> None:
    times = wall_times({"a": sample_file()})["a"]
    assert {name: len(found) for name, found in times.items()} == {
        "teacher": 40,
        "student": 40,
        "twin": 40,
    }
    assert times["student"][:2] == [1_290_000, 1_299_000]


def test_only_files_of_the_folder_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "benchmarks").mkdir(parents=True)
    content = msgspec.json.encode(sample_file())
    (tmp_path / "secret.json").write_bytes(content)
    (folder / "benchmarks/onnxruntime-b1.json").write_bytes(content)
    report = small_report()
    assert list(read(folder, report)) == ["benchmarks/onnxruntime-b1.json"]
    for outside in ("benchmarks/../../secret.json", str(tmp_path / "secret.json"), None):
        report["benchmarks"][0]["samples"] = outside
        assert read(folder, report) == {}
