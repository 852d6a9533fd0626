"""What the study against torch-pruning writes down, and where.

Comes in and goes out: frozen values and the JSON files of a study folder, one per teacher, per cell
(network, share, seed, arm) and per timed pair of arms.  A file carries a key of the settings it was
made with, so that a study with other settings does not take it for its own.  Knows nothing of torch
or of how a cell is run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.studies.answers import Answers
from benchmarks.studies.records import ROOT
from compressor.types import BudgetOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of the study.

    ``ignored``: modules (shell patterns) whose output widths torch-pruning must leave alone,
    because it prunes them into a network whose forward fails.
    """

    name: str
    title: str
    weights: str = ""  # of the published weights, in the data folder
    ignored: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        return f"{ROOT / 'benchmarks/studies/networks/cifar.py'}:{self.name}"


STAGE_WIDTHS = ("conv1", "layer?.*.conv2")  # shortcuts pad these with zeros
NETWORKS = (
    Network(
        name="resnet20",
        title="ResNet-20",
        weights="cifar10_weights/resnet20-12fca82f.th",
        ignored=STAGE_WIDTHS,
    ),
    Network(
        name="resnet56",
        title="ResNet-56",
        weights="cifar10_weights/resnet56-4bfd9763.th",
        ignored=STAGE_WIDTHS,
    ),
    Network(name="vgg16_bn", title="VGG-16-BN"),
    Network(name="mobilenet_v2", title="MobileNetV2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to a student.

    ``restricted``: leaves alone what torch-pruning must.  ``refits``: repairs by our closed form;
    otherwise batch norms are re-estimated, which is what torch-pruning's users have.
    """

    name: str
    title: str
    tool: Literal["compressor", "torch-pruning"]
    importance: Literal["magnitude", "taylor"] | None = None  # torch-pruning's; ours chooses
    restricted: bool = True
    refits: bool = True


ARMS = (
    Arm(name="ours", title="compressor", tool="compressor", restricted=False),
    Arm(name="ours-inner", title="compressor, same widths only", tool="compressor"),
    Arm(
        name="tp-magnitude",
        title="torch-pruning, group magnitude",
        tool="torch-pruning",
        importance="magnitude",
        refits=False,
    ),
    Arm(
        name="tp-taylor",
        title="torch-pruning, group Taylor",
        tool="torch-pruning",
        importance="taylor",
        refits=False,
    ),
    Arm(
        name="tp-magnitude-refit",
        title="torch-pruning's magnitude cut, refitted by compressor",
        tool="torch-pruning",
        importance="magnitude",
    ),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every cell of a study has in common."""

    data: str  # the image folder's name
    of: BudgetOf = "macs"
    epochs: int
    train_images: int
    validation_images: int
    sample: int  # training images that scoring and repair may see
    device: str = "cpu"
    threads: int = 1
    bench_seconds: float = 5.0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How many times faster the second of two files is, batch 1 in ONNX Runtime."""

    speedup: float
    interval: tuple[float, float] | None
    verdict: str
    status: str
    noise_floor: float | None


class TeacherRecord(msgspec.Struct, frozen=True, kw_only=True):
    network: str
    key: str
    sha256: str | None
    macs: int
    params: int
    answers: Answers


class Cell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One student: how it was made, what it answers after every stage, how fast it is.

    ``seconds`` are of the processor, and of the wall on another device.  ``failed`` is empty where
    the student came to its end; the other fields are then whole.
    """

    network: str
    sparsity: float
    seed: int
    arm: str
    key: str
    sources: str = ""  # short hash of the compressor's, by which it was made
    failed: str = ""
    gone: float = 0.0  # share that went, in the budget's own measure
    macs: int = 0
    params: int = 0
    note: str = ""  # how units were chosen, and how values were repaired
    seconds: dict[str, float] = {}
    stages: dict[str, Answers] = {}  # "cut", "repaired", "trained"
    epochs: float = 0.0
    latency: Latency | None = None  # beside the dense network

    @property
    def student(self) -> str:
        """What its files are called."""
        return student_name(self.network, self.sparsity, self.seed, self.arm)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two students of one network, share and seed, timed in turn: ``latency`` is of the first."""

    network: str
    sparsity: float
    seed: int
    first: str
    second: str
    key: str
    latency: Latency


STAGES = ("cut", "repaired", "trained")


def key_of(settings: Settings, sha256: str | None) -> str:
    """Short hash of the settings and of the teacher's weights."""
    content = msgspec.json.encode((settings, sha256))
    return hashlib.sha256(content).hexdigest()[:12]


def student_name(network: str, sparsity: float, seed: int, arm: str) -> str:
    """What a cell's files are called."""
    return f"{network}-{sparsity:g}-{seed}-{arm}"


def teacher_file(folder: Path, network: str) -> Path:
    return folder / f"{network}.json"


def cell_file(folder: Path, network: str, sparsity: float, seed: int, arm: str) -> Path:
    return folder / f"{student_name(network, sparsity, seed, arm)}.json"


def pair_file(folder: Path, first: Cell, second: Cell) -> Path:
    return folder / f"{first.student}-beside-{second.arm}.json"
