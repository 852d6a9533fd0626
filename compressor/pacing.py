"""How long a run is and how much of it is over.

In: a deadline or a number of epochs, and the caller's clock.  Out: shares, seconds and rates.
Knows nothing of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.errors import OptionError

_VALIDATIONS = 10  # in a run with a deadline; a run of more than _MOST epochs skips some
_MOST_VALIDATIONS = 50
_VALIDATION_SHARE = 0.01  # of the deadline, for one validation


@dataclass(frozen=True, slots=True)
class Deadline:
    """Train until ``seconds`` have passed since the call, measuring and validation included."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise OptionError(f"training cannot last {self.seconds} seconds: give more than 0")

    def __str__(self) -> str:
        if self.seconds >= 90:
            return f"{self.seconds / 60:.1f} minutes"
        return f"{self.seconds:.0f} seconds"

    def part(self, count: int) -> Deadline:
        """One of ``count`` equal parts."""
        return Deadline(self.seconds / count)


@dataclass(frozen=True, slots=True)
class Epochs:
    """Train for ``count`` passes over the training images."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise OptionError(f"training cannot last {self.count} epochs: give at least 1")

    def __str__(self) -> str:
        return f"{self.count} epochs"

    def part(self, count: int) -> Epochs:
        """One of ``count`` equal parts, an epoch at least."""
        return Epochs(max(1, round(self.count / count)))


def forward(clock: Callable[[], float]) -> Callable[[], float]:
    """The clock, but where it would go backwards it goes on from where it stood.

    Monotonic clocks do not go backwards; one that a caller gives may.  A run would then last as
    much longer, or its rates come out negative.
    """
    last, lost = -math.inf, 0.0

    def read() -> float:
        nonlocal last, lost
        now = clock() + lost
        if now < last:
            lost += last - now
            now = last
        last = now
        return now

    return read


class Pace:
    """Counts steps, images and seconds of one run.

    A run with a deadline keeps back the time of a last validation, so that it ends in time.
    """

    def __init__(
        self,
        length: Deadline | Epochs,
        *,
        begin: float,
        clock: Callable[[], float],
        steps_per_epoch: int,
    ) -> None:
        self.clock = forward(clock)
        self.images = 0
        self._length, self._begin = length, begin
        self._steps_per_epoch = steps_per_epoch
        self._started = begin
        self._validating = 0.0  # seconds of the longest validation
        self._stepping = 0.0  # seconds of all steps
        self._last = begin
        self._steps = 0
        self._unvalidated = 0
        self._next = self._interval

    @property
    def _interval(self) -> float:
        if isinstance(self._length, Deadline):
            return 1.0 / _VALIDATIONS
        return 1.0 / min(self._length.count, _MOST_VALIDATIONS)

    @property
    def validation_seconds(self) -> float | None:
        """What one validation may take; None: as long as it does."""
        if isinstance(self._length, Deadline):
            return _VALIDATION_SHARE * self._length.seconds
        return None

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self.clock() - self._begin

    @property
    def images_per_s(self) -> float:
        """Images trained on per second of training, validation left out."""
        return self.images / self._stepping if self._stepping > 0 else 0.0

    @property
    def unvalidated(self) -> bool:
        """Whether there were steps since the last validation."""
        return self._unvalidated > 0

    def start(self) -> None:
        """Training starts now; what came before was preparation."""
        self._started = self._last = self.clock()

    def count(self, images: int) -> None:
        """One step on this many images is over."""
        now = self.clock()
        self._stepping += now - self._last
        self._last = now
        self.images += images
        self._steps += 1
        self._unvalidated += 1

    def validated(self, seconds: float) -> None:
        """A validation is over; it took this long."""
        self._validating = max(self._validating, seconds)
        self._last = self.clock()
        self._unvalidated = 0

    def spent(self, steps: int) -> float:
        """Share of the training that is over; 1 or more: stop.

        A step that would not end in time is not begun: half a step counts as over.
        """
        if isinstance(self._length, Epochs):
            return steps / (self._steps_per_epoch * self._length.count)
        step = self._stepping / self._steps if self._steps else 0.0
        end = self._begin + self._length.seconds - self._validating - 0.5 * step
        whole = end - self._started
        return (self.clock() - self._started) / whole if whole > 0 else 1.0

    def validation_due(self, spent: float) -> bool:
        """Whether the next tenth (or epoch) is over; the last one is validated at the end."""
        if spent < self._next - 1e-9 or spent >= 1.0:
            return False
        while self._next <= spent + 1e-9:
            self._next += self._interval
        return True

    def seconds_left(self, steps: int) -> float:
        """Until the end, as far as the pace so far tells."""
        if isinstance(self._length, Deadline):
            return max(0.0, self._length.seconds - self.seconds)
        spent = self.spent(steps)
        training = self.clock() - self._started
        return training * (1.0 - spent) / spent if spent > 0 else float("inf")

    def state(self) -> dict[str, Any]:
        """Plain numbers; no time of day among them."""
        return {
            "seconds": self.seconds,
            "preparing": self._started - self._begin,
            "validating": self._validating,
            "stepping": self._stepping,
            "images": self.images,
            "steps": self._steps,
            "unvalidated": self._unvalidated,
            "next": self._next,
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """As if it had begun so many seconds ago: what lies between does not count, nor does what
        was prepared anew."""
        self._last = self.clock()
        self._begin = self._last - kept["seconds"]
        self._started = self._begin + kept["preparing"]
        self._validating, self._stepping = kept["validating"], kept["stepping"]
        self.images, self._steps = kept["images"], kept["steps"]
        self._unvalidated, self._next = kept["unvalidated"], kept["next"]
