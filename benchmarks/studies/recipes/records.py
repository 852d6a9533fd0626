"""What the study of a recipe writes down, and where.

Comes in and goes out: frozen values and JSON files of a study folder, one per cell (recipe,
network, share, seed, arm).  A file carries a key of the settings it was made with, so that a study
with other settings does not take it for its own.  Knows nothing of torch or of how a cell is run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.studies.answers import Answers
from benchmarks.studies.records import ROOT

RecipeName = Literal["prune-then-distill", "epsd", "sdp"]
NETWORKS = ("resnet8", "resnet20", "resnet56", "vgg16_bn", "mobilenet_v2")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every cell of a study has in common."""

    recipe: RecipeName
    network: str
    sparsity: float  # share of the parameters that goes
    data: str  # the image folder's name
    train_images: int  # a tenth of them choose weights
    test_images: int
    epochs: int  # passes that every student trains
    sample: int = 1024  # training images that scores may see
    alpha: float = 0.9  # of the teacher in Hinton's loss
    temperature: float = 4.0
    self_distillation: str = "cs-kd"  # epsd
    steps: int = 5  # sdp: of pruning, fewer where the passes do not hold them
    device: str = "cpu"
    threads: int = 1

    @property
    def architecture(self) -> str:
        return f"{ROOT / 'benchmarks/studies/networks/cifar.py'}:{self.network}"

    @property
    def key(self) -> str:
        """Short hash of all of them."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Validated accuracy after so many passes."""

    passes: float
    accuracy: float


class Cell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network of a study: a teacher, or the student of an arm.

    ``passes`` are over the training images, of this network's own training in this cell.  A
    teacher without weights has the cost of its full shapes.  ``failed`` is empty where the network
    came to its end; the other fields are then whole.
    """

    recipe: str
    network: str
    sparsity: float
    seed: int
    arm: str
    key: str
    sources: str = ""  # short hash of the compressor's, by which it was made
    failed: str = ""
    dense_params: int = 0
    params: int = 0
    macs: int = 0
    passes: float = 0.0
    seconds: float = 0.0  # on the wall
    stages: dict[str, Answers] = {}
    curve: tuple[Point, ...] = ()  # sdp: right after each cut, and when it has recovered
    facts: dict[str, float] = {}
    note: str = ""

    @property
    def last(self) -> Answers:
        """What the network answers in the end."""
        return list(self.stages.values())[-1]


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The passes that fill so many minutes, by seconds that were measured once."""

    key: str
    minutes: float
    epochs: int
    seconds_per_image: float


def cell_name(settings: Settings, seed: int, arm: str) -> str:
    return f"{settings.recipe}-{settings.network}-{settings.sparsity:g}-{seed}-{arm}"


def cell_file(folder: Path, settings: Settings, seed: int, arm: str) -> Path:
    return folder / f"{cell_name(settings, seed, arm)}.json"


def network_file(folder: Path, settings: Settings, seed: int, arm: str) -> Path:
    """Values of a teacher, for students of later calls."""
    return folder / "networks" / f"{cell_name(settings, seed, arm)}-{settings.key}.pt"


def chosen_file(folder: Path, settings: Settings) -> Path:
    return folder / f"{settings.recipe}-{settings.network}-{settings.sparsity:g}-passes.json"
