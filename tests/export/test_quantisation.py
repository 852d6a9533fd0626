"""Int8 files: standard operators, the integers of the processor, equal bytes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compressor.errors import InputError, SurroundingsError
from compressor.graphs import capture, export_program
from export.calibration import minmax
from export.descriptions import Description
from export.onnx_files import OnnxFile, save_onnx, write_onnx
from export.prediction import predict
from export.quantisation import Integers, integers_of, to_int8
from tests.test_saving import files_up_to

MakeNet = Callable[[str], nn.Module]
PLAIN = Description(architecture="tests:net", tool_version="0")
X86 = Integers(unsigned=True, reduce_range=False)


def quantised(source: Path, images: Tensor, integers: Integers, path: Path) -> OnnxFile:
    return save_onnx(to_int8(source, minmax, [(images.numpy(),)], integers), path, PLAIN)


def constants(path: Path) -> dict[str, np.ndarray]:
    return {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer
    }


@pytest.mark.parametrize("form", ["module", "gate", "attention"])
def test_an_int8_file_is_near_in_standard_operators(
    form: str, make_net: MakeNet, images: Tensor, tmp_path: Path
) -> None:
    graph = capture(make_net(form), (images[:2],))
    whole = write_onnx(export_program(graph), tmp_path / "whole.onnx", PLAIN)
    written = quantised(whole.path, images, X86, tmp_path / "int8.onnx")
    proto = onnx.load(str(written.path))
    assert {node.domain for node in proto.graph.node} == {""}
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", whole.opset)]
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in proto.graph.node}
    wanted, got = (predict(one.path, [images.numpy()]) for one in (whole, written))
    assert 0 < np.abs(wanted - got).max() < 0.1 * np.abs(wanted).max()


def test_weights_have_a_scale_for_each_channel_and_activations_the_wanted_type(
    pooled: OnnxFile, images: Tensor, tmp_path: Path
) -> None:
    for integers, kind in (
        (X86, np.uint8),
        (Integers(unsigned=False, reduce_range=False), np.int8),
    ):
        written = quantised(pooled.path, images, integers, tmp_path / f"{kind.__name__}.onnx")
        held = constants(written.path)
        assert held["input_zero_point"].dtype == kind
        weights = {name: one for name, one in held.items() if one.ndim == 4}
        ((name, weight),) = weights.items()
        assert weight.dtype == np.int8
        assert held[name.replace("_quantized", "_scale")].shape == (8,)


def test_a_reduced_range_has_seven_bits(pooled: OnnxFile, images: Tensor, tmp_path: Path) -> None:
    largest = {}
    for reduce_range in (False, True):
        integers = Integers(unsigned=True, reduce_range=reduce_range)
        written = quantised(pooled.path, images, integers, tmp_path / f"{reduce_range}.onnx")
        weights = [one for one in constants(written.path).values() if one.ndim == 4]
        largest[reduce_range] = int(np.abs(weights[0].astype(int)).max())
    assert largest == {False: 127, True: 64}


def test_a_network_without_such_operators_is_refused(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["": 20]>
    net (float[batch, 3] input) => (float[batch, 3] logits) { logits = Exp(input) }
    """)
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(InputError, match=r"net\.onnx: it has no operator that int8 knows"):
        to_int8(tmp_path / "net.onnx", minmax, [(np.ones((2, 3), np.float32),)], X86)


def test_two_inputs_are_calibrated_by_place(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.one(x) + self.other(y)

    torch.manual_seed(0)
    x, y = torch.randn(8, 4), 9 * torch.randn(8, 5)
    graph = capture(Two().eval(), (x[:2], y[:2]))
    whole = write_onnx(export_program(graph), tmp_path / "whole.onnx", PLAIN)
    model = to_int8(whole.path, minmax, [(x.numpy(), y.numpy())], X86)
    scales = {name: one.const_value for name, one in model.graph.initializers.items()}
    first, second = (one.name for one in model.graph.inputs)
    assert float(scales[f"{second}_scale"].numpy()) > 5 * float(scales[f"{first}_scale"].numpy())


@pytest.mark.parametrize(
    ("machine", "flags", "wanted"),
    [
        ("x86_64", "avx2 avx512_vnni", Integers(unsigned=True, reduce_range=False)),
        ("AMD64", "avx2", Integers(unsigned=True, reduce_range=True)),
        ("aarch64", "asimd", Integers(unsigned=False, reduce_range=False)),
    ],
)
def test_integers_suit_the_processor(machine: str, flags: str, wanted: Integers) -> None:
    assert integers_of(machine, f"model name : x\nflags : {flags}\n") == wanted


SCRIPT = """
import sys, numpy as np
from pathlib import Path
import onnx_ir as ir
from export.calibration import entropy, largest_values
from export.descriptions import Description
from export.half import FLOAT16, to_half
from export.onnx_files import save_onnx
from export.quantisation import Integers, to_int8
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
batches = [(np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32),)] * 2
facts = Description(architecture="x", tool_version="0")
integers = Integers(unsigned=True, reduce_range=False)
save_onnx(to_int8(source, entropy, batches, integers), folder / "int8.onnx", facts)
half = to_half(ir.load(source), FLOAT16, largest_values(source, batches))
save_onnx(half.model, folder / "half.onnx", facts)
"""


@pytest.mark.slow
def test_two_processes_and_folders_write_equal_bytes(pooled: OnnxFile, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "another one"]
    for seed, folder in enumerate(folders):
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": root}
        command = [sys.executable, "-c", SCRIPT, str(pooled.path), str(folder)]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    for name in ("int8.onnx", "half.onnx"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.parametrize("size", [0, 1000])
def test_no_room_for_temporary_files_is_one_line(
    size: int, pooled: OnnxFile, images: Tensor
) -> None:
    with (
        files_up_to(size),
        pytest.raises(SurroundingsError, match="another folder in the variable TMPDIR") as told,
    ):
        to_int8(pooled.path, minmax, [(images.numpy(),)], X86)
    assert "\n" not in str(told.value)


def test_what_the_library_logs_is_not_printed() -> None:
    handlers = logging.getLogger("onnxruntime.quantization").handlers
    assert handlers  # with none, Python prints what is logged
