"""Stages that are done once: what the journal has is not done again.

Comes in: a run, the name of a stage, what it depends on, the work.  Goes out: its result as plain
values, of this process or of an earlier one.  Knows nothing of what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.reporting import plain
from compressor.runs import Run
from compressor.watching import Stopwatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a stage gives: a ``value`` for the journal, and ``files`` in the run's folder."""

    value: Any
    files: Sequence[str] = ()


def once(run: Run, watch: Stopwatch, stage: str, depends_on: Any, work: Callable[[], Made]) -> Any:
    """The value of a stage.  Its seconds are those of when it was done."""
    known = run.finished(stage, depends_on)
    if known is not None:
        watch.seconds.update(known["seconds"])
        return known["value"]
    made = work()
    value, seconds = plain(made.value), rounded(watch)
    run.finish(stage, {"value": value, "seconds": seconds}, depends_on=depends_on, files=made.files)
    return value


def rounded(watch: Stopwatch) -> dict[str, float]:
    """Seconds by stage so far, to a thousandth."""
    return {name: round(value, 3) for name, value in watch.seconds.items()}


def files_in(run: Run, *patterns: str) -> tuple[str, ...]:
    """Those of the run's files that match, by their paths in its folder."""
    found = {path for pattern in patterns for path in run.folder.glob(pattern) if path.is_file()}
    return tuple(sorted(path.relative_to(run.folder).as_posix() for path in found))
