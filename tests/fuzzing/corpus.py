"""What fuzzing begins from: the files of a real run, made anew on a network of a few channels.

Comes in: an empty folder.  Goes out: a ``Corpus``: where a finished run, weights, a program, a card
and documents lie.  Knows nothing of parsers.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.probe.caches import Measured, write_measured
from benchmarks.probe.stairs import Look
from compressor import building
from compressor.cards import Accuracy, Card, card_path, encode_card
from compressor.files import sha256
from compressor.loading import load
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.staircases import Operator, Staircase
from compressor.types import Budget, Preprocessing
from tests.benchmarks.reports import full_report, sample_file
from tests.benchmarks.small_files import write_linear

NETWORK = """
from torch import nn

def small(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""
PICTURES = Preprocessing(crop=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
SAMPLES = "benchmarks/onnxruntime-b1.json"
STAIRCASE = Operator(kind="product", inputs=16, outputs=8, space=(1,))
ENVIRONMENT = {
    "cpu": "a processor", "flags": ["avx2"], "architecture": "x86_64", "system": "Linux",
    "runtime": "onnxruntime", "version": "1.0", "precision": "fp32", "threads": 1, "batch": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """``folder`` holds everything, ``run`` in it a finished run."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def make_corpus(folder: Path) -> Corpus:
    """A few seconds of work."""
    network = folder / "net.py"
    network.write_text(NETWORK)
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    exec(NETWORK, namespace)
    module: nn.Module = namespace["small"]()  # type: ignore[operator]
    weights = folder / "small.pt"
    torch.save({"epoch": 3, "state_dict": module.state_dict()}, weights)
    save_file(module.state_dict(), folder / "small.safetensors", {"format": "pt"})
    _write_card(weights)
    recipe = find_recipe(
        "prune-then-distill",
        "structured",
        0.5,
        Wishes(criterion="magnitude", allocation="uniform"),
    )
    run = building.build(
        load(weights, f"{network}:small"),
        data="digits",
        recipe=recipe,
        budget=Budget(sparsity=0.3, multiple_of=1),
        out=folder / "run",
        length=None,
        sample=16,
        threads=1,
        bench_seconds=0,
    )
    _write_benchmarks(run)
    write_linear(folder / "small.onnx", 8)
    (folder / "bench.json").write_bytes(msgspec.json.encode(_bench_document()))
    (folder / "extra-preprocessing.json").write_bytes(msgspec.json.encode(PICTURES))
    cache = write_measured(_measured(), ENVIRONMENT, folder / "cache")
    shutil.copyfile(cache, folder / "cache.json")
    return Corpus(folder=folder)


def _write_card(weights: Path) -> None:
    card = Card(
        sha256=sha256(weights),
        architecture="net.py:small",
        classes=tuple("0123456789"),
        preprocessing=PICTURES,
        data="digits",
        images=100,
        seed=0,
        epochs=1.5,
        seconds=2.0,
        validation=Accuracy(images=10, top1=0.5),
        test=None,
    )
    card_path(weights).write_bytes(encode_card(card))


def _write_benchmarks(run: Path) -> None:
    """The run itself was timed by nobody: a second report has all that can be in one."""
    (run / "benchmarks").mkdir(exist_ok=True)
    (run / SAMPLES).write_text(json.dumps(sample_file()))
    full = full_report()
    full["benchmarks"][0]["samples"] = SAMPLES
    (run.parent / "full-report.json").write_text(json.dumps(full))


def _bench_document() -> dict[str, object]:
    rows = [{"file": "b.onnx", **row} for row in full_report()["benchmarks"]]
    return {
        "format": 1,
        "reference": "a.onnx",
        "files": [{"file": name, "sha256": "ab" * 32} for name in ("a.onnx", "b.onnx")],
        "rows": rows,
        "skipped": [{"file": "b.onnx", "runtime": "torch", "device": "cpu", "reason": "no"}],
        "environment": full_report()["environment"],
    }


def _measured() -> Measured:
    stairs = Staircase(
        operator=STAIRCASE,
        side="inputs",
        widths=(4, 8, 12, 16),
        seconds=(1e-5, 2e-5, 3e-5, 4e-5),
        noise=0.01,
    )
    look = Look(operator=STAIRCASE, seconds=4e-5, beside_s=1e-5)
    return Measured(looks=(look,), staircases=(stairs,))
