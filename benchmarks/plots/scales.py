"""Where a value stands on an axis, round numbers to write there, and grid lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from markupsafe import Markup


class Scale(Protocol):
    """Maps a value to a place, rounded to a hundredth."""

    def place(self, value: float) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScale:
    """Maps positive numbers to per cent of the width, ``left`` to 100 - ``right``."""

    low: float
    high: float
    left: float = 3.0
    right: float = 3.0

    def place(self, value: float) -> float:
        span = np.log(self.high / self.low) or 1.0
        share = float(np.clip(np.log(value / self.low) / span, 0, 1))
        return round(self.left + share * (100 - self.left - self.right), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Height:
    """Maps numbers to pixels from the top: ``bottom`` for ``low``.  ``warp``: np.log or none."""

    low: float
    high: float
    top: float
    bottom: float
    warp: Callable[[float], float] = float

    def place(self, value: float) -> float:
        low, high, here = (float(self.warp(one)) for one in (self.low, self.high, value))
        share = float(np.clip((here - low) / ((high - low) or 1.0), 0, 1))
        return round(self.bottom - share * (self.bottom - self.top), 2)


def ticks(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Round numbers between ``low`` and ``high`` for a logarithmic axis, about ``most`` at most.

    An axis too short for two of them is near enough to a linear one.
    """
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    steps = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
    best: tuple[float, ...] = ()
    for parts in steps:
        found = [part * 10.0**power for power in range(first, last + 1) for part in parts]
        inside = tuple(value for value in found if low <= value <= high)
        if len(inside) <= most and len(inside) > len(best):
            best = inside
    return best if len(best) >= 2 else even_ticks(low, high, most)


def even_ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """Round numbers between ``low`` and ``high`` for a linear axis."""
    rough = (high - low) / most
    unit = 10.0 ** np.floor(np.log10(rough))
    step = next(unit * part for part in (1, 2, 5, 10) if unit * part >= rough)
    first = np.ceil(low / step - 1e-9)
    count = int(np.floor(high / step + 1e-9) - first) + 1
    return tuple(float(np.round((first + n) * step, 12)) for n in range(count))


def written(value: float) -> str:
    """A number of an axis: 0.03, 1.5, 12,500."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def axis(scale: Scale, values: Sequence[float], top: int, bottom: int, unit: str = "") -> Markup:
    """Vertical grid lines with a number under each."""
    line = Markup(
        '<line class="grid" x1="{x}%" x2="{x}%" y1="{t}" y2="{b}"/>'
        '<text class="tick" x="{x}%" y="{y}" text-anchor="middle">{v}{u}</text>'
    )
    return Markup("").join(
        line.format(x=scale.place(one), t=top, b=bottom, y=bottom + 15, v=written(one), u=unit)
        for one in values
    )


def side(
    scale: Scale, values: Sequence[float], left: float, right: float, form: Callable[[float], str]
) -> Markup:
    """Horizontal grid lines, a number left of each; ``left`` and ``right`` in per cent."""
    line = Markup(
        '<line class="grid" x1="{l}%" x2="{r}%" y1="{y}" y2="{y}"/>'
        '<text class="tick" x="{x}%" y="{t}" text-anchor="end">{v}</text>'
    )
    return Markup("").join(
        line.format(l=left, r=right, x=left - 1, y=place, t=place + 4, v=form(one))
        for one, place in ((value, scale.place(value)) for value in values)
    )


def stretched(paths: Markup, top: float, height: float) -> Markup:
    """Paths drawn in a 100 by 100 box, over the whole width."""
    return Markup(
        '<svg x="0" y="{top}" width="100%" height="{h}" viewBox="0 0 100 100" '
        'preserveAspectRatio="none" overflow="visible">{paths}</svg>'
    ).format(top=top, h=height, paths=paths)
