"""Who watches a build, and how long its stages take.

Comes in: names, notes and progress.  Goes out: seconds by stage.  Knows nothing of terminals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from compressor.errors import CompressorError
from compressor.memory import is_out_of_memory, out_of_memory
from compressor.pacing import forward

if TYPE_CHECKING:
    from compressor.loop import Progress


class Listener(Protocol):
    """Who watches a build."""

    def stage(self, name: str) -> None: ...
    def note(self, text: str) -> None: ...
    def working(self, done_share: float) -> None: ...
    def training(self, progress: Progress) -> None: ...


class Silent:
    """For callers who do not watch."""

    def stage(self, name: str) -> None: ...
    def note(self, text: str) -> None: ...
    def working(self, done_share: float) -> None: ...
    def training(self, progress: Progress) -> None: ...


class Stopwatch:
    """Seconds by stage, in the order they began; a stage that does not fit in memory is named."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = forward(clock)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Raises SurroundingsError in place of what says that memory did not suffice."""
        begin = self._clock()
        try:
            yield
        except CompressorError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(name) from error
            raise
        finally:
            self.add(name, self._clock() - begin)

    def add(self, name: str, seconds: float) -> None:
        """What was spent elsewhere: in a process before this one."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
