"""The logbook: what one training writes down as it goes, and which of its weights stand.

In: validations.  Out: the history, notes, the best of them.  Knows nothing of networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from compressor.keeping import Snapshot
from compressor.validation import Validation


@dataclass(slots=True, kw_only=True)
class Logbook:
    """``best`` and ``peak`` are places in the history: of the weights that are kept, and of the
    highest validation.  ``returns``: how often training went back to the best weights.
    ``compared``: at the end, with weights that are no averages."""

    history: list[Validation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best: int = 0
    peak: int = 0
    returns: int = 0
    compared: bool = False

    @property
    def kept(self) -> Validation:
        """Of the weights that are kept."""
        return self.history[self.best]

    def rise(self) -> None:
        """The peak is the latest validation, where that is better."""
        if self.history[-1].better_than(self.history[self.peak]):
            self.peak = len(self.history) - 1

    def take_latest(self) -> bool:
        """The latest weights are the best, unless they are measurably worse than any were.

        Later averages have seen more, and of ten validations the highest is partly luck.  More than
        luck where a student was refitted to a teacher that knows the validation images by heart: it
        starts ahead there, and nothing that it learns shows.
        """
        latest = self.history[-1]
        if not math.isfinite(latest.loss) or latest.worse_than(self.history[self.peak]):
            return False
        self.best = len(self.history) - 1
        return True

    def state(self) -> Snapshot:
        return Snapshot(facts=msgspec.to_builtins(self))

    def restore(self, kept: Snapshot) -> None:
        found = msgspec.convert(kept.facts, Logbook)
        self.history, self.notes = found.history, found.notes
        self.best, self.peak, self.returns = found.best, found.peak, found.returns
        self.compared = found.compared
