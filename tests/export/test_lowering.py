"""Files of lower precision, made and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compressor.errors import DefectError, InputError, OptionError, ParityError
from compressor.graphs import Graph, capture, export_program
from export import lowering
from export.advice import advise, drop_of, notes, warnings
from export.deployables import Deployable
from export.descriptions import Description
from export.lowering import Examples, golden_tolerance, lower
from export.onnx_files import write_onnx
from export.parity import check_parity
from export.precisions import BF16, FP16, FP32, INT8, Precision

MakeNet = Callable[[str], nn.Module]
PLAIN = Description(architecture="tests:net", tool_version="0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def graph(make_net: MakeNet, images: Tensor, folder: Path) -> Graph:
    """With its fp32 file in the folder."""
    made = capture(make_net("gate"), (images[:2],))
    write_onnx(export_program(made), folder / FP32.file("student"), PLAIN)
    return made


@pytest.fixture(scope="module")
def examples(images: Tensor) -> Examples:
    return Examples(batches=lambda: [(images.numpy(),)], images=11, source="training images")


@pytest.fixture(scope="module")
def entries(
    graph: Graph, examples: Examples, images: Tensor, folder: Path
) -> tuple[Deployable, ...]:
    path = folder / FP32.file("student")
    first = Deployable(
        file=FP32.file("student"),
        precision="fp32",
        bytes=path.stat().st_size,
        sha256="",
        opset=20,
        parity=check_parity(path, graph, images),
    )
    others = [
        lower(folder, "student", one, PLAIN, examples, graph, images, threads=1).deployable
        for one in (FP16, BF16, INT8)
    ]
    return (first, *others)


def test_each_precision_is_a_checked_file_that_says_what_it_is(
    entries: Sequence[Deployable], folder: Path
) -> None:
    for one in entries[1:]:
        said = {pair.key: pair.value for pair in onnx.load(str(folder / one.file)).metadata_props}
        assert said["compressor.precision"] == one.precision
        assert (one.parity.samples, one.parity.tolerance) == (11, None)
        assert 0 < one.parity.max_relative_error < 0.1
    said = {
        pair.key: pair.value
        for pair in onnx.load(str(folder / INT8.file("student"))).metadata_props
    }
    assert json.loads(said["compressor.calibration"])["images"] == 11
    assert entries[3].calibration is not None
    assert entries[3].calibration.method == "minmax"


def test_bf16_is_not_runnable_and_says_why_and_where_it_was_checked(
    entries: Sequence[Deployable],
) -> None:
    bf16 = entries[2]
    assert bf16.not_runnable is not None
    assert "NOT_IMPLEMENTED" in bf16.not_runnable
    assert bf16.checked_in in ("openvino", "onnx reference")
    assert bf16.opset >= 22
    assert entries[1].not_runnable is None


def test_the_reference_checks_bf16_where_there_is_no_openvino(
    graph: Graph, examples: Examples, images: Tensor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = lower(folder, "student", BF16, PLAIN, examples, graph, images, threads=1).deployable
    assert found.checked_in == "onnx reference"
    assert 0 < found.parity.max_relative_error < 0.1


def test_an_opset_that_does_not_know_the_precision_is_refused(
    graph: Graph, examples: Examples, images: Tensor, folder: Path
) -> None:
    with pytest.raises(OptionError, match="bf16 needs opset 22 or higher, and 20 was asked for"):
        lower(folder, "student", BF16, PLAIN, examples, graph, images, opset=20)


def test_a_file_that_overflows_in_halves_is_refused_and_not_left(
    graph: Graph, examples: Examples, images: Tensor, folder: Path
) -> None:
    """Examples of small values, then an input beyond them: nothing was kept in float32."""
    with np.errstate(all="ignore"), pytest.raises(ParityError, match="is not finite"):
        lower(folder, "teacher", FP16, PLAIN, *_overflowing(folder, graph, examples, images))
    assert not (folder / FP16.file("teacher")).exists()


def _overflowing(
    folder: Path, graph: Graph, examples: Examples, images: Tensor
) -> tuple[Examples, Graph, Tensor]:
    source = folder / FP32.file("student")
    (folder / FP32.file("teacher")).write_bytes(source.read_bytes())
    return examples, graph, images * 1e6


def test_a_runtime_that_refuses_for_another_reason_is_a_defect(
    graph: Graph, examples: Examples, images: Tensor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *, threads: int) -> None:
        raise InputError(f"{path.name}: ONNX Runtime refuses the file: INVALID_GRAPH")

    (folder / FP32.file("teacher")).write_bytes((folder / FP32.file("student")).read_bytes())
    monkeypatch.setattr(lowering, "open_run", refuse)
    with pytest.raises(DefectError, match="INVALID_GRAPH"):
        lower(folder, "teacher", FP16, PLAIN, examples, graph, images)


def test_a_file_that_nothing_here_runs_is_not_left(
    graph: Graph, examples: Examples, images: Tensor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise InputError(f"{path.name}: OpenVINO cannot run it")

    (folder / FP32.file("teacher")).write_bytes((folder / FP32.file("student")).read_bytes())
    monkeypatch.setattr(lowering, "open_evaluator", refuse)
    with pytest.raises(InputError, match="OpenVINO cannot run it"):
        lower(folder, "teacher", BF16, PLAIN, examples, graph, images)
    assert not (folder / BF16.file("teacher")).exists()


@pytest.mark.parametrize("precision", [FP16, BF16, INT8], ids=lambda one: one.name)
def test_golden_answers_may_be_twice_as_far_off_as_the_precision_is(precision: Precision) -> None:
    assert golden_tolerance(precision, 0.0) == precision.tolerance
    assert golden_tolerance(precision, 1.0) == 2.0


def test_what_loses_no_more_than_allowed_is_advised(
    entries: Sequence[Deployable], folder: Path, images: Tensor
) -> None:
    found = advise(folder, entries, lambda: [images.numpy()], None, images.numpy(), max_drop=100)
    assert all(one.advised and not one.worst_tensors for one in found)
    assert found[0].drop is None
    assert all(one.drop is not None and one.drop.of == "agreement" for one in found[1:])
    assert warnings(found) == ()
    assert len(notes(found)) == 3


def test_what_loses_more_is_not_and_the_worst_tensors_are_named(
    entries: Sequence[Deployable], folder: Path, images: Tensor
) -> None:
    labels = np.zeros(len(images), np.int64)
    found = advise(folder, entries, lambda: [images.numpy()], labels, images.numpy(), max_drop=-101)
    assert [one.advised for one in found] == [True, False, False, False]
    for one in found[1:]:
        assert "points of top-1 against fp32" in str(one.reason)
        assert 1 <= len(one.worst_tensors) <= 5
        assert all(loss.finite and loss.operator != "unknown" for loss in one.worst_tensors)
    added = [loss.added or 0 for loss in found[3].worst_tensors]
    assert added == sorted(added, reverse=True)
    assert 0 < added[0] < 0.1
    assert found[2].metrics is None
    assert found[2].rounded is not None
    assert found[1].metrics is not None
    assert [line.partition(" is not advised")[0] for line in warnings(found)] == [
        one.file for one in found[1:]
    ]


def test_a_drop_is_of_the_answers_that_differ() -> None:
    def logits(chosen: list[int]) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[chosen]

    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    whole = logits([0, 1, 2, 0, 1, 2, 0, 0, 0, 1])  # 7 right
    lowered = logits([0, 1, 2, 0, 1, 0, 1, 1, 0, 1])  # loses two, gains one
    drop = drop_of(whole, lowered, labels)
    assert (drop.points, drop.of, drop.images) == (10.0, "top-1", 10)
    assert drop.error == pytest.approx(100 * (3 - 0.1) ** 0.5 / 10)
    without = drop_of(whole, lowered, None)
    assert (without.points, without.of) == (30.0, "agreement")
    assert drop_of(whole, whole, labels).error == 0


def test_token_networks_have_halves_too(make_net: MakeNet, tmp_path: Path) -> None:
    tokens = torch.arange(35).reshape(7, 5) % 12
    made = capture(make_net("tied"), (tokens[:2],))
    write_onnx(export_program(made), tmp_path / FP32.file("student"), PLAIN)
    examples = Examples(batches=lambda: [(tokens.numpy(),)], images=7, source="sentences")
    found = lower(tmp_path, "student", FP16, PLAIN, examples, made, tokens)
    assert found.deployable.parity.max_relative_error < found.tolerance
