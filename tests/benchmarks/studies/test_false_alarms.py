"""The study of short runs: its two files, its order, its file of results."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import onnx
import pytest

from benchmarks.studies.false_alarms import (
    LAYERS,
    SLOWER_LAYERS,
    Run,
    Settings,
    order,
    read_results,
    section,
    study,
    write_chain,
)
from compressor.errors import OptionError

SETTINGS = Settings(seconds=0.5, neighbours=0, runtime="onnxruntime", seed=0)


def run(number: int, slower: bool, verdict: str) -> Run:
    return Run(
        number=number,
        slower=slower,
        verdict=verdict,
        status="VALID",
        decided_by="wall",
        speedup=0.91 if slower else 1.0,
        interval=(0.9, 0.92),
        wall_speedup=0.91,
        noise_floor=0.01,
        twin=1.0,
        contention=1.0,
        others_cores=1.0,
        seconds=9.9,
    )


def test_slower_file_has_a_tenth_more_of_the_same_convolutions(tmp_path: Path) -> None:
    counts = {}
    for layers in (LAYERS, SLOWER_LAYERS):
        model = onnx.load(write_chain(tmp_path / f"{layers}.onnx", layers))
        onnx.checker.check_model(model, full_check=True)
        shapes = [tuple(one.dims) for one in model.graph.initializer]
        assert len(set(shapes[1:])) == 1
        counts[layers] = len(shapes) - 1
    assert counts[SLOWER_LAYERS] / counts[LAYERS] == pytest.approx(1.1)


def test_kinds_take_turns_by_chance_and_there_are_as_many_of_each() -> None:
    kinds = order(100, 0)
    assert sum(kinds) == 100
    assert kinds == order(100, 0)
    assert 60 < sum(a != b for a, b in pairwise(kinds)) < 140


def test_runs_are_kept_and_not_done_again(tmp_path: Path) -> None:
    first = study(tmp_path, 1, SETTINGS)
    assert [one.slower for one in first] == order(1, 0)
    assert study(tmp_path, 1, SETTINGS) == first
    results = tmp_path / "results.jsonl"
    results.write_bytes(results.read_bytes() + b'{"number": 2, "sl')
    assert read_results(results) == first
    assert read_results(results) == first
    other = Settings(seconds=0.6, neighbours=0, runtime="onnxruntime", seed=0)
    with pytest.raises(OptionError, match="other settings"):
        study(tmp_path, 1, other)


def test_page_counts_every_word_with_its_interval() -> None:
    alike = [run(n, False, "no measurable difference") for n in range(19)]
    runs = [*alike, run(19, False, "faster"), *(run(n, True, "slower") for n in range(20, 40))]
    text = section(runs, SETTINGS, {"logical_cores": 2, "cpu": "A Processor"})
    assert "| the same file twice | 19 | 0 | 1 | 95 % (75 to 100 %) |" in text
    assert "| 10 % more of the same layers | 0 | 20 | 0 | 100 % (83 to 100 %) | +9.9% |" in text
