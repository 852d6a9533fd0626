"""Layers of a network to staircases: those that are kept, and what is missing measured.

Comes in: layers, a ``Target``, a time.  Goes out: a ``Probe``.  Layers that take next to no time
are left out.  Knows nothing of plans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.probe.caches import (
    CACHE_ADVICE,
    Measured,
    cache_file,
    cache_folder,
    environment_of,
    read_measured,
    write_measured,
)
from benchmarks.probe.opening import opened, require_available
from benchmarks.probe.stairs import Clocks, Look, bytes_open, climb, look
from benchmarks.probe.targets import Target
from compressor.files import check_writable
from compressor.staircases import Layer, Operator, Shape, Staircase, Widths, by_shape, wanted_widths

COVERED = 0.98  # of the time of all layers, by a first look
MINUTES = 2.0
MEMORY_SHARE = 0.25  # of what is free, for the graphs of one staircase


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is known of a network's widths on a target."""

    target: Target
    environment: Mapping[str, Any]
    looks: tuple[Look, ...]  # of all layers' operators
    staircases: tuple[Staircase, ...]  # of those that matter
    missing: tuple[Shape, ...]  # that matter, and their turn did not come
    new: int  # staircases measured now, not kept from before


def probe(
    layers: Sequence[Layer],
    units: Sequence[int],
    target: Target,
    *,
    minutes: float = MINUTES,
    anew: bool = False,
    folder: Path | None = None,
    announce: Callable[[str], None] = lambda text: None,
    progress: Callable[[float], None] = lambda share: None,
    seed: int = 0,
) -> Probe:
    """Read what was measured before in this environment; measure the rest, and keep it.

    ``units`` of every group; ``anew`` measures all.  Measuring takes the given minutes, and is
    announced; nothing is measured where nothing is missing.  Raises OptionError where the target
    cannot run here, SurroundingsError where the cache cannot be written: before measuring.
    """
    require_available(target)
    folder = cache_folder() if folder is None else folder
    environment = environment_of(target)
    known = Measured() if anew else read_measured(environment, folder)
    wanted = wanted_widths(layers, units)
    counts = Counter(layer.operator for layer in layers)
    large = _too_large(counts, psutil.virtual_memory().available)
    if large:
        announce(
            f"{len(large)} shapes of layers are not measured: their graphs would take more than "
            f"{100 * MEMORY_SHARE:.0f} % of the memory that is free"
        )
        counts = Counter({one: count for one, count in counts.items() if one not in large})
    unseen = [one for one in counts if one not in {seen.operator for seen in known.looks}]
    if not unseen and not missing_shapes(wanted, counts, known):
        return _told(target, environment, wanted, counts, known, new=0)
    check_writable(cache_file(environment, folder), CACHE_ADVICE)  # before minutes of measuring
    with opened(target) as opener:
        announce(
            f"measuring which widths {target.name} likes on this machine, "
            f"about {60 * minutes:.0f} s; kept in {folder}"
        )
        clocks = clocks_of(target)
        known = known.with_(look(unseen, opener, clocks), ())
        due = missing_shapes(wanted, counts, known)
        climbed = climb(
            due,
            known.looks,
            opener,
            seconds=60 * minutes,
            seed=seed,
            clocks=clocks,
            progress=progress,
        )
    known = known.with_((), climbed)
    # Other networks' staircases lie there too, perhaps of a moment ago.
    held = read_measured(environment, folder).with_(known.looks, known.staircases)
    write_measured(held, environment, folder)
    return _told(target, environment, wanted, counts, known, new=len(climbed))


def _too_large(operators: Iterable[Operator], available: int) -> frozenset[Operator]:
    """Those whose graphs would not fit into their share of ``available`` bytes."""
    return frozenset(one for one in operators if bytes_open(one) > MEMORY_SHARE * available)


def clocks_of(target: Target) -> Clocks:
    """The processor's time for one thread, so that neighbours do not count; else the wall's."""
    clocks = Clocks()
    return clocks if target.threads == 1 else Clocks(busy=clocks.wall)


def missing_shapes(
    wanted: Mapping[Shape, Widths], counts: Mapping[Operator, int], known: Measured
) -> dict[Shape, Widths]:
    """What matters and is not known at all widths, the dearest first."""
    have = by_shape(known.staircases)
    return {
        shape: widths
        for shape, widths in _that_matter(wanted, counts, known.looks).items()
        if shape not in have or not set(widths) <= set(have[shape].widths)
    }


def _that_matter(
    wanted: Mapping[Shape, Widths], counts: Mapping[Operator, int], looks: Sequence[Look]
) -> dict[Shape, Widths]:
    """Shapes of the operators that make up ``COVERED`` of the time of all layers."""
    shares = {
        one.operator: counts[one.operator] * one.seconds for one in looks if one.operator in counts
    }
    left = COVERED * sum(shares.values())
    found: dict[Shape, Widths] = {}
    for operator in sorted(shares, key=lambda one: -shares[one]):
        if left <= 0:
            break
        left -= shares[operator]
        found.update({shape: widths for shape, widths in wanted.items() if shape[0] == operator})
    return found


def _told(
    target: Target,
    environment: Mapping[str, Any],
    wanted: Mapping[Shape, Widths],
    counts: Mapping[Operator, int],
    known: Measured,
    *,
    new: int,
) -> Probe:
    have = by_shape(known.staircases)
    matter = _that_matter(wanted, counts, known.looks)
    return Probe(
        target=target,
        environment=environment,
        looks=tuple(one for one in known.looks if one.operator in counts),
        staircases=tuple(have[shape] for shape in matter if shape in have),
        missing=tuple(shape for shape in matter if shape not in have),
        new=new,
    )
