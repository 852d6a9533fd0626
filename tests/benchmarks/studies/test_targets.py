"""The study of targets: torch-pruning at equal MACs, cells that are kept, what its page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from benchmarks.probe.targets import parse_target
from benchmarks.studies import targets
from benchmarks.studies.networks.cifar import ResNet
from benchmarks.studies.peers_records import STAGE_WIDTHS, Latency
from benchmarks.studies.targets_page import Results, render, who_is_faster, write_page
from benchmarks.studies.targets_records import (
    COUPLES,
    WAYS,
    Network,
    Settings,
    Student,
    Timing,
    key_of,
)
from benchmarks.studies.targets_students import Ground, WayName
from benchmarks.studies.targets_torch_pruning import cut_rounded
from compressor.analysis import analyze
from compressor.graphs import capture

FACTS: dict[str, Any] = {
    "cpu": "a processor", "flags": ["avx2"], "python": "3.11", "packages": {"torch": "2.11"},
}  # fmt: skip
NETWORK = Network(name="net", title="Net", architecture="file.py:net", size=8)
TARGET = "onnxruntime:fp32"


def test_torch_pruning_is_nearest_to_the_macs_with_its_widths_rounded() -> None:
    torch.manual_seed(0)
    module = ResNet(8, 3).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    graph = capture(module, (torch.randn(2, 3, 8, 8),))
    analysis = analyze(graph)
    found = cut_rounded(module, graph, analysis, 0.4, ignored=STAGE_WIDTHS)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    macs = analyze(capture(found.module.eval(), graph.example_inputs)).model.macs
    assert found.gone == pytest.approx(1 - macs / analysis.model.macs)
    assert found.gone == pytest.approx(0.4, abs=0.2)  # three widths of 16 to 64, rounded to 8
    for part in found.module.modules():
        if isinstance(part, nn.Conv2d):
            assert part.out_channels % 8 == 0


def latency(speedup: float, verdict: str = "faster", status: str = "VALID") -> Latency:
    ends = (speedup - 0.01, speedup + 0.01)
    return Latency(speedup=speedup, interval=ends, verdict=verdict, status=status, noise_floor=0.01)


def results(*, rival: Latency, gone: float = 0.5, failed: str = "") -> Results:
    student = Student(
        network="net", target=TARGET, way="target", key="k", gone=gone, expected=1.5, widths=(16,)
    )
    timing = Timing(network="net", target=TARGET, first="target", second="dense", key="k")
    students: list[Student] = []
    timings: list[Timing] = []
    for way in WAYS:
        lost = failed if way == "torch-pruning" else ""
        students.append(msgspec.structs.replace(student, way=way, failed=lost))
        if not lost:
            timings.append(msgspec.structs.replace(timing, first=way, latency=latency(1.4)))
            if way != "target":
                timings.append(msgspec.structs.replace(timing, second=way, latency=rival))
    return Results(
        networks=(NETWORK,),
        targets=(TARGET, "openvino:fp32"),
        settings=Settings(),
        students=tuple(students),
        timings=tuple(timings),
    )


def test_page_shows_speedups_with_intervals_and_who_is_faster() -> None:
    text = render(results(rival=latency(1.25)), "python -m study", FACTS)
    assert "| onnxruntime:fp32 | 1.40 (1.39 to 1.41), by its widths 1.50; 50.0 % gone |" in text
    assert "| 1.25 (1.24 to 1.26) | 1.25 (1.24 to 1.26) |" in text
    assert "faster in 1 of 1 cases, slower in 0" in text
    assert "openvino" not in text.split("###")[1]


def test_page_says_in_bold_where_the_plan_lost_or_costs_are_unequal() -> None:
    text = render(results(rival=latency(0.9, "slower", "NOISY"), gone=0.47), "c", FACTS)
    assert "**slower in 1**" in text
    assert "0.900 (0.890 to 0.910, NOISY)" in text
    assert "**47.0 % gone**" in text


def test_what_failed_is_on_the_page(tmp_path: Path) -> None:
    found = results(rival=latency(1.0, "no measurable difference"), failed="ValueError: no")
    write_page(found, tmp_path / "studies.md", "c", FACTS)
    text = (tmp_path / "studies.md").read_text()
    assert "- net, onnxruntime:fp32, torch-pruning, round_to=8: ValueError: no" in text
    assert "Beside torch-pruning, round_to=8 nothing has been measured yet" in "\n".join(
        who_is_faster(found)
    )


def test_cells_are_kept_and_failed_ones_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    broken = {"torch-pruning"}

    def make_student(ground: Ground, way: WayName) -> Student:
        made.append(way)
        if way in broken:
            raise ValueError("cannot be cut")
        key = ground.place.key
        return Student(network="net", target=TARGET, way=way, key=key, gone=0.5)

    def time_pair(ground: Ground, first: str, second: str) -> Timing:
        made.append(f"{first}/{second}")
        key, found = ground.place.key, latency(1.4)
        return Timing(
            network="net", target=TARGET, first=first, second=second, key=key, latency=found
        )

    monkeypatch.setattr(targets, "open_subject", lambda network, seed: None)
    monkeypatch.setattr(targets, "make_student", make_student)
    monkeypatch.setattr(targets, "time_pair", time_pair)
    target = parse_target("onnxruntime", threads=1)

    def run(settings: Settings) -> Results:
        made.clear()
        return targets.study((NETWORK,), (target,), settings, tmp_path)

    first = run(Settings())
    assert made == [*WAYS, "target/dense", "multiples/dense", "target/multiples"]
    assert [one.failed for one in first.students if one.failed] == ["ValueError: cannot be cut"]
    broken.clear()
    second = run(Settings())
    assert made == ["torch-pruning", "torch-pruning/dense", "target/torch-pruning"]
    assert len(second.timings) == len(COUPLES)
    run(Settings())
    assert made == []
    run(Settings(seconds=1.0))
    assert len(made) == len(WAYS) + len(COUPLES)


def test_another_machine_is_another_study() -> None:
    here, there = ({"cpu": name} for name in ("one", "another"))
    assert key_of(Settings(), here) != key_of(Settings(), there)
    assert key_of(Settings(), here) == key_of(Settings(), dict(here))
