"""Files run outside of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from compressor.errors import InputError
from export.evaluators import open_evaluator, open_openvino
from export.onnx_files import OnnxFile
from export.prediction import predict
from export.twins import write_twin


@pytest.mark.parametrize("name", ["openvino", "onnx reference"])
def test_either_answers_as_onnx_runtime_does(
    name: str, pooled: OnnxFile, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    run, said = open_evaluator(pooled.path)
    assert said == name
    (got,) = run((images.numpy(),))
    assert np.allclose(got, predict(pooled.path, [images.numpy()]), atol=1e-5)


def test_a_fixed_batch_is_fed_piece_by_piece(
    pooled: OnnxFile, images: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    copy = tmp_path / "net.onnx"
    copy.write_bytes(pooled.path.read_bytes())
    (got,) = open_openvino(write_twin(copy).path)((images.numpy(),))
    assert np.allclose(got, predict(pooled.path, [images.numpy()]), atol=1e-5)


def test_what_openvino_cannot_run_is_named(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"net\.onnx: OpenVINO cannot run it"):
        open_openvino(tmp_path / "net.onnx")
