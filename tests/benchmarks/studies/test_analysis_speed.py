"""The analysis is near-linear, counted in calls and elements; the study's figures and its page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from benchmarks.studies import analysis_speed
from benchmarks.studies.analysis_speed_networks import chain_of
from benchmarks.studies.analysis_speed_page import (
    STAGES,
    Row,
    compared_page,
    exponent,
    grown_page,
    proved_page,
)
from compressor.analysis import analyze
from compressor.graphs import Graph, capture
from compressor.labels import Matrix, Units

NEAR_LINEAR = 1.3  # n log n over these sizes is below 1.2, n ** 2 far above


def calls_of(analysis: Callable[[], Any]) -> int:
    """Calls of Python and C functions, which say what a loop in Python costs."""
    count = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(watch)
    try:
        analysis()
    finally:
        sys.setprofile(None)
    return count


def elements_of(analysis: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """Labels that the union-find was asked for, which say what its array operations cost."""
    count, find = 0, Units.find

    def counting(units: Units, ids: Matrix) -> Matrix:
        nonlocal count
        count += ids.size
        return find(units, ids)

    with monkeypatch.context() as patched:
        patched.setattr(Units, "find", counting)
        analysis()
    return count


def graphs_of(chain: str, sizes: list[int]) -> list[Graph]:
    return [capture(*chain_of(chain, size)) for size in sizes]


def check_growth(graphs: list[Graph], per: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [calls_of(partial(analyze, graph)) for graph in graphs]
    elements = [elements_of(partial(analyze, graph), monkeypatch) for graph in graphs]
    assert exponent(per, calls) < NEAR_LINEAR
    assert exponent(per, elements) < NEAR_LINEAR
    assert min(elements) > 0


@pytest.mark.parametrize(
    ("chain", "sizes"),
    [
        ("residual convolutions", [4, 8, 16]),
        ("attention blocks", [1, 2, 3]),
        ("concatenated layers", [8, 16, 32]),
    ],
)
def test_work_grows_in_proportion_to_depth(
    chain: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_growth(graphs_of(chain, sizes), sizes, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chain", "sizes"),
    [
        ("residual convolutions", [50, 100, 200, 400]),
        ("attention blocks", [4, 8, 16, 32]),
        ("concatenated layers", [50, 100, 200, 400]),
    ],
)
def test_work_grows_in_proportion_to_great_depth(
    chain: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_growth(graphs_of(chain, sizes), sizes, monkeypatch)


def test_work_grows_in_proportion_to_width(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [64, 512, 4096]
    graphs = graphs_of("channels", sizes)
    check_growth(graphs, sizes, monkeypatch)
    fewest, most = (calls_of(partial(analyze, graph)) for graph in (graphs[0], graphs[-1]))
    assert most < 8 * fewest  # 64 times the rows: the loops run over dimensions, not over rows


def test_exponent_of_a_power_is_that_power() -> None:
    sizes = [10.0, 100.0, 1000.0]
    assert exponent(sizes, [7 * size**1.7 for size in sizes]) == pytest.approx(1.7)


def compared(subject: str, analysis: float, torch_pruning: float | None) -> Row:
    return {
        "part": "compared",
        "subject": subject,
        "parameters": 1_500_000,
        "nodes": 10,
        "capture": 2.0,
        "analysis": analysis,
        "torch_pruning": torch_pruning,
        "refused": "" if torch_pruning else "over 60 s",
    }


def test_page_states_both_ratios_and_who_is_faster_end_to_end() -> None:
    rows = [compared("a", 0.1, 1.0), compared("b", 0.2, 8.8), compared("c", 0.4, None)]
    text = "\n".join(compared_page([*rows, {"subject": "d", "failed": "RuntimeError"}]))
    assert "median 0.100, worst 0.200 (3 networks)" in text
    assert "finished on 2 of them" in text
    assert "from 10.0 to 44.0" in text
    assert "from 0.48 to 4.00" in text
    assert "faster one on 1 of 2" in text
    assert "over 60 s" in text


def test_page_names_the_slowest_network_of_at_most_100_million_parameters() -> None:
    seconds = dict.fromkeys(STAGES, 2.0)
    rows = [
        {
            "subject": name,
            "parameters": parameters,
            "macs": 1e9,
            "input": [3, 4, 4],
            "seconds": {**seconds, "proof": proof},
            "wall": 99.0,
            "peak_gib": 1.0,
            "passed": True,
            "error": 1e-15,
        }
        for name, parameters, proof in (("s", 9e7, 30.0), ("m", 1e8, 20.0), ("l", 2e8, 50.0))
    ]
    text = "\n".join(proved_page(rows))
    assert "At most 100 M parameters: 42 s at worst" in text
    assert text.index("| s |") < text.index("| m |") < text.index("| l |")


def test_page_fits_an_exponent_to_each_chain() -> None:
    rows = [
        {"chain": "c", "per": "nodes", "subject": f"c {n}", "size": n, "nodes": n, "rows": 9}
        | {"seconds": 1e-3 * n**1.1}
        for n in (10, 20, 40, 80)
    ]
    text = "\n".join(grown_page(rows))
    assert "1.10th power of the nodes, 1.10 over the last three sizes" in text


def test_rows_in_the_results_file_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(subject: str) -> Row:
        asked.append(subject)
        return {"seconds": 1.0}

    monkeypatch.setattr(
        analysis_speed,
        "_wanted",
        lambda parts, repeats: [("grown", name, partial(measure, name)) for name in "ab"],
    )
    results = tmp_path / "folder" / "rows.jsonl"
    analysis_speed.measured(("grown",), 1, results)
    results.write_text(results.read_text().splitlines()[0] + "\n")
    rows = analysis_speed.measured(("grown",), 1, results)
    assert asked == ["a", "b", "b"]
    assert [row["subject"] for row in rows] == ["a", "b"]
    assert [json.loads(line)["subject"] for line in results.read_text().splitlines()] == ["a", "b"]


def test_a_measurement_that_fails_says_so_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)

    class Pipe:
        row: Row

        def send(self, row: Row) -> None:
            self.row = row

    def fail() -> Row:
        raise ValueError("no such network\nand a second line")

    pipe = Pipe()
    analysis_speed.answer(pipe, fail, ())
    assert pipe.row == {"failed": "ValueError: no such network"}


def test_torch_pruning_is_stopped_when_its_time_is_over() -> None:
    def work_for_ever() -> None:
        while True:
            pass

    with analysis_speed.patience(0.01), pytest.raises(analysis_speed.OutOfPatienceError):
        work_for_ever()
