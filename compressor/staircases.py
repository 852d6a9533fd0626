"""What widths cost on a runtime, and which of them are worth having.

In: the layers of a network with the groups they hang on, and ``Staircases``: seconds of one layer's
shape at several widths, measured elsewhere.  Out: a ``Choice`` per group, and what a network of
other widths is expected to take.  Knows nothing of runtimes, clocks, torch or plans.

A runtime computes whole blocks of channels, so time against width is a staircase whose steps hang
on runtime, precision and processor.  A width in the middle of a step pays for the whole step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Widths = tuple[int, ...]
# What of a layer is cut: channels that it reads, that it writes, or its groups, with both.
Side = Literal["inputs", "outputs", "groups"]

RUNGS = 12  # widths measured of a group, about, and some right below them
ALIGNED = 4  # elements; vectors of all processors here hold as many or a multiple
LEAST_WASTE = 0.05  # a smaller share of the time is not worth avoiding
MARGIN = 1.5  # the cheapest of several noisy chords lies lower than the true one
LEAST_SAVING = 0.25  # of the share of units given up; a width that saves less time is a loss
TELLABLE = 0.05  # noise above which steps cannot be told from chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The shape of a convolution or of a product with a matrix, for one sample."""

    kind: Literal["convolution", "product"]
    inputs: int
    outputs: int
    space: tuple[int, ...]  # of the input: height and width, or the rows of a product
    groups: int = 1
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    @property
    def weights(self) -> int:
        """How many it has, without a bias."""
        return self.outputs * self.inputs // self.groups * math.prod(self.kernel)

    def size(self, side: Side) -> int:
        """The width of a side, as it is."""
        sizes = {"inputs": self.inputs, "outputs": self.outputs, "groups": self.groups}
        return sizes[side]

    def at(self, side: Side, width: int) -> Operator:
        """The same with another width; cutting groups takes their inputs and outputs along."""
        if side == "inputs":
            return replace(self, inputs=width)
        if side == "outputs":
            return replace(self, outputs=width)
        inputs, outputs = (size // self.groups * width for size in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs, groups=width)


Shape = tuple[Operator, Side]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A side of a layer hangs on a group: so many of its rows go when the whole group does."""

    group: int
    side: Side
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a network: its shape, and the groups that its widths hang on."""

    where: str
    operator: Operator
    holds: tuple[Hold, ...]

    def width(self, hold: Hold, share: float) -> int:
        """The width of a side when a group keeps ``share`` of its units and all others stay."""
        return self.operator.size(hold.side) - round(hold.rows * (1 - share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """Seconds of one call of an operator at several widths of one side, the other side whole.

    ``noise``: by which share two measurements of one and the same width may differ, at 95 %.
    """

    operator: Operator
    side: Side
    widths: Widths  # ascending, the whole width last
    seconds: tuple[float, ...]
    noise: float

    @property
    def whole(self) -> float:
        return self.seconds[-1]

    def at(self, width: int) -> float:
        """Seconds at a width, on a straight line between the measured ones beside it.

        A width that was not measured lies between rungs or, where it is no multiple of ``ALIGNED``,
        between the widths right below rungs, as far as there are any: other kernels may run there.
        """
        if width in self.widths:
            return self.seconds[self.widths.index(width)]
        known = dict(zip(self.widths, self.seconds, strict=True))
        below = [one for one in known if one + 1 in known]
        rungs = [one for one in known if one + 1 not in known]
        beside = below if width % ALIGNED and below and width >= below[0] else rungs
        return float(np.interp(width, beside, [known[one] for one in beside]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the widths of one group cost: the sum over all layers that write or read it.

    ``waste``: by which share a width takes longer than its cheapest neighbours, wider and narrower
    ones mixed so that they have as many units.  ``worth``: the widths worth having; empty where
    none was measured, or the noise is too large to tell.  ``tolerable``: the best of those that are
    narrower than all of them, where giving up units saves no time, or too little.
    """

    group: int
    units: int
    layers: int
    widths: Widths = ()
    seconds: tuple[float, ...] = ()
    waste: tuple[float, ...] = ()
    noise: float = 0.0
    worth: Widths = ()
    tolerable: Widths = ()

    @property
    def largest_waste(self) -> float:
        """Of the widths of at least a quarter of the units: what the wrong one costs."""
        wide = (
            w for width, w in zip(self.widths, self.waste, strict=True) if 4 * width >= self.units
        )
        return max(wide, default=0.0)


def sampled_widths(units: int) -> Widths:
    """Widths of a group to measure, ascending: rungs of a ladder, and some right below a rung.

    Rungs are multiples of a power of two, which is what blocks of vectors and tiles are; in the
    upper half also one unit less, where some runtimes take another kernel, a faster one at times.
    """
    step = 2 ** max(0, math.ceil(math.log2(units / RUNGS)))
    rungs = {*range(step, units, step), units}
    below = {rung - 1 for rung in rungs if 2 * rung > units} if step >= 4 else set()
    return tuple(sorted(rungs | below))


def wanted_widths(layers: Sequence[Layer], units: Sequence[int]) -> dict[Shape, Widths]:
    """Which widths of which shapes must be measured to price the groups of ``layers``."""
    found: dict[Shape, set[int]] = {}
    for layer in layers:
        for hold in layer.holds:
            whole = layer.operator.size(hold.side)
            widths = {
                layer.width(hold, w / units[hold.group]) for w in sampled_widths(units[hold.group])
            }
            found.setdefault((layer.operator, hold.side), {whole}).update(widths - {0})
    return {shape: tuple(sorted(widths)) for shape, widths in found.items()}


def choose_widths(
    layers: Sequence[Layer], units: Sequence[int], staircases: Sequence[Staircase]
) -> tuple[Choice, ...]:
    """What is worth having, for every group (``units`` each); layers not measured do not count."""
    known = by_shape(staircases)
    return tuple(_choice(group, count, layers, known) for group, count in enumerate(units))


def by_shape(staircases: Sequence[Staircase]) -> dict[Shape, Staircase]:
    return {(one.operator, one.side): one for one in staircases}


def _choice(
    group: int, units: int, layers: Sequence[Layer], known: Mapping[Shape, Staircase]
) -> Choice:
    widths = sampled_widths(units)
    total, disturbance, count = np.zeros(len(widths)), 0.0, 0
    for layer in layers:
        for hold in layer.holds:
            staircase = known.get((layer.operator, hold.side))
            if hold.group == group and staircase is not None:
                total += [staircase.at(layer.width(hold, width / units)) for width in widths]
                disturbance = math.hypot(disturbance, staircase.noise * staircase.whole)
                count += 1
    if not count:
        return Choice(group=group, units=units, layers=0)
    noise = disturbance / float(total[-1])
    worth = worthwhile(widths, total, noise) if noise <= TELLABLE else ()
    return Choice(
        group=group,
        units=units,
        layers=count,
        widths=widths,
        seconds=tuple(total.tolist()),
        waste=tuple(waste(np.array(widths), total).tolist()),
        noise=noise,
        worth=worth,
        tolerable=tolerable(widths, total, worth) if worth else (),
    )


def tolerable(widths: Widths, seconds: Floats, worth: Widths) -> Widths:
    """Widths below the narrowest that is worth having, as far as none between is faster."""
    below = [place for place, width in enumerate(widths) if width < worth[0]]
    return tuple(
        widths[place]
        for place in below
        if seconds[place] <= (1 + LEAST_WASTE) * float(np.min(seconds[place : below[-1] + 1]))
    )


def worthwhile(widths: Sequence[int], seconds: Sequence[float] | Floats, noise: float) -> Widths:
    """The widths worth having, ascending: right edges of the staircase, and the whole.

    From the whole down, a width is worth having where, beside the one above it and all up to twice
    as wide, it saves at least a quarter of the share of units that it gives up, beyond the noise;
    and where it wastes no time in the sense of ``waste``.
    """
    x, y = np.array(widths, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    thrifty = waste(x, y) <= max(LEAST_WASTE, MARGIN * noise)
    found = [len(x) - 1]
    for place in range(len(x) - 2, -1, -1):
        beside = sorted({found[-1], *(one for one in found if x[one] <= 2 * x[place])})
        saved, lost = 1 - y[place] / y[beside], 1 - x[place] / x[beside]
        if thrifty[place] and (saved >= LEAST_SAVING * lost + noise).all():
            found.append(place)
    return tuple(int(widths[place]) for place in reversed(found))


def waste(widths: Floats | NDArray[np.int64], seconds: Floats) -> Floats:
    """By which share each width takes longer than the lowest chord over it, (widths,).

    A chord joins a narrower and a wider width, from half as wide to twice: two groups of those
    widths have as many units as two of this one.  A wider width that is faster counts by itself.
    """
    x, y = np.asarray(widths, dtype=np.float64), seconds
    found = np.zeros(len(x))
    for place in range(len(x)):
        narrow = np.flatnonzero((x < x[place]) & (2 * x >= x[place]))
        wide = np.flatnonzero((x > x[place]) & (x <= 2 * x[place]))
        if wide.size == 0:
            continue
        lowest = float(y[wide].min())
        if narrow.size:
            part = (x[place] - x[narrow])[:, None] / (x[wide][None, :] - x[narrow][:, None])
            chords = (1 - part) * y[narrow][:, None] + part * y[wide][None, :]
            lowest = min(lowest, float(chords.min()))
        found[place] = max(0.0, float(y[place]) / lowest - 1)
    return found


def expected_seconds(
    layers: Sequence[Layer], staircases: Sequence[Staircase], kept: Sequence[float]
) -> float:
    """What the measured layers take when every group keeps the share ``kept`` of its units.

    A layer cut on both sides is taken to save on each what it saves there alone.
    """
    known = by_shape(staircases)
    total = 0.0
    for layer in layers:
        found = {
            side: known[layer.operator, side]
            for side in dict.fromkeys(hold.side for hold in layer.holds)
            if (layer.operator, side) in known
        }
        if found:
            factor = 1.0
            for side, staircase in found.items():
                gone = sum(
                    round(hold.rows * (1 - kept[hold.group]))
                    for hold in layer.holds
                    if hold.side == side
                )
                factor *= staircase.at(layer.operator.size(side) - gone) / staircase.whole
            total += factor * next(iter(found.values())).whole
    return total
