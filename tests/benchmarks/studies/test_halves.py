"""The study of halves: runs that are kept, teachers that are given, what its page says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.entries import entry
from benchmarks.studies import halves
from benchmarks.studies.halves import Settings, pictures, study, teachers_of
from benchmarks.studies.halves_page import Result, causes, explanation_of, render, write_page
from benchmarks.studies.parts import marks
from benchmarks.studies.targets_records import Network
from compressor.errors import OptionError, SurroundingsError
from tests.benchmarks.reports import full_report
from tests.test_builds import NETWORK

NET = Network(name="net", title="Net", architecture="net.py:small", size=16)
SETTINGS = Settings(precisions=("fp32", "int8"), sparsity=0.7)


def report(**changes: Any) -> dict[str, Any]:
    found = full_report()
    found["budget"] |= {"of": "macs"}
    found["environment"] |= {"python": "3.11", "flags": ["avx2"]}
    for one in found["benchmarks"]:
        one["threads"] = 2
    return {**found, **changes}


def text_of(found: dict[str, Any]) -> str:
    return render([Result(name="net", title="Net", report=found)], "python -m study")


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_row_has_the_speed_the_macs_and_what_is_missing_for_which_reason() -> None:
    text = text_of(report())
    first, *rest = rows(text)
    assert first == [
        "ONNX Runtime", "float32", "1", "3.10", "1.29", "2.40 (2.31 to 2.50)", "faster", "3.00",
        "1.25", "0.260", "other kernel 0.210 ms",
    ]  # fmt: skip
    assert len(rest) == 7
    int8 = next(row for row in rest if row[:3] == ["ONNX Runtime", "int8", "1"])
    assert int8[6] == "faster, NOISY"
    assert int8[9:] == ["0.400", "conversions 0.300 ms"]
    large = next(row for row in rest if row[:3] == ["ONNX Runtime", "float32", "8"])
    assert large[9:] == ["\N{EN DASH}", "\N{EN DASH}"]  # explained at batch 1 alone


def test_lines_below_tell_each_explanation_and_what_was_not_measured() -> None:
    text = text_of(report())
    told = "MACs 3.00x fewer, time 2.40x less. By reason: other kernel 0.210 ms; outside kernels"
    assert told in text
    assert "- OpenVINO, float32: not explained, because openvino is not installed." in text
    assert "- Not measured: torch on cuda in float32, because torch finds no CUDA device." in text
    assert "`compressor build --teacher resnet8.pt --sparsity 0.7`" in text


def test_who_is_faster_is_counted_and_slower_is_in_bold() -> None:
    found = report()
    text = text_of(found)
    assert "with 3.00 times fewer MACs, the student is faster in 6 of 8 settings" in text
    assert "**slower in 1**; in 1 no difference" in text  # torch, and OpenVINO in bfloat16
    for one in found["benchmarks"]:
        one["verdict"] = "faster"
    assert "in 8 of 8 settings, slower in 0.\n" in text_of(found)


def test_what_failed_is_on_the_page_and_other_parts_stay(tmp_path: Path) -> None:
    page = tmp_path / "studies.md"
    page.write_text("# Studies\n\nOthers.\n")
    results = [Result(name="net", title="Net", report=None, failed="the disk is full")]
    write_page(results, page, "c")
    write_page(results, page, "c")
    text = page.read_text()
    assert text.count("- net: the disk is full") == 1
    assert "Others." in text
    assert all(text.count(mark) == 1 for mark in marks("halves"))


def test_causes_are_the_largest_whichever_way() -> None:
    found = report()
    found["explanation"][0]["causes"] = [{"cause": "a", "ms": 0.1}, {"cause": "b", "ms": -0.4}]
    why = explanation_of(entry(found), entry(found).get("benchmarks", 0))
    assert why is not None
    assert causes(why, 1) == ["b -0.400 ms"]


def made_up(folder: Path, **changes: Any) -> Path:
    place = folder / "net-macs-0.7"
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps(report(**changes)))
    return place


def test_a_finished_run_is_not_built_anew_and_another_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def build(network: Network, settings: Settings, folder: Path, place: Path) -> None:
        built.append(network.name)
        shutil.rmtree(place)
        made_up(tmp_path)

    monkeypatch.setattr(halves, "build", build)
    made_up(tmp_path)
    (found,) = study((NET,), SETTINGS, tmp_path)
    assert (built, found.failed) == ([], "")
    bare = [one for one in report()["deployables"] if one["precision"] != "int8"]
    (tmp_path / "net-macs-0.7" / "report.json").write_text(json.dumps(report(deployables=bare)))
    (found,) = study((NET,), SETTINGS, tmp_path)
    assert built == ["net"]
    assert found.report is not None


def test_a_build_that_fails_is_a_result_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise SurroundingsError("no space left")

    monkeypatch.setattr(halves, "build", build)
    (found,) = study((NET,), SETTINGS, tmp_path)
    assert (found.report, found.failed) == (None, "no space left")


def test_teachers_are_given_by_name() -> None:
    assert teachers_of(["net=a.pt"], (NET,)) == {"net": Path("a.pt")}
    for wrong in ("other=a.pt", "a.pt"):
        with pytest.raises(OptionError, match="give NAME=FILE"):
            teachers_of([wrong], (NET,))


def test_pictures_are_painted_once(tmp_path: Path) -> None:
    place = pictures(16, tmp_path)
    assert len(list(place.iterdir())) == halves.PICTURES
    (place / "000.png").unlink()
    assert len(list(pictures(16, tmp_path).iterdir())) == halves.PICTURES - 1


@pytest.mark.slow
def test_a_small_network_goes_all_the_way_to_the_page(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    network = Network(name="net", title="Net", architecture=f"{tmp_path / 'net.py'}:small", size=16)
    settings = Settings(precisions=("fp32", "int8"), seconds=0.3)
    results = study((network,), settings, tmp_path / "out")
    assert [one.failed for one in results] == [""]
    write_page(results, tmp_path / "studies.md", "python -m study")
    text = (tmp_path / "studies.md").read_text()
    found = {(row[0], row[1]) for row in rows(text)}
    assert {("ONNX Runtime", "float32"), ("ONNX Runtime", "int8"), ("torch", "float32")} <= found
    assert "ONNX Runtime, batch 1, int8, 1 thread: MACs" in text
    wrong = Network(name="gone", title="Gone", architecture="net.py:absent", size=16)
    (failed,) = study((wrong,), settings, tmp_path / "out")
    assert failed.report is None
    assert failed.failed
