"""`compressor bench` on small files: the document, the table, comparison across files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.bench import (
    against,
    bench,
    read_document,
    read_earlier,
    runtimes_for,
    workloads_of,
)
from benchmarks.dispatch import Effort
from benchmarks.tables import notes, tables
from compressor.errors import LoadError, OptionError, SurroundingsError
from tests.benchmarks.small_files import write_linear

EFFORT = Effort(seconds=0.3, processes=3)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    files = [
        write_linear(folder / "small.onnx", 8),
        write_linear(folder / "large.onnx", 400_000, name="pixels"),
    ]
    workloads = workloads_of(("onnxruntime", "tensorrt@cuda"), (1,), (1,), ("fp32",))
    document = bench(files, workloads, effort=EFFORT, samples=folder / "samples")
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [
        "large-onnxruntime-b1-t1.json"
    ]
    return dict(json.loads(json.dumps(document)))


def text_of(document: dict[str, Any]) -> str:
    terminal = Console(width=100, record=True, file=io.StringIO())
    for one in tables(document):
        terminal.print(one)
    return terminal.export_text() + "\n".join(notes(document))


def test_document_holds_files_rows_what_was_skipped_and_where_it_was_measured(
    found: dict[str, Any],
) -> None:
    assert [entry["file"] for entry in found["files"]] == ["small.onnx", "large.onnx"]
    assert all(len(entry["sha256"]) == 64 for entry in found["files"])
    (row,) = found["rows"]
    assert (row["file"], row["verdict"]) == ("large.onnx", "slower")
    assert row["samples"] == "large-onnxruntime-b1-t1.json"
    assert "TensorrtExecutionProvider" in found["skipped"][0]["reason"]
    assert found["environment"]["packages"]["onnxruntime"]
    assert "/" not in json.dumps(found["files"])


def test_table_shows_both_files_the_verdict_and_the_skipped_runtime(found: dict[str, Any]) -> None:
    text = text_of(found)
    for word in ("ONNX Runtime, batch 1, 1 thread", "small.onnx", "large.onnx", "slower"):
        assert word in text
    assert "TensorRT on cuda: skipped" in text


def test_samples_of_files_of_one_name_lie_apart(tmp_path: Path) -> None:
    files = [tmp_path / folder / "net.onnx" for folder in ("a", "b", "c")]
    for path in files:
        path.parent.mkdir()
        write_linear(path, 8)
    workloads = workloads_of(("onnxruntime",), (1,), (1,), ("fp32",))
    document = bench(files, workloads, effort=EFFORT, samples=tmp_path / "samples")
    kept = {path.name for path in (tmp_path / "samples").iterdir()}
    assert kept == {row["samples"] for row in document["rows"]}
    assert len(kept) == 2


def test_one_file_is_compared_with_itself(tmp_path: Path) -> None:
    workloads = workloads_of(("onnxruntime",), (2,), (1,), ("fp32",))
    document = bench([write_linear(tmp_path / "only.onnx", 8)], workloads, effort=EFFORT)
    assert document["rows"][0]["file"] == document["reference"] == "only.onnx"
    assert "the same again" in text_of(document)


def test_nothing_measured_is_an_error_with_the_reason(tmp_path: Path) -> None:
    workloads = workloads_of(("torch",), (1,), (1,), ("fp32",))
    with pytest.raises(SurroundingsError, match=r"nothing could be measured: .*pt2 program"):
        bench([write_linear(tmp_path / "only.onnx", 8)], workloads, effort=EFFORT)


def test_earlier_results_stand_beside_the_new_ones(found: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(found))
    joined = against(found, read_document(path), "old.json")
    assert joined["rows"][0]["before"]["speedup"] == found["rows"][0]["speedup"]
    assert "was" in text_of(joined)


def test_a_compared_file_that_changed_since_is_told_in_a_line(found: dict[str, Any]) -> None:
    same = against(found, found, "old.json")
    assert "other content" not in " ".join(notes(same))
    files = [found["files"][0], {**found["files"][1], "sha256": "00" * 32}]
    changed = against(found, {**found, "files": files}, "old.json")
    assert "large.onnx: other content than when the earlier results were made" in notes(changed)


def test_unlike_environment_and_other_reference_are_refused(found: dict[str, Any]) -> None:
    other = {**found, "environment": {**found["environment"], "cpu": "Another One"}}
    with pytest.raises(OptionError, match=r"processor: .* in one, Another One in the other"):
        against(found, other, "old.json")
    files = [{**found["files"][0], "sha256": "00" * 32}, found["files"][1]]
    with pytest.raises(OptionError, match="compares with another reference"):
        against(found, {**found, "files": files}, "old.json")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 0, "rows": []}'])
def test_what_is_no_result_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(LoadError, match="no results of compressor bench"):
        read_document(tmp_path / "old.json")


def test_results_of_an_unlike_environment_are_refused_before_measuring(
    found: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(found))
    assert read_earlier(path) == found
    path.write_text(json.dumps(found | {"environment": found["environment"] | {"cpu": "another"}}))
    with pytest.raises(OptionError, match="unlike environments"):
        read_earlier(path)


def test_workloads_are_all_combinations_and_names_are_checked() -> None:
    assert len(workloads_of(("openvino", "onnxruntime"), (1, 8), (1, 2), ("fp32", "bf16"))) == 16
    with pytest.raises(OptionError, match="no runtime onnx on cpu"):
        workloads_of(("onnx",), (1,), (1,), ("fp32",))
    with pytest.raises(OptionError, match="--precision int4"):
        workloads_of(("openvino",), (1,), (1,), ("int4",))
    with pytest.raises(OptionError, match="1 or more"):
        workloads_of(("openvino",), (0,), (1,), ("fp32",))


def test_runtimes_are_those_that_read_the_form() -> None:
    assert runtimes_for([Path("a.onnx")])[:2] == ("onnxruntime", "openvino")
    assert runtimes_for([Path("a.pt2")])[:2] == ("torch", "torch-compile")
