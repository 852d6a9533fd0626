"""What the compatibility study writes down about one network, and where.

Comes in and goes out: frozen values and the JSON files of a study folder, two per network, one of
our trial and one of torch-pruning's.  A file carries a key of what it depends on, so that rows that
an edit has made stale are known.  Knows nothing of torch or of how a trial is run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec

from benchmarks.studies.networks import Network
from compressor.files import write_bytes
from compressor.types import Frozen

ROOT = Path(__file__).resolve().parents[2]

Verdict = Literal["passed", "refused", "wrong", "defect", "limit", "running"]
Record = TypeVar("Record")
KeyedRecord = TypeVar("KeyedRecord", bound="Keyed")


class Keyed(Protocol):
    """A record that says what it was made with."""

    @property
    def key(self) -> str: ...


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was carried out, and its proof."""

    asked: str  # "half", "largest" share within reach, "extreme": all but 3 % of every group
    achieved: float  # share of the parameters that went
    passed: bool
    error: float | None  # None: not finite, as where shapes differ
    exact_error: float | None
    exact_groups: int
    inexact_groups: int
    nodes_compared: int
    moved: float | None
    first_wrong: str | None = None


class Factors(msgspec.Struct, frozen=True, kw_only=True):
    """Share of units kept where one dimension is cut in two ways, means over such dimensions."""

    dimensions: int
    outer: float  # heads, groups, ...
    inner: float  # head width, channels of a group, ...


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network through the pipeline; fields of stages that were not reached are empty.

    ``seconds`` are of the processor, one thread.
    """

    name: str
    key: str
    verdict: Verdict = "running"
    stage: str = "build"  # the last one begun
    reason: str = ""  # where it did not pass: one line
    parameters: int = 0
    nodes: int = 0
    groups: int = 0
    exact_groups: int = 0
    prunable: float | None = None
    half: Cut | None = None
    extreme: Cut | None = None
    batches: tuple[int, ...] = ()  # batch sizes the student ran at, each as part of a larger one
    lengths: tuple[int, ...] = ()  # other lengths it ran at, where the length is free
    trained: bool = False
    without_gradient: int = 0  # trainable tensors that one step's gradient did not reach
    factors: Factors | None = None
    seconds: dict[str, float] = {}
    wall_s: float = 0.0
    peak_gib: float = 0.0
    frozen: tuple[Frozen, ...] = ()

    @property
    def told(self) -> str:
        return f"{self.name}: {self.verdict} {self.reason}".rstrip()

    @property
    def sources(self) -> str:
        """The part of the key that stands for the compressor's sources."""
        return self.key.partition("-")[0]

    @property
    def load_to_proof_s(self) -> float:
        stages = ("build", "capture", "analysis", "plan", "removal", "proof")
        return sum(self.seconds.get(stage, 0.0) for stage in stages)


class PeerTrial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The same network under torch-pruning's default settings."""

    name: str
    key: str
    stage: str = "build"
    reason: str = ""  # empty where the pruned network's forward runs
    groups: int = 0
    kept: float | None = None  # share of the parameters left after pruning
    seconds: dict[str, float] = {}

    @property
    def told(self) -> str:
        return f"{self.name}: {self.stage} {self.reason}".rstrip()

    @property
    def works(self) -> bool:
        return self.stage == "done" and not self.reason


def sources_key(network: Network) -> str:
    """Short hashes of the compressor's sources and of the row."""
    return f"{sources_of_compressor()}-{row_key(network)}"


def sources_of_compressor() -> str:
    """Short hash of the compressor's sources."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "compressor").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def row_key(network: Network) -> str:
    """Short hash of the row alone: all that torch-pruning's result depends on here."""
    return hashlib.sha256(repr(network).encode()).hexdigest()[:12]


def trial_file(folder: Path, network: Network) -> Path:
    return folder / f"{network.library}-{network.factory}.json"


def peer_file(folder: Path, network: Network) -> Path:
    return folder / f"{network.library}-{network.factory}.peer.json"


def read(path: Path, kind: type[Record]) -> Record | None:
    """The record in a file; None where there is none, or one of another form."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def read_keyed(path: Path, kind: type[KeyedRecord], key: str) -> KeyedRecord | None:
    """As ``read``; None also where the record was made with other settings."""
    found = read(path, kind)
    return found if found is not None and found.key == key else None


def write(path: Path, record: msgspec.Struct) -> None:
    """Whole or not at all: a trial that is stopped leaves what it had reached."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(record), indent=1))
