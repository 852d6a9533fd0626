"""Every place where a command reads a file, filled with something else: what is typed, by name.

``harmless`` is a folder with what a hostile file needs around it: a teacher, a run, pictures.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from compressor.types import Preprocessing
from export.golden import write_golden
from export.manifest import write_manifest
from export.preprocessing import write_preprocessing
from tests.benchmarks.reports import small_report
from tests.benchmarks.small_files import write_linear

NETWORK = """
from torch import nn

def small(num_classes=2):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
STUDENT = "onnx/student.onnx"
Place = Callable[[bytes, Path, Path], list[str]]  # content, an empty folder, the harmless one


def write_harmless(folder: Path) -> Path:
    (folder / "net.py").write_text(NETWORK)
    namespace: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(NETWORK, namespace)
    torch.save(namespace["small"]().state_dict(), folder / "small.pt")
    for name in ("a", "b"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (16, 16), (40 * number, 9, 9)).save(
                folder / f"data/{name}/{number}.png"
            )
    write_linear(folder / "model.onnx", 8)
    run = folder / "run"
    (run / "benchmarks").mkdir(parents=True)
    (run / "onnx").mkdir()
    shutil.copyfile(folder / "model.onnx", run / STUDENT)
    write_preprocessing(run, Preprocessing(crop=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3))
    write_golden(run, np.zeros((1, 8), np.float32), {STUDENT: [np.zeros((1, 4), np.float32)]})
    report = small_report() | {"seed": 0}
    report["teacher"] |= {"architecture": "net.py:small", "sha256": "0" * 64}
    (run / "report.json").write_text(json.dumps(report))
    (run / "journal.json").write_text(
        json.dumps({"format": 1, "key": "", "inputs": {}, "done": {}})
    )
    write_manifest(run, ("build",), 0, {})
    return folder


# -- a teacher ---------------------------------------------------------------------------------


def teacher(*command: str, option: str = "--teacher") -> Callable[[str], Place]:
    def ending(suffix: str) -> Place:
        def place(content: bytes, folder: Path, harmless: Path) -> list[str]:
            file = folder / f"net{suffix}"
            file.write_bytes(content)
            words = [part.replace("OUT", str(folder / "out")) for part in command]
            return [words[0], *([option] if option else []), str(file), *words[1:]]

        return place

    return ending


TEACHERS: Mapping[str, Callable[[str], Place]] = {
    "analyze": teacher("analyze"),
    "plan": teacher("plan", "--sparsity", "0.5"),
    "build": teacher(
        "build", "--sparsity", "0.5", "--epochs", "0", "--bench-seconds", "0", "--out", "OUT"
    ),
    "probe": teacher("probe", "--minutes", "0.01"),
    "export": teacher("export", "--out", "OUT", option=""),
}
BENCH = teacher("bench", "--seconds", "0.1", "--processes", "3", option="")


# -- other places ------------------------------------------------------------------------------


def in_run(name: str, *command: str, listed: bool = True) -> Place:
    """A file of a run folder, which the manifest lists as it is; RUN and OUT stand for folders."""

    def place(content: bytes, folder: Path, harmless: Path) -> list[str]:
        run = folder / "run"
        shutil.copytree(harmless / "run", run)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content)
        if listed:
            write_manifest(run, ("build",), 0, {})
        known = {"RUN": str(run), "OUT": str(folder / "out")}
        return [known.get(part, part) for part in command]

    return place


def beside(name: str, *command: str) -> Place:
    """A file among harmless ones; HERE stands for their folder."""

    def place(content: bytes, folder: Path, harmless: Path) -> list[str]:
        here = folder / "here"
        shutil.copytree(harmless, here)
        (here / name).write_bytes(content)
        return [part.replace("HERE", str(here)) for part in command]

    return place


SMALL = ("--teacher", "HERE/small.pt", "--arch", "HERE/net.py:small")
LEARN = ("train", "--arch", "HERE/net.py:small", "--data", "HERE/data", "--epochs", "1")
OTHERS: Mapping[str, Place] = {
    "verify, golden": in_run("golden.npz", "verify", "RUN"),
    "verify, model": in_run(STUDENT, "verify", "RUN"),
    "verify, manifest": in_run("manifest.json", "verify", "RUN", listed=False),
    "verify, public key": beside("k.pem", "verify", "HERE/run", "--public-key", "HERE/k.pem"),
    "report, report": in_run("report.json", "report", "RUN"),
    "report, analysis": in_run("analysis.json", "report", "RUN"),
    "report, plan": in_run("plan.json", "report", "RUN"),
    "report, samples": in_run(
        "benchmarks/onnxruntime-b1.json", "report", "RUN", "--csv", "/dev/null"
    ),
    "export, program of a run": in_run("student.pt2", "export", "RUN", "--out", "OUT"),
    "export, golden of a run": in_run("golden.npz", "export", "RUN", "--out", "OUT"),
    "export, preprocessing of a run": in_run(
        "preprocessor_config.json", "export", "RUN", "--out", "OUT"
    ),
    "build, journal": in_run(
        "journal.json", "build", "--teacher", "small.pt", "--sparsity", "0.5", "--out", "RUN"
    ),
    "build, picture": beside("data/a/0.png", "build", *SMALL, "--data", "HERE/data",
                             "--sparsity", "0.5"),
    "train, picture": beside("data/a/0.png", *LEARN, "--out", "HERE/new.pt"),
    "train, card of another": beside("new.pt.json", *LEARN, "--out", "HERE/new.pt"),
    "bench, earlier results": beside(
        "old.json", "bench", "HERE/model.onnx", "--against", "HERE/old.json"
    ),
    "bench, second file": beside("b.onnx", "bench", "HERE/model.onnx", "HERE/b.onnx"),
}  # fmt: skip
