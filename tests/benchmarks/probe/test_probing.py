"""Probing real layers for moments, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.probe import opening, probing
from benchmarks.probe.caches import Measured, environment_of, read_measured, write_measured
from benchmarks.probe.choices import Chosen, choose_for
from benchmarks.probe.onnx_graphs import build_graph, input_shape
from benchmarks.probe.opening import opened
from benchmarks.probe.stairs import Look, bytes_open
from benchmarks.probe.targets import PRECISIONS, Target, parse_target, target_of
from benchmarks.probe.telling import document, note, probe_lines
from compressor.analysis import analyze
from compressor.errors import FolderError, OptionError
from compressor.graphs import Graph, capture
from compressor.operators import find_operators
from compressor.staircases import Choice, Operator
from compressor.types import Budget

CONVOLUTION = Operator(
    kind="convolution", inputs=8, outputs=12, space=(6, 6), kernel=(3, 3), stride=(2, 2),
    padding=(1, 1), dilation=(1, 1),
)  # fmt: skip
DEPTHWISE = replace(CONVOLUTION, inputs=12, groups=12)
PRODUCT = Operator(kind="product", inputs=8, outputs=12, space=(5,))
TARGETS = [f"{runtime}:{one}" for runtime, some in PRECISIONS.items() for one in some]


@pytest.fixture(scope="module")
def network() -> Graph:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(16, 8, 1),
    )  # fmt: skip
    return capture(module.eval(), (torch.randn(2, 3, 8, 8),))


@pytest.fixture(scope="module")
def chosen(network: Graph, tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("cache")
    target = parse_target("onnxruntime", threads=1)
    return choose_for(network, analyze(network), target, minutes=0.005, folder=folder)


@pytest.mark.parametrize("operator", [CONVOLUTION, DEPTHWISE, PRODUCT])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("copies", [1, 3])
def test_graphs_are_valid_onnx(operator: Operator, precision: str, copies: int) -> None:
    model = build_graph(operator, copies, precision, batch=2)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    if operator.kind == "convolution":
        assert kinds.count("Conv") == copies + 1  # and the one that spreads the input
    else:
        assert kinds.count("MatMul") == copies
    assert ("QuantizeLinear" in kinds) == (precision == "int8")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("operator", [CONVOLUTION, DEPTHWISE, PRODUCT])
def test_every_target_runs_every_kind_of_operator(name: str, operator: Operator) -> None:
    target = parse_target(name, threads=1)
    with opened(target) as opener:
        for copies in (1, 3):
            opener(operator, copies)()


def test_input_of_a_convolution_is_one_channel() -> None:
    assert input_shape(CONVOLUTION, 4) == (4, 1, 6, 6)
    assert input_shape(PRODUCT, 4) == (4, 5, 8)


def test_probe_covers_the_layers_and_is_kept(
    network: Graph, chosen: Chosen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert chosen.probe.new == len(chosen.probe.staircases) > 0
    groups = analyze(network).groups
    assert len(chosen.choices) == len(groups) == len(chosen.on(Budget(0.5)).preferred)
    target, told = parse_target("onnxruntime", threads=1), []
    again = [
        choose_for(
            network, analyze(network), target, minutes=0.02, folder=tmp_path, announce=told.append
        )
        for _ in range(2)
    ]
    assert again[1].probe.new == 0
    assert again[1].choices == again[0].choices
    assert len(told) == 1  # what is known needs no announcement
    anew = choose_for(network, analyze(network), target, minutes=0.005, folder=tmp_path, anew=True)
    assert anew.probe.new > 0


def test_a_network_of_other_widths_is_expected_to_take_less(chosen: Chosen) -> None:
    expectation = chosen.expectation()
    whole, half, least = (
        expectation.seconds([share] * len(chosen.choices)) for share in (1.0, 0.5, 0.1)
    )
    assert whole > half > least > 0
    assert expectation.liked == chosen.on(Budget(0.5)).preferred


def test_layers_that_had_no_turn_are_expected_to_go_with_their_widths(chosen: Chosen) -> None:
    blind = replace(chosen, probe=replace(chosen.probe, staircases=())).expectation()
    seconds = {one.operator: one.seconds for one in chosen.probe.looks}
    groups = len(chosen.choices)
    assert blind.seconds([1.0] * groups) == pytest.approx(
        sum(seconds[layer.operator] for layer in chosen.layers)
    )
    assert blind.seconds([0.5] * groups) < 0.6 * blind.seconds([1.0] * groups)


def test_probing_anew_keeps_what_other_networks_measured(network: Graph, tmp_path: Path) -> None:
    target = parse_target("onnxruntime", threads=1)
    environment = environment_of(target)
    look = Look(operator=PRODUCT, seconds=1e-6, beside_s=0.0)
    write_measured(Measured(looks=(look,)), environment, tmp_path)
    choose_for(network, analyze(network), target, minutes=0.005, folder=tmp_path, anew=True)
    assert look in read_measured(environment, tmp_path).looks


def test_a_runtime_that_is_not_here_is_refused_in_one_line(
    network: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "unavailable", lambda workload: "openvino is not installed")
    target = parse_target("openvino", threads=1)
    with pytest.raises(OptionError, match="openvino:fp32 cannot be probed here: openvino is not"):
        choose_for(network, analyze(network), target, folder=tmp_path)


def test_layers_that_take_no_time_are_left_out(
    network: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probing, "COVERED", 0.3)
    target = parse_target("onnxruntime", threads=1)
    found = choose_for(network, analyze(network), target, minutes=0.005, folder=tmp_path)
    measured = {one.operator for one in found.probe.staircases}
    assert len(measured | {operator for operator, _ in found.probe.missing}) == 1


def test_another_runtime_library_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the package openvino is not installed"
    monkeypatch.setattr("benchmarks.probe.opening.unavailable", lambda workload: reason)
    with pytest.raises(OptionError, match=f"openvino:bf16 cannot be probed here: {reason}"):
        next(iter(_entered(parse_target("openvino:bf16", threads=1))))


def _entered(target: Target) -> Iterator[object]:
    with opened(target) as opener:
        yield opener


@pytest.mark.parametrize(
    ("runtime", "precision", "threads", "said"),
    [
        ("tensorrt", "fp32", 1, "not one of onnxruntime, openvino, torch"),
        ("onnxruntime", "bf16", 1, "onnxruntime is not measured in bf16; take fp32 or int8"),
        ("openvino", "fp32", 0, "both must be 1 or more"),
    ],
)
def test_unknown_targets_are_refused(runtime: str, precision: str, threads: int, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        target_of(runtime, precision, threads=threads)


def test_target_without_precision_is_fp32() -> None:
    assert parse_target("openvino", threads=2) == target_of("openvino", "fp32", threads=2)
    assert parse_target("openvino:bf16", threads=1).workload.precision == "bfloat16"


def made_up(chosen: Chosen, *choices: Choice) -> Chosen:
    return replace(chosen, choices=choices)


def choice(group: int, noise: float = 0.01, worth: tuple[int, ...] = (8, 16)) -> Choice:
    return Choice(
        group=group, units=16, layers=2, widths=(8, 12, 16), seconds=(1.0, 2.0, 2.0),
        waste=(0.0, 1 / 3, 0.0), noise=noise, worth=worth,
    )  # fmt: skip


def test_summary_says_steps_costs_and_what_could_not_be_told(chosen: Chosen) -> None:
    found = made_up(
        chosen,
        choice(0),
        choice(1),
        choice(2, noise=0.2, worth=()),
        Choice(group=3, units=4, layers=0),
    )
    text = " ".join(
        " ".join(probe_lines(found, ["a.1", "a.2", "b", "c"], everything=False)).split()
    )
    assert "2 groups of 16: 8 16 a wrong width costs up to 33 %, noise 1 %; a.1, a.2" in text
    assert "too noisy to tell: 1 groups" in text
    assert "20.0 %" in text
    assert "not measured: 1 groups" in text
    assert "known for 2 of 4 groups" in note(found)


def test_document_has_every_group(chosen: Chosen) -> None:
    found = document(made_up(chosen, choice(0)), ["a"])
    assert found["target"]["name"] == "onnxruntime:fp32"
    (group,) = found["groups"]
    assert group["name"] == "a"
    assert np.allclose(group["waste"], [0, 1 / 3, 0])


def test_layers_too_large_for_the_memory_are_named_and_left_out(
    network: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VGG-16's first linear layer alone would take gigabytes; here the second convolution does."""
    huge = Operator(kind="product", inputs=25_088, outputs=4_096, space=(1,))
    assert bytes_open(huge) > 10e9
    assert CONVOLUTION.weights == 8 * 12 * 9
    assert DEPTHWISE.weights == 12 * 9
    wide = next(one.operator for one in find_operators(network) if one.operator.inputs == 16)
    monkeypatch.setattr(
        probing.psutil, "virtual_memory", lambda: SimpleNamespace(available=400_000, total=1e9)
    )
    assert bytes_open(wide) > 100_000
    told: list[str] = []
    found = choose_for(
        network,
        analyze(network),
        parse_target("onnxruntime", threads=1),
        minutes=0.005,
        folder=tmp_path,
        announce=told.append,
    )
    assert "shapes of layers are not measured" in told[0]
    assert wide not in {one.operator for one in (*found.probe.looks, *found.probe.staircases)}
    assert found.probe.staircases


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_measured(
    network: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object, **__: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(probing, "look", measure)
    (tmp_path / "file").touch()
    target = parse_target("onnxruntime", threads=1)
    with pytest.raises(FolderError, match="another folder in the variable COMPRESSOR_CACHE"):
        choose_for(network, analyze(network), target, minutes=1.0, folder=tmp_path / "file")
