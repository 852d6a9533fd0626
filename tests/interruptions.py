"""Work that is stopped again and again, in this process, right after something was kept."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from compressor.keeping import Due, Keeper, Snapshot
from compressor.snapshots import SnapshotFiles

Made = TypeVar("Made")


class Killed(BaseException):
    """The process would be gone."""


class Deadly(SnapshotFiles):
    """Has every step kept, and kills after every ``steps``-th snapshot."""

    def __init__(self, folder: Path, steps: int = 1) -> None:
        super().__init__(folder)
        self.left = [steps]

    def at(self, part: str) -> Keeper:
        found = Deadly(self._place / part)
        found.left = self.left
        return found

    def due(self, *, resting: bool = False) -> Due:
        return Due.YES

    def keep(self, snapshot: Snapshot, *, last: bool = False) -> None:
        super().keep(snapshot, last=last)
        self.left[0] -= 1
        if not self.left[0]:
            raise Killed


def finished(work: Callable[[Keeper], Made], folder: Path, seed: int = 0) -> tuple[Made, int]:
    """What the work gives when it is started as often as it takes, and how often it was killed.

    Every start lives for one to five snapshots, as ``seed`` draws them.
    """
    draw = random.Random(seed)
    kills = 0
    while True:
        try:
            return work(Deadly(folder, draw.randint(1, 5))), kills
        except Killed:
            kills += 1
