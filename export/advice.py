"""Whether a lower precision is worth it: the accuracy of the files themselves, and what they lose.

Comes in: files of a run folder, evaluation images and their labels where there are any.  Goes out:
the same ``Deployable`` entries with ``metrics``, ``drop``, ``advised``, and the tensors that lost
most where a precision loses too much.  Knows nothing of how files are made, nor of torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from export.deployables import Deployable, Drop, Metrics, TensorLoss
from export.divergence import worst_tensors
from export.lowering import HALVES, rounded
from export.precisions import FP32, network_of
from export.prediction import Array, accuracy, choose, predict

HALF_NAMES = frozenset(one.name for one in HALVES)


def advise(
    folder: Path,
    files: Sequence[Deployable],
    batches: Callable[[], Iterable[Array]],
    labels: Array | None,
    samples: Array,
    *,
    max_drop: float,
    threads: int = 0,
) -> tuple[Deployable, ...]:
    """Measure every file on ``batches()``, and mark what loses more than ``max_drop`` points.

    A network's fp32 file comes before its others, and is what they are compared with.  ``samples``:
    a few inputs, to look for the tensors that lost most.
    """

    def logits_of(path: Path) -> Array:
        return predict(path, batches(), threads=threads)

    found: list[Deployable] = []
    whole: dict[str, tuple[Path, Array]] = {}
    for one in files:
        path = folder / one.file
        if one.precision == FP32.name:
            logits = logits_of(path)
            found.append(replace(one, metrics=_metrics(logits, labels)))
            whole.setdefault(network_of(one.file), (path, logits))
            continue
        source, reference = whole[network_of(one.file)]
        drops = []
        if one.not_runnable is None:
            logits = logits_of(path)
            one = replace(one, metrics=_metrics(logits, labels))
            drops.append(drop_of(reference, logits, labels))
        if one.precision not in HALF_NAMES:
            worst = partial(worst_tensors, source, path, (samples,))
            found.append(_judged(one, drops, max_drop, worst))
            continue
        with rounded(path) as twin:
            logits = logits_of(twin)
            one = replace(one, rounded=_metrics(logits, labels))
            drops.append(drop_of(reference, logits, labels))
            worst = partial(worst_tensors, source, twin, (samples,))
            found.append(_judged(one, drops, max_drop, worst))
    return tuple(found)


def drop_of(reference: Array, lowered: Array, labels: Array | None) -> Drop:
    """What answers ``lowered`` lose against ``reference``, with the error of paired shares.

    Of n images, b are right in the first alone and c in the second alone: (b - c) / n is lost, with
    standard error sqrt(b + c - (b - c)^2 / n) / n (Agresti, Categorical Data Analysis, 10.1).
    """
    one, other = choose(reference).ravel(), choose(lowered).ravel()
    count = len(one)
    if labels is None:
        worse, better = int((one != other).sum()), 0
    else:
        wanted = np.asarray(labels).ravel()
        right, still = one == wanted, other == wanted
        worse, better = int((right & ~still).sum()), int((still & ~right).sum())
    lost = worse - better
    return Drop(
        points=100 * lost / count,
        error=100 * math.sqrt(worse + better - lost**2 / count) / count,
        of="agreement" if labels is None else "top-1",
        images=count,
    )


def warnings(files: Sequence[Deployable]) -> tuple[str, ...]:
    """A line for each file that is not advised."""
    return tuple(
        f"{one.file} is not advised: {one.reason}{_named(one.worst_tensors)}"
        for one in files
        if not one.advised
    )


def notes(files: Sequence[Deployable]) -> tuple[str, ...]:
    """What a reader should know of how lower precisions were made and measured."""
    lines = []
    for one in files:
        if one.calibration is not None:
            used = one.calibration
            lines.append(
                f"{one.file}: ranges by {used.method} over {used.images} {used.source}, "
                f"activations {used.activations}, weights {used.weights} per channel"
                f"{', of 7 bits, as this processor has no VNNI' if used.reduce_range else ''}"
            )
        if one.not_runnable is not None:
            lines.append(
                f"{one.file}: {one.not_runnable}. Its outputs were checked in {one.checked_in}; "
                "its drop is that of the same operators in float32 with every result rounded"
            )
        elif one.precision in HALF_NAMES:
            lines.append(
                f"{one.file}: where ONNX Runtime has no {one.precision} kernels, as on x86, it "
                "computes in float32. The drop is the larger of that and of every result rounded, "
                "as hardware does that computes in halves"
            )
    return tuple(lines)


def _judged(
    one: Deployable,
    drops: Sequence[Drop],
    max_drop: float,
    worst: Callable[[], tuple[TensorLoss, ...]],
) -> Deployable:
    """With the largest drop, and where that is too much with a reason and names."""
    largest = max(drops, key=lambda drop: drop.points)
    one = replace(one, drop=largest)
    if largest.points <= max_drop:
        return one
    reason = (
        f"it loses {largest.points:.2f} points of {largest.of} against fp32 (standard error "
        f"{largest.error:.2f}, {largest.images} images), more than {max_drop:g}"
    )
    return replace(one, advised=False, reason=reason, worst_tensors=worst())


def _metrics(logits: Array, labels: Array | None) -> Metrics | None:
    return None if labels is None else Metrics(top1=accuracy(logits, labels))


def _named(losses: Sequence[TensorLoss]) -> str:
    if not losses:
        return ""

    def error(one: TensorLoss) -> str:
        return "not finite" if one.added is None else f"{100 * one.added:.2g} %"

    named = ", ".join(f"{one.tensor} ({one.operator}, {error(one)})" for one in losses)
    return f"; most is lost at {named}"
