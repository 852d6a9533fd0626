"""Stopping: what becomes of SIGINT and SIGTERM while a build runs.

Comes in: signals.  Goes out: ``Stopped``, at once, or once the training in whose midst they came
has put by how far it is.  Knows nothing of trainings.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ECHO_SECONDS = 1.0
STOPPED = "stopped; for a build, the same command continues after the last finished stage"
STOPPED_TRAINING = (
    "stopped in training, and kept how far it is; the same command goes on from there"
)


class Stopped(BaseException):
    """A command ends because it was asked to; not an error, and caught by nobody but the command
    line.  ``number``: of the signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status: 130 after SIGINT, 143 after SIGTERM."""
        return 128 + self.number


class Stop:
    """A wish to stop, that waits while there is somebody who asks for it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._number: int | None = None
        self._patient = False
        self._clock, self._since = clock, 0.0

    @property
    def wanted(self) -> bool:
        return self._number is not None

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """A signal handler.  Raises Stopped: at once, but for the first signal while it waits, and
        its echo: a cluster and the launcher both tell every process."""
        if self._patient and self._number is None:
            self._number, self._since = number, self._clock()
        elif not self._patient or self._clock() - self._since > ECHO_SECONDS:
            raise Stopped(STOPPED, number)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """For work that looks at ``wanted`` often; a wish that it did not see is granted after."""
        before, self._patient = self._patient, True
        try:
            yield
        finally:
            self._patient = before
        if self.wanted:
            raise self.stopped()

    def stopped(self) -> Stopped:
        """What to raise when all is put by."""
        return Stopped(STOPPED_TRAINING, self._number or signal.SIGTERM)

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Receive SIGINT and SIGTERM; what received them before does so again afterwards."""
        before = {one: signal.signal(one, self.receive) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
