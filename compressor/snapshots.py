"""Snapshots on disk: a file for each part of the work, that vouches for itself.

Comes in: a folder, snapshots.  Goes out: ``<folder>/<part>/<part>.safetensors``, with the facts and
a hash of all of it in the header, written whole or not at all; and back.  Nothing is unpickled.
Knows nothing of what is kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from compressor.errors import FolderError
from compressor.files import replacing
from compressor.keeping import Due, Keeper, Snapshot
from compressor.processes import wait_for_all
from compressor.saving import save_tensors
from compressor.stopping import Stop

FORMAT = 1
SECONDS = 30.0  # of work that may be lost
SHARE = 0.02  # of the time, at most, for writing


class Pacing:
    """When the last snapshot of any part was written, and how long that took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.last, self.took = clock(), 0.0


class SnapshotFiles:
    """A ``Keeper`` in a folder.

    One is due every ``SECONDS``, and whenever the work rests; but never so often that writing takes
    more than ``SHARE`` of the time.  ``writes``: of several processes one does, all read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        stop: Stop | None = None,
        writes: bool = True,
    ) -> None:
        self._place = folder
        self._stop = stop or Stop()
        self._writes = writes
        self._pacing = Pacing(clock)

    def at(self, part: str) -> Keeper:
        found = SnapshotFiles(self._place / part, stop=self._stop, writes=self._writes)
        found._pacing = self._pacing
        return found

    @property
    def file(self) -> Path:
        return self._place.with_name(f"{self._place.name}.safetensors")

    def find(self) -> Snapshot | None:
        return read_snapshot(self.file) if self.file.exists() else None

    def due(self, *, resting: bool = False) -> Due:
        if self._stop.wanted:
            return Due.LAST
        pacing = self._pacing
        wait = max(0.0 if resting else SECONDS, pacing.took / SHARE)
        return Due.YES if self._writes and pacing.clock() - pacing.last >= wait else Due.NO

    def keep(self, snapshot: Snapshot, *, last: bool = False) -> None:
        if self._writes:
            begin = self._pacing.clock()
            write_snapshot(self.file, snapshot)
            self._pacing.last = self._pacing.clock()
            self._pacing.took = self._pacing.last - begin
        if last:
            wait_for_all()  # a launcher ends all when the first one ends, also who still writes
            raise self._stop.stopped()

    def patient(self) -> AbstractContextManager[None]:
        return self._stop.patient()


def write_snapshot(file: Path, snapshot: Snapshot) -> None:
    """Raises SurroundingsError where the disk refuses."""
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in snapshot.tensors.items():
        own = _own(tensor)
        tensors[name] = own.clone() if own.data_ptr() in places else own
        places.add(own.data_ptr())
    facts = json.dumps(snapshot.facts, sort_keys=True)
    header = {"format": str(FORMAT), "facts": facts, "sha256": _digest(tensors, facts)}
    with replacing(file) as place:
        save_tensors(tensors, place, header)


def read_snapshot(file: Path) -> Snapshot:
    """Raises FolderError where the file is not as it was written."""
    try:
        with safe_open(file, "pt") as found:
            header = found.metadata() or {}
            tensors = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
        if header["format"] == str(FORMAT) and header["sha256"] == _digest(
            tensors, header["facts"]
        ):
            facts: Mapping[str, Any] = json.loads(header["facts"])
            return Snapshot(tensors=tensors, facts=facts)
        reason: Exception | None = None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = error
    raise FolderError(
        f"{file} is damaged, and the run cannot go on from it; remove it to go on from what was "
        "kept before, or begin anew with --restart"
    ) from reason


def _own(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, of no shared storage: what the format can hold."""
    own = tensor.detach().cpu().contiguous()
    return own if own.untyped_storage().nbytes() == own.nbytes else own.clone()


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    found = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
