"""student.pt2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from export.programs import write_program

MakeNet = Callable[[str], nn.Module]
ExportNet = Callable[[nn.Module, Tensor], ExportedProgram]

LOAD = """
import sys, torch
program = torch.export.load(sys.argv[1])
assert not [name for name in sys.modules if name.split(".")[0] in ("compressor", "export")]
print(program.module()(torch.ones(3, 3, 16, 16)).sum().item())
"""


def test_archive_loads_with_torch_alone_and_answers_alike(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    net, path = make_net("module"), tmp_path / "student.pt2"
    write_program(export_net(net, images[:2]), path)
    command = [sys.executable, "-c", LOAD, str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    with torch.no_grad():
        wanted = net(torch.ones(3, 3, 16, 16)).sum().item()
    assert abs(float(done.stdout) - wanted) < 1e-5


def test_archive_names_no_place_and_holds_zeros_and_leaves_the_program_alone(
    make_net: MakeNet, export_net: ExportNet, images: Tensor, tmp_path: Path
) -> None:
    program, path = export_net(make_net("module"), images[:2]), tmp_path / "student.pt2"
    traces = [node.meta.get("stack_trace") for node in program.graph.nodes]
    write_program(program, path)
    assert [node.meta.get("stack_trace") for node in program.graph.nodes] == traces
    assert torch.equal(program.example_inputs[0][0], images[:2])
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for place in (str(Path(__file__).parent), sys.prefix, "site-packages", "/home/"):
                assert place.encode() not in content, name
    program_text = zipfile.ZipFile(path).read("archive/models/model.json").decode()
    traces = re.findall(r"File [^,]*, line \d+", json.dumps(json.loads(program_text)))
    assert traces
    assert all(re.search(r'"[\w.-]+/[\w.-]+\.py', trace) for trace in traces)
    loaded = torch.export.load(path)
    assert not loaded.example_inputs[0][0].any()
    assert loaded.example_inputs[0][0].shape == (2, 3, 16, 16)
