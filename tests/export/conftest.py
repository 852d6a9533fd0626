"""Small trained-looking networks and their exported programs, made once for all export tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from compressor.types import Preprocessing
from export.descriptions import Description
from export.golden import write_golden
from export.onnx_files import OnnxFile, write_onnx
from export.prediction import predict
from export.preprocessing import write_preprocessing


class PooledNet(nn.Module):
    """conv-bn-relu-gap-fc, with the pool written in several ways, or a head of two outputs."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = torch.relu(self.bn(self.conv(x)))
        match self.form:
            case "module":
                x = self.pool(x).flatten(1)
            case "gate":
                x = (x * torch.sigmoid(self.pool(x))).mean((2, 3), keepdim=True).squeeze((2, 3))
            case "channels":
                x = x.mean((1, 2), keepdim=True).mean(-1).flatten(1).expand(-1, 8)
            case "two outputs":
                x = x.mean((2, 3))
                return {"logits": self.fc(x), "features": x}
        return self.fc(x)


class AttentionNet(nn.Module):
    """Patches, class token, one attention block, layer norm, mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.norm(self.block(x)).mean(1))


class TiedNet(nn.Module):
    """Embedding whose weight is the head's too; inputs are token numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6)
        self.head = nn.Linear(6, 12, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(tokens)).mean(1))


def settle(net: nn.Module) -> nn.Module:
    """Eval mode, and batch-norm statistics that are not the identity."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return net.eval()


@pytest.fixture(scope="session")
def make_net() -> Callable[[str], nn.Module]:
    def make(form: str) -> nn.Module:
        torch.manual_seed(0)
        if form == "attention":
            return settle(AttentionNet())
        return settle(TiedNet() if form == "tied" else PooledNet(form))

    return make


@pytest.fixture(scope="session")
def export_net() -> Callable[[nn.Module, Tensor], ExportedProgram]:
    def export(net: nn.Module, example: Tensor) -> ExportedProgram:
        return torch.export.export(net, (example,), dynamic_shapes=({0: Dim("batch")},))

    return export


@pytest.fixture(scope="session")
def images() -> Tensor:
    """(11, 3, 16, 16): not a multiple of the batches that parity runs."""
    return torch.randn(11, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def pooled(
    make_net: Callable[[str], nn.Module],
    export_net: Callable[[nn.Module, Tensor], ExportedProgram],
    images: Tensor,
    tmp_path_factory: pytest.TempPathFactory,
) -> OnnxFile:
    """The "module" net as a file; tests only read it."""
    description = Description(
        architecture="tests:net",
        tool_version="0.1",
        preprocessing=Preprocessing(crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3, resize=18),
        labels=("ant", "and/or", "/etc/pass/words", "bee"),
        teacher_sha256="ab" * 32,
        sparsity=0.7,
        sparsity_of="macs",
    )
    path = tmp_path_factory.mktemp("pooled") / "net.onnx"
    return write_onnx(export_net(make_net("module"), images[:2]), path, description)


@pytest.fixture
def report() -> dict[str, Any]:
    """A run's report with the keys that docs/design.md promises, and no more."""
    return {
        "format": 1,
        "teacher": {
            "name": "net",
            "architecture": "tests:net",
            "sha256": "ab" * 32,
            "trained": True,
            "parameters": 4000,
            "macs": 90000,
            "metrics": {"top1": 0.93},
        },
        "student": {
            "parameters": 1200,
            "macs": 30000,
            "metrics": {"top1": 0.92},
            "agreement": 0.91,
        },
        "budget": {"sparsity": 0.7, "of": "params", "achieved": 0.7003},
        "recipe": {"name": "prune-then-distill", "form": "structured", "phases": []},
        "stages": [],
        "proof": {
            "passed": True,
            "max_relative_error": 3e-16,
            "tolerance": 1e-9,
            "nodes_compared": 22,
            "moved": 0.3,
            "exact_groups": 2,
            "inexact_groups": 0,
        },
        "deployables": [
            {
                "file": "onnx/student.onnx",
                "precision": "fp32",
                "bytes": 13000,
                "sha256": "cd" * 32,
                "opset": 20,
                "parity": {"samples": 8, "max_abs_error": 1e-7, "agreement": 1.0,
                           "max_relative_error": 2e-7},
                "metrics": {"top1": 0.915},
            }
        ],
        "benchmarks": [
            {
                "runtime": "onnxruntime",
                "device": "cpu",
                "precision": "float32",
                "batch": 1,
                "threads": 1,
                "teacher": {"median_ms": 2.0},
                "student": {"median_ms": 1.0},
                "speedup": 2.0,
                "interval": [1.95, 2.06],
                "verdict": "faster",
            },
            {
                "runtime": "torch",
                "device": "cpu",
                "precision": "float32",
                "batch": 32,
                "threads": 1,
                "teacher": {"median_ms": 2.0},
                "student": {"median_ms": 1.0},
                "speedup": 2.0,
                "interval": None,
                "verdict": "invalid",
            },
        ],
        "environment": {"cpu": "a processor"},
        "seconds": {},
    }  # fmt: skip


@pytest.fixture
def product(pooled: OnnxFile, images: Tensor, tmp_path: Path) -> Path:
    """A folder with one student, as it is before ``products.finish``."""
    folder = tmp_path / "product"
    student = folder / "onnx" / "student.onnx"
    student.parent.mkdir(parents=True)
    shutil.copyfile(pooled.path, student)
    inputs = images[:4].numpy()
    write_golden(folder, inputs, {"onnx/student.onnx": [predict(student, [inputs])]})
    pictures = Preprocessing(crop=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3, resize=18)
    write_preprocessing(folder, pictures, ("ant", "and/or", "bee", "`x` | <b>"))
    return folder
