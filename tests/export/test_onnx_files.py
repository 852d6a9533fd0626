"""What is in a written ONNX file, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from compressor.errors import DefectError, InputError, OptionError
from compressor.files import sha256
from compressor.graphs import capture, export_program
from export.descriptions import Description
from export.onnx_files import OnnxFile, highest_opset, write_onnx
from export.parity import check_parity

MakeNet = Callable[[str], nn.Module]
ExportNet = Callable[[nn.Module, Tensor], ExportedProgram]
PLAIN = Description(architecture="tests:net", tool_version="0")


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


@pytest.mark.parametrize("form", ["module", "gate"])
def test_means_over_height_and_width_become_pools_and_stay_right(
    form: str, make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    net, path = make_net(form), tmp_path / "net.onnx"
    written = write_onnx(export_net(net, images[:2]), path, PLAIN)
    found = operators(path)
    assert found["GlobalAveragePool"] == (2 if form == "gate" else 1)
    assert not found.keys() & {"ReduceMean", "BatchNormalization"}
    assert written.batch_norms == 0
    assert check_parity(path, net, images).max_relative_error < 1e-5


def test_means_over_other_dimensions_stay(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    net, path = make_net("channels"), tmp_path / "net.onnx"
    write_onnx(export_net(net, images[:2]), path, PLAIN)
    assert not operators(path)["GlobalAveragePool"]
    assert check_parity(path, net, images).max_relative_error < 1e-5


def test_captured_attention_agrees_at_every_batch(
    make_net: MakeNet, images: Tensor, tmp_path: Path
) -> None:
    graph, path = capture(make_net("attention"), (images[:2],)), tmp_path / "net.onnx"
    write_onnx(export_program(graph), path, PLAIN)
    parity = check_parity(path, graph, images)
    assert (parity.samples, parity.agreement) == (11, 1.0)


def test_captured_network_of_token_numbers_agrees(make_net: MakeNet, tmp_path: Path) -> None:
    tokens = torch.arange(35).reshape(7, 5) % 12
    graph, path = capture(make_net("tied"), (tokens[:2],)), tmp_path / "net.onnx"
    write_onnx(export_program(graph), path, PLAIN)
    assert check_parity(path, graph, (tokens,)).agreement == 1.0


def test_operator_the_exporter_lacks_is_the_networks_fault(
    export_net: ExportNet, tmp_path: Path
) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    with pytest.raises(InputError, match=r"net\.onnx: the ONNX exporter cannot express.*bessel_j0"):
        write_onnx(export_net(Odd(), torch.ones(2, 3)), tmp_path / "net.onnx", PLAIN)


def test_names_batch_and_own_metadata_and_nothing_of_the_exporter(pooled: OnnxFile) -> None:
    model = onnx.load(str(pooled.path))
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("input", "logits")
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert logits.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert (model.producer_name, model.doc_string) == ("compressor", "")
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not model.graph.metadata_props
    facts = {pair.key: pair.value for pair in model.metadata_props}
    assert all(key.startswith("compressor.") for key in facts)
    assert json.loads(facts["compressor.labels"])[0] == "ant"
    assert json.loads(facts["compressor.input.size"]) == [16, 16]
    assert (facts["compressor.sparsity"], facts["compressor.sparsity.of"]) == ("0.7", "macs")


def test_what_is_told_of_a_file_is_true_and_nothing_lies_beside_it(pooled: OnnxFile) -> None:
    assert pooled.bytes == pooled.path.stat().st_size
    assert pooled.sha256 == sha256(pooled.path)
    assert pooled.opset == onnx.load(str(pooled.path)).opset_import[0].version
    assert [entry.name for entry in pooled.path.parent.iterdir()] == [pooled.path.name]


def test_asked_opset_is_met(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    written = write_onnx(export_net(make_net("module"), images[:2]), path, PLAIN, opset=18)
    assert written.opset == 18
    assert onnx.load(str(path)).opset_import[0].version == 18


def test_the_highest_opset_is_written_and_runs(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    write_onnx(export_net(make_net("module"), images[:2]), path, PLAIN, opset=highest_opset())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert len(session.run(None, {"input": images.numpy()})) == 1


@pytest.mark.parametrize("opset", [17, highest_opset() + 1, 999])
def test_opset_out_of_reach_is_refused_and_writes_nothing(
    opset: int, make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    program = export_net(make_net("module"), images[:2])
    with pytest.raises(
        OptionError, match=f"--opset {opset}: cannot be written; choose one from 18"
    ):
        write_onnx(program, tmp_path / "net.onnx", PLAIN, opset=opset)
    assert not list(tmp_path.iterdir())


def test_large_weights_go_beside_the_file_and_load_from_there(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    net, path = make_net("module"), tmp_path / "net.onnx"
    written = write_onnx(export_net(net, images[:2]), path, PLAIN, external_above=100)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert written.bytes == sum(one.stat().st_size for one in tmp_path.iterdir())
    assert check_parity(path, net, images).agreement == 1.0


def test_two_outputs_keep_their_names(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    net, path = make_net("two outputs"), tmp_path / "net.onnx"
    write_onnx(export_net(net, images[:2]), path, PLAIN)
    assert [one.name for one in onnx.load(str(path)).graph.output] == ["logits", "features"]
    assert operators(path).keys() >= {"GlobalAveragePool", "Flatten"}
    assert check_parity(path, net, images).samples == 11


def test_fixed_batch_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.ones(2, 3),))
    with pytest.raises(DefectError, match="not the dynamic batch"):
        write_onnx(program, tmp_path / "net.onnx", PLAIN)
    assert not list(tmp_path.iterdir())


def test_float64_is_refused(export_net: ExportNet, tmp_path: Path) -> None:
    program = export_net(nn.Linear(3, 2).double(), torch.ones(2, 3).double())
    with pytest.raises(DefectError, match="float64"):
        write_onnx(program, tmp_path / "net.onnx", PLAIN)


SCRIPT = """
import sys, torch
from torch import nn
from pathlib import Path
from export.descriptions import Description
from compressor.files import sha256
from export.onnx_files import OnnxFile, highest_opset, write_onnx
from export.programs import write_program
from export.weights import write_weights
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                    nn.Flatten(), nn.Linear(8, 4)).eval()
shapes = ({0: torch.export.Dim("batch")},)
program = torch.export.export(net, (torch.ones(2, 3, 8, 8),), dynamic_shapes=shapes)
write_onnx(program, folder / "net.onnx", Description(architecture="x", tool_version="0"))
write_program(program, folder / "net.pt2")
write_weights(net, folder / "net.safetensors", {"b": "1", "a": "2", "c": "3"})
"""


def test_two_processes_and_folders_write_equal_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "one", tmp_path / "another one"
    exec(SCRIPT, {"folder": here})
    prelude = f"from pathlib import Path; folder = Path({str(there)!r})\n"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-c", prelude + SCRIPT]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    for name in ("net.onnx", "net.pt2", "net.safetensors"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name
