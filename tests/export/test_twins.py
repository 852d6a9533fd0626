"""Static twins: batch 1 throughout, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import Tensor, nn

from compressor.errors import DefectError
from compressor.graphs import capture, export_program
from export.descriptions import Description
from export.onnx_files import OnnxFile, write_onnx
from export.prediction import predict
from export.twins import twin_of, write_twin

MakeNet = Callable[[str], nn.Module]
PLAIN = Description(architecture="tests:net", tool_version="0")


@pytest.mark.parametrize("form", ["module", "gate", "attention"])
def test_a_twin_is_static_throughout_and_answers_as_the_dynamic_file(
    form: str, make_net: MakeNet, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    program = export_program(capture(make_net(form), (images[:2],)))
    dynamic = write_onnx(program, path, PLAIN)
    twin = write_twin(path)
    assert (twin.path, twin.opset) == (tmp_path / "net-batch1.onnx", dynamic.opset)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(twin.path)))
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    assert len(model.graph.value_info) >= len(model.graph.node) - 1
    for value in values:
        assert all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim), value
    assert "Shape" not in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(str(twin.path))
    assert session.get_inputs()[0].shape == [1, 3, 16, 16]
    wanted = predict(path, [images.numpy()])
    assert np.allclose(predict(twin.path, [images.numpy()]), wanted, rtol=0, atol=1e-5)


def test_a_twin_says_of_itself_what_the_dynamic_file_says(pooled: OnnxFile, product: Path) -> None:
    path = product / "onnx" / "student.onnx"
    twin, dynamic = onnx.load(str(write_twin(path).path)), onnx.load(str(path))
    assert list(twin.metadata_props) == list(dynamic.metadata_props)
    assert twin.producer_name == "compressor"
    assert not any(node.metadata_props or node.doc_string for node in twin.graph.node)


def test_a_twin_of_large_weights_has_weights_of_its_own_beside_it(product: Path) -> None:
    path = product / "onnx" / "student.onnx"
    write_twin(path, external_above=100)
    names = {one.name for one in path.parent.iterdir()}
    assert names == {"student.onnx", "student-batch1.onnx", "student-batch1.onnx.data"}
    assert predict(twin_of(path), [np.zeros((3, 3, 16, 16), np.float32)]).shape == (3, 4)


def test_a_static_file_has_no_twin(product: Path) -> None:
    twin = write_twin(product / "onnx" / "student.onnx").path
    with pytest.raises(DefectError, match="no dynamic batch to be fixed"):
        write_twin(twin)
