"""Parity's refusals, and prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from compressor.errors import DefectError, InputError, ParityError
from export.descriptions import Description
from export.onnx_files import OnnxFile, write_onnx
from export.parity import check_parity
from export.prediction import accuracy, agreement, choose, predict

MakeNet = Callable[[str], nn.Module]
ExportNet = Callable[[nn.Module, Tensor], ExportedProgram]


def test_parity_counts_samples_and_holds(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    parity = check_parity(pooled.path, make_net("module"), images)
    assert (parity.samples, parity.agreement) == (11, 1.0)
    assert 0 <= parity.max_relative_error <= 1e-5 < parity.tolerance


def test_few_samples_still_run_at_every_batch(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    assert check_parity(pooled.path, make_net("module"), images[:3], (1, 2, 5)).samples == 3


def test_no_samples_are_refused(pooled: OnnxFile, make_net: MakeNet, images: Tensor) -> None:
    with pytest.raises(ParityError, match="at least one input"):
        check_parity(pooled.path, make_net("module"), images[:0])


def test_other_weights_are_refused_with_file_batch_and_error(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    net = make_net("module")
    with torch.no_grad():
        net.get_parameter("fc.bias")[2] += 1e-3
    with pytest.raises(ParityError, match=r"net\.onnx: at batch 1 output 0 .* 1\.\d\de-03"):
        check_parity(pooled.path, net, images)


def test_small_logits_do_not_hide_a_difference(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    class Faint(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.net = make_net("module")
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * self.factor

    with pytest.raises(ParityError, match="tolerance 1e-04"):
        check_parity(pooled.path, Faint(1.001).eval(), images)


def test_graph_that_is_not_finite_is_not_at_parity(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    net = make_net("module")
    with torch.no_grad():
        net.get_parameter("fc.bias")[0] = float("nan")
    with pytest.raises(DefectError, match="not finite"):
        check_parity(pooled.path, net, images)


def test_file_that_is_not_finite_is_refused(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).eval()
    broken = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).eval()
    with torch.no_grad():
        broken[1].bias[0] = float("nan")
    path = tmp_path / "broken.onnx"
    program = export_net(broken, images[:2])
    write_onnx(program, path, Description(architecture="x", tool_version="0"))
    with pytest.raises(ParityError, match="differs from torch by nan"):
        check_parity(path, net, images)


def test_training_graph_is_compared_in_eval_and_left_as_it_was(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    net = make_net("module").train()
    mean = net.get_buffer("bn.running_mean").clone()
    assert check_parity(pooled.path, net, images).agreement == 1.0
    assert net.training
    assert torch.equal(net.get_buffer("bn.running_mean"), mean)


def test_prediction_does_not_depend_on_the_batch(
    pooled: OnnxFile, make_net: MakeNet, images: Tensor
) -> None:
    inputs = images.numpy()
    logits = predict(pooled.path, [inputs])
    with torch.no_grad():
        wanted = make_net("module")(images).numpy()
    assert logits.shape == (11, 4)
    assert np.allclose(logits, wanted, atol=1e-5)
    assert np.allclose(predict(pooled.path, [inputs[:1], inputs[1:]]), wanted, atol=1e-5)


def test_file_that_is_no_onnx_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "torn.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"torn\.onnx: ONNX Runtime refuses the file"):
        predict(path, [np.zeros((1, 3), np.float32)])


def test_accuracy_and_agreement_are_shares() -> None:
    logits = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert accuracy(logits, np.array([1, 0, 0, 0])) == 0.75
    assert agreement(logits, -logits) == 0.0
    assert agreement(logits, logits) == 1.0


@pytest.mark.parametrize(
    ("shape", "chosen"), [((3, 4), (3,)), ((3, 5, 4), (3, 5)), ((3, 4, 2, 2), (3, 2, 2))]
)
def test_classes_lie_where_the_kind_of_output_has_them(
    shape: tuple[int, ...], chosen: tuple[int, ...]
) -> None:
    assert choose(np.zeros(shape)).shape == chosen
