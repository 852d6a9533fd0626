"""Weights beside an ONNX file; ``tests/malformed/onnx_files.py`` has those that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from benchmarks.inputs import read_signature
from benchmarks.outside import require_weights
from compressor.errors import LoadError
from tests.malformed.onnx_files import external, model


def test_weights_that_onnx_itself_puts_outside_are_found(tmp_path: Path) -> None:
    made = model()
    onnx.save(
        made, tmp_path / "net.onnx", save_as_external_data=True, location="net.data",
        size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "net.data").stat().st_size == 32
    assert [one.name for one in read_signature(tmp_path / "net.onnx")] == ["x"]
    (tmp_path / "net.data").unlink()
    with pytest.raises(LoadError, match=r"net\.onnx: the weight 'w' lies in net\.data, which is"):
        read_signature(tmp_path / "net.onnx")


def test_weights_in_attributes_and_inner_graphs_are_found_too(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.ones((4, 2), np.float32), "inner")
    outer, inner = model(), model()
    inner.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    outer.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner.graph))
    require_weights(tmp_path / "net.onnx", outer)
    deepest = outer.graph.node[-1].attribute[0].g.node[-1].attribute[0].t
    moved = model()
    external(location="net.data")(moved)
    deepest.CopyFrom(moved.graph.initializer[0])
    with pytest.raises(LoadError, match=r"lies in net\.data"):
        require_weights(tmp_path / "net.onnx", outer)
