"""Weight files: what is read, what is refused, and in which words."""

from __future__ import annotations

import argparse
import importlib
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from compressor.checkpoints import read_checkpoint, spellings
from compressor.errors import LoadError
from compressor.files import sha256 as sha256_of


def weights() -> dict[str, Tensor]:
    return {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Payload:
    """Unpickling this would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("ending", ["pt", "pth", "th", "ckpt"])
def test_plain_state_dict_is_read(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"net.{ending}"
    torch.save(weights(), file)
    assert torch.equal(read_checkpoint(file).tensors["a.weight"], weights()["a.weight"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "net.safetensors")
    assert set(read_checkpoint(tmp_path / "net.safetensors").tensors) == {"a.weight", "a.bias"}


@pytest.mark.parametrize("key", ["state_dict", "model", "ema", "model_state_dict", "net"])
def test_wrapped_state_dict_is_found(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: OrderedDict(weights()), "optimizer": {}}, tmp_path / "net.pt")
    assert set(read_checkpoint(tmp_path / "net.pt").tensors) == {"a.weight", "a.bias"}


def test_doubly_wrapped_state_dict_is_found(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": weights(), "step": 1}}, tmp_path / "net.pt")
    assert set(read_checkpoint(tmp_path / "net.pt").tensors) == {"a.weight", "a.bias"}


def test_averaged_weights_beside_plain_ones_are_told(tmp_path: Path) -> None:
    torch.save({"model": weights(), "model_ema": weights()}, tmp_path / "net.pt")
    assert any("model_ema" in note for note in read_checkpoint(tmp_path / "net.pt").notes)


def test_options_of_a_training_script_do_no_harm(tmp_path: Path) -> None:
    torch.save({"model": weights(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "net.pt")
    assert "a.weight" in read_checkpoint(tmp_path / "net.pt").tensors


def test_prefixes_are_offered_layer_by_layer() -> None:
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in weights().items()}
    offered = [sorted(names) for names in spellings(wrapped)]
    assert offered[0] == sorted(wrapped)
    assert offered[-1] == sorted(weights())


def test_averaged_model_counter_is_dropped() -> None:
    wrapped = {f"module.{name}": t for name, t in weights().items()} | {"n_averaged": torch.ones(1)}
    assert sorted(list(spellings(wrapped))[-1]) == sorted(weights())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_that_is_said(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    torch.save({name: t.to(dtype) for name, t in weights().items()}, tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt")
    assert checkpoint.tensors["a.weight"].dtype == torch.float32
    assert "to float32" in checkpoint.notes[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused_by_name(tmp_path: Path, value: float) -> None:
    torch.save({**weights(), "b.bias": torch.tensor([1.0, value])}, tmp_path / "net.pt")
    with pytest.raises(LoadError, match=r"net\.pt: NaN or infinite values in b\.bias"):
        read_checkpoint(tmp_path / "net.pt")


def test_pickled_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(LoadError, match="--trust-pickle") as caught:
        read_checkpoint(tmp_path / "net.pt")
    assert "Linear" in str(caught.value)
    assert "state_dict()" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_that_are_not_at_hand_are_looked_for_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    with monkeypatch.context() as there:
        there.syspath_prepend(tmp_path)
        torch.save(importlib.import_module("elsewhere").Net(2, 2), tmp_path / "net.pt")
        del sys.modules["elsewhere"]
    with pytest.raises(LoadError, match=r"'elsewhere'.*as PYTHONPATH=\."):
        read_checkpoint(tmp_path / "net.pt", trust_pickle=True)


def test_pickled_module_loads_when_trusted(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt", trust_pickle=True)
    assert isinstance(checkpoint.module, nn.Linear)
    assert not checkpoint.module.training


def test_payload_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": weights(), "x": Payload(tmp_path / "ran")}, tmp_path / "net.pt")
    with pytest.raises(LoadError, match="pickled"):
        read_checkpoint(tmp_path / "net.pt")
    assert not (tmp_path / "ran").exists()


def test_plain_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(LoadError, match=r"net\.pt"):
        read_checkpoint(tmp_path / "net.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_truncated_file_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    file = tmp_path / name
    if name.endswith(".pt"):
        torch.save(weights(), file)
    else:
        save_file(weights(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(LoadError, match=r"truncated") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
@pytest.mark.parametrize("content", [b"hello, this is no checkpoint", bytes(400)])
def test_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=r"not a") as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    with pytest.raises(LoadError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(LoadError, match="is empty"):
        read_checkpoint(tmp_path / "empty.pt")
    with pytest.raises(LoadError, match="is a folder"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("held", [torch.ones(3), [1, 2], {}, {"epoch": 3, "lr": 0.1}])
def test_file_without_named_weights_is_refused(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "net.pt")
    with pytest.raises(LoadError, match="weights"):
        read_checkpoint(tmp_path / "net.pt")


def test_checksum_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x").startswith("ba7816bf")
