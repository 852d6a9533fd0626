"""Seconds of operators at several widths, measured in turn until the time is spent.

Comes in: shapes with the widths wanted, what opens an operator, clocks, a limit.  Goes out:
``Staircases`` and their noise.  Knows nothing of runtimes, networks or files.

All widths of one shape are open at once and run in random order, so that drift and neighbours fall
on all alike; the whole width stands there twice, and what the two differ by is the noise.  A
width's time is the lower quartile of all its samples, less what is there beside the operator: what
graphs of several copies and of one have in common, at the widest and the narrowest width, and on a
straight line in between.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.probe.opening import Call, Opener
from compressor.staircases import RUNGS, Operator, Shape, Staircase, Widths

LEAST_ROUNDS = 8  # of one shape, before the next has its turn
BLOCK_S = 5e-4  # shorter calls are repeated and timed together
CALL_S = 4e-4  # operators of less stand in a graph several times
FEWEST_COPIES, MOST_COPIES = 3, 9
LOOKS = 5
QUANTILE = 0.25
SPREAD = 1.4826  # from a median of absolute values to a standard deviation
TWO_SIDED = 1.96  # 95 %

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """``busy`` tells what a call costs, ``wall`` when the time is spent."""

    busy: Clock = time.process_time
    wall: Clock = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One operator as it is, from a few calls: enough to know what matters.

    ``beside_s`` is what the call and the operator's neighbours cost.
    """

    operator: Operator
    seconds: float
    beside_s: float

    @property
    def copies(self) -> int:
        """How often it stands in a graph, so that a call is worth measuring."""
        wanted = math.ceil(CALL_S / max(self.seconds, 1e-9))
        return min(max(wanted, FEWEST_COPIES), MOST_COPIES)


def bytes_open(operator: Operator) -> int:
    """About how much memory its graphs take while one of its staircases is measured.

    All widths are open at once, as many copies of each as the time wants, in float32, half as wide
    in the mean; runtimes pack the weights once more.
    """
    return 2 * 4 * operator.weights * FEWEST_COPIES * RUNGS // 2


def look(operators: Sequence[Operator], opener: Opener, clocks: Clocks) -> tuple[Look, ...]:
    found = []
    for operator in operators:
        calls = [opener(operator, copies) for copies in (1, FEWEST_COPIES)]
        one, several = (min(_timed(call, 1, clocks.busy) for _ in range(LOOKS)) for call in calls)
        seconds = max(several - one, 0.0) / (FEWEST_COPIES - 1)
        found.append(Look(operator=operator, seconds=seconds, beside_s=max(one - seconds, 0.0)))
    return tuple(found)


@dataclass(slots=True)
class _Record:
    look: Look
    widths: Widths
    # Per width; the widest again; one copy alone, at the widest and at the narrowest.
    samples: list[list[float]] = field(default_factory=list)

    def seconds(self) -> NDArray[np.float64]:
        """Per width, and the twin's."""
        copies = self.look.copies
        *several, one_widest, one_narrowest = (
            float(np.quantile(found, QUANTILE)) for found in self.samples
        )
        ends = [(copies * one - some) / (copies - 1) for one, some in (
            (one_narrowest, several[0]), (one_widest, (several[-1] + several[-2]) / 2),
        )]  # fmt: skip
        at = (*self.widths, self.widths[-1])
        beside = np.interp(at, (self.widths[0], self.widths[-1]), ends)
        return np.maximum(np.array(several) - beside, 1e-9) / copies


def climb(
    wanted: Mapping[Shape, Widths],
    looks: Sequence[Look],
    opener: Opener,
    *,
    seconds: float,
    seed: int = 0,
    clocks: Clocks | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[Staircase, ...]:
    """Measure shapes in the order given, again and again until ``seconds`` have passed.

    ``looks`` has one of every operator.  The first shape is always measured; those whose turn did
    not come are left out.  ``progress`` is told the share of the time that is spent.
    """
    clocks = clocks or Clocks()
    begin = clocks.wall()
    generator = np.random.default_rng(seed)
    known = {one.operator: one for one in looks}
    records = {
        shape: _Record(look=known[shape[0]], widths=widths) for shape, widths in wanted.items()
    }
    started = False
    while records:
        for place, (shape, record) in enumerate(records.items()):
            spent = clocks.wall() - begin
            if started and spent >= seconds:
                return _staircases(records)
            progress(min(spent / seconds, 1.0))
            share = max(seconds - spent, 0.0) / (len(records) - place)
            _measure(shape, record, opener, generator, clocks, share)
            started = True
    return ()


def _measure(
    shape: Shape,
    record: _Record,
    opener: Opener,
    generator: np.random.Generator,
    clocks: Clocks,
    share: float,
) -> None:
    """One turn: as long as it takes to open everything, so that both are worth it.

    ``share`` is what the shape may take of the time, if not fewer than ``LEAST_ROUNDS`` fit in.
    """
    operator, side = shape
    begin, busy = clocks.wall(), clocks.busy
    widths = (*record.widths, record.widths[-1])
    calls = [opener(operator.at(side, width), record.look.copies) for width in widths]
    calls += [opener(operator.at(side, width), 1) for width in (widths[-1], widths[0])]
    if not record.samples:
        record.samples = [[] for _ in calls]
    repeats = [_repeats(call, busy) for call in calls]
    opened = clocks.wall()
    end = min(2 * opened - begin, begin + share)
    rounds = 0
    while rounds < LEAST_ROUNDS or clocks.wall() < end:
        rounds += 1
        for place in generator.permutation(len(calls)):
            record.samples[place].append(_timed(calls[place], repeats[place], busy))


def _repeats(call: Call, busy: Clock) -> int:
    """How many calls make a block, after a first one that is not like the others."""
    call()
    return max(1, math.ceil(BLOCK_S / max(_timed(call, 1, busy), 1e-7)))


def _timed(call: Call, repeats: int, busy: Clock) -> float:
    begin = busy()
    for _ in range(repeats):
        call()
    return (busy() - begin) / repeats


def _staircases(records: Mapping[Shape, _Record]) -> tuple[Staircase, ...]:
    """Noise is that of all pairs together, or a shape's own where that is larger."""
    measured = {shape: one.seconds() for shape, one in records.items() if one.samples}
    apart = {shape: abs(math.log(found[-1] / found[-2])) for shape, found in measured.items()}
    common = TWO_SIDED * SPREAD * float(np.median(list(apart.values())))
    found = []
    for (operator, side), values in measured.items():
        # Both copies of the whole width are it.
        times = (*values[:-2].tolist(), float(values[-2:].mean()))
        found.append(
            Staircase(
                operator=operator,
                side=side,
                widths=records[operator, side].widths,
                seconds=times,
                noise=max(common, apart[operator, side]),
            )
        )
    return tuple(found)
