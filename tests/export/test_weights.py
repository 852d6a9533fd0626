"""student.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from compressor.graphs import capture
from export.weights import read_weights, write_weights

MakeNet = Callable[[str], nn.Module]


def test_names_and_values_are_those_of_the_state_dict(make_net: MakeNet, tmp_path: Path) -> None:
    net, path = make_net("module"), tmp_path / "student.safetensors"
    assert write_weights(net, path, {"architecture": "x"}) == {}
    loaded, wanted = load_file(path), net.state_dict()
    assert loaded.keys() == wanted.keys()
    assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"architecture": "x", "format": "pt"}


def test_tied_tensors_are_saved_once_and_the_tie_is_told(make_net: MakeNet, tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    graph = capture(make_net("tied"), (torch.zeros(2, 5, dtype=torch.int64),))
    ties = write_weights(graph, path)
    assert ties == {"head.weight": "embedding.weight"}
    assert list(load_file(path)) == ["embedding.weight"]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["ties"]) == ties


def test_views_and_strided_tensors_are_saved_whole(tmp_path: Path) -> None:
    net = nn.Module()
    base = torch.arange(12.0).reshape(3, 4)
    net.register_buffer("left", base[:, :2])
    net.register_buffer("turned", base.T)
    write_weights(net, tmp_path / "x.safetensors")
    loaded = load_file(tmp_path / "x.safetensors")
    assert torch.equal(loaded["left"], base[:, :2])
    assert torch.equal(loaded["turned"], base.T)


def test_ties_and_unsaved_tables_do_not_hinder_a_strict_load(
    make_net: MakeNet, tmp_path: Path
) -> None:
    net, path = make_net("tied"), tmp_path / "student.safetensors"
    net.register_buffer("table", torch.arange(4), persistent=False)
    write_weights(net, path)
    assert "table" in load_file(path)
    values = read_weights(path, net)
    assert values.keys() == net.state_dict().keys()
    other = make_net("tied")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(values, strict=True)
    wanted = net.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in other.state_dict().items())
