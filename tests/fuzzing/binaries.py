"""Parsers of archives, weight files, golden samples and ONNX files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.inputs import read_signature, shapes
from benchmarks.operations import read_operations
from compressor.archives import is_archive, read_program
from compressor.checkpoints import read_checkpoint
from compressor.errors import InputError
from compressor.snapshots import Snapshot, read_snapshot, write_snapshot
from export.golden import GOLDEN_FILE, read_golden
from export.manifest import write_manifest
from export.verification import verify
from export.weights import read_weights
from tests.fuzzing.corpus import Corpus
from tests.fuzzing.mutators import Mutate, change_safetensors, change_text, change_zip
from tests.fuzzing.outcomes import Parser
from tests.fuzzing.targets import Target

SMALL = 400  # bytes: the file of one product
Opened = Callable[[Corpus, Path], Parser]


def open_program(corpus: Corpus, scratch: Path) -> Parser:
    file = scratch / "net.pt"

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        is_archive(file)
        read_program(file)

    return parse


def open_weights(ending: str) -> Opened:
    def opened(corpus: Corpus, scratch: Path) -> Parser:
        file = scratch / f"weights{ending}"

        def parse(data: bytes) -> None:
            file.write_bytes(data)
            if not is_archive(file):
                read_checkpoint(file)

        return parse

    return opened


def open_student(corpus: Corpus, scratch: Path) -> Parser:
    file = scratch / "student.safetensors"
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        read_weights(file, module)

    return parse


def open_snapshot(corpus: Corpus, scratch: Path) -> Parser:
    file = scratch / "snapshot.safetensors"

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        read_snapshot(file)

    return parse


def snapshot_seeds(corpus: Corpus) -> list[bytes]:
    file = corpus.folder / "snapshot.safetensors"
    write_snapshot(file, Snapshot(tensors={"x": torch.ones(2, 3)}, facts={"step": 3, "how": None}))
    return [file.read_bytes()]


def open_golden(corpus: Corpus, scratch: Path) -> Parser:
    """Golden samples in a folder whose manifest is right: somebody made both."""
    shutil.copytree(corpus.run / "onnx", scratch / "onnx")

    def parse(data: bytes) -> None:
        (scratch / GOLDEN_FILE).write_bytes(data)
        read_golden(scratch)
        write_manifest(scratch, (), 0, {})
        verify(scratch)

    return parse


def open_onnx(corpus: Corpus, scratch: Path) -> Parser:
    file = scratch / "net.onnx"

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        with contextlib.suppress(InputError):
            shapes(read_signature(file), 2)
        read_operations(file, (8,) if len(data) < SMALL else (3, 16, 16))

    return parse


def _binary(
    name: str, opened: Opened, files: Sequence[str], change: Mutate, in_tests: int
) -> Target:
    return Target(
        name=name,
        open=opened,
        seeds=lambda corpus: [corpus.read(file) for file in files],
        change=change,
        in_tests=in_tests,
    )


TARGETS = (
    _binary("program", open_program, ["run/student.pt2"], change_zip, 60),
    _binary("checkpoint", open_weights(".pt"), ["small.pt"], change_zip, 60),
    _binary(
        "safetensors", open_weights(".safetensors"), ["small.safetensors"], change_safetensors, 100
    ),
    _binary("student", open_student, ["run/student.safetensors"], change_safetensors, 100),
    Target(
        name="snapshot",
        open=open_snapshot,
        seeds=snapshot_seeds,
        change=change_safetensors,
        in_tests=80,
    ),
    _binary("golden", open_golden, [f"run/{GOLDEN_FILE}"], change_zip, 15),
    _binary("onnx", open_onnx, ["small.onnx", "run/onnx/student.onnx"], change_text, 60),
)
