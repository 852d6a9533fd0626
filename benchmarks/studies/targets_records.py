"""What the study of targets writes down, and where.

Comes in and goes out: frozen values and the JSON files of a study folder, one per student and one
per timed pair of files.  A file carries a key of what it hangs on, the machine among it.  Knows
nothing of torch or of how anything is measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.studies.peers_records import STAGE_WIDTHS, Latency
from benchmarks.studies.records import ROOT

WayName = Literal["target", "multiples", "torch-pruning"]
WAYS: dict[WayName, str] = {
    "target": "planned for the target",
    "multiples": "multiples of 8",
    "torch-pruning": "torch-pruning, round_to=8",
}
DENSE = "dense"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network with random weights.  ``ignored``: what torch-pruning must leave alone, because it
    cuts it into a network whose forward fails."""

    name: str
    title: str
    architecture: str
    size: int
    ignored: tuple[str, ...] = ()


NETWORKS = (
    Network(name="resnet50", title="ResNet-50", architecture="torchvision:resnet50", size=224),
    Network(
        name="mobilenet_v3_large",
        title="MobileNetV3-Large",
        architecture="torchvision:mobilenet_v3_large",
        size=224,
    ),
    Network(
        name="resnet56",
        title="ResNet-56",
        architecture=f"{ROOT / 'benchmarks/studies/networks/cifar.py'}:resnet56",
        size=32,
        ignored=STAGE_WIDTHS,
    ),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What all cells of a study have in common."""

    sparsity: float = 0.5  # of the MACs
    seed: int = 0
    threads: int = 1
    probe_minutes: float = 2.0
    seconds: float = 10.0  # of each timed pair


class Student(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network cut one way.  ``expected``: its speed-up by the staircases alone.

    ``failed`` is empty where there is a student; the other fields are then whole.
    """

    network: str
    target: str  # of the plan, or by whose staircases ``expected`` is
    way: WayName
    key: str
    failed: str = ""
    gone: float = 0.0  # share of the MACs
    expected: float | None = None
    widths: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


class Timing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two files of one network on one target in turn: how many times faster ``first`` is."""

    network: str
    target: str
    first: str
    second: str
    key: str
    failed: str = ""
    latency: Latency | None = None


# Against the dense network, and the planned student against the others.
COUPLES: tuple[tuple[str, str], ...] = (
    *((way, DENSE) for way in WAYS),
    ("target", "multiples"),
    ("target", "torch-pruning"),
)


def key_of(settings: Settings, environment: Mapping[str, Any]) -> str:
    """Short hash of the settings and of the machine, the runtime and its version."""
    content = msgspec.json.encode((settings, environment), order="sorted")
    return hashlib.sha256(content).hexdigest()[:12]


def stem(network: str, target: str, way: str) -> str:
    """What the files of a student are called."""
    return f"{network}-{target.replace(':', '-')}-{way}"


def student_file(folder: Path, network: str, target: str, way: str) -> Path:
    return folder / f"{stem(network, target, way)}.json"


def timing_file(folder: Path, network: str, target: str, first: str, second: str) -> Path:
    return folder / f"{stem(network, target, first)}-beside-{second}.json"


def onnx_file(folder: Path, network: str, target: str, way: str) -> Path:
    return folder / "onnx" / f"{stem(network, target, way)}.onnx"
