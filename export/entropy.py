"""Where to clip a distribution so that few levels tell least of it away.

Comes in: the histogram of a tensor's absolute values.  Goes out: a threshold.  Knows nothing of
files and networks.

S. Migacz, "8-bit inference with TensorRT" (GTC 2017, s7310), with two rules of NVIDIA's own
calibrator (pytorch_quantization.calib.histogram): the bin at zero counts as much as its neighbour,
as zeros are exact whatever the threshold, and half of many activations are zeros; and a tensor that
is never negative has all levels on one side.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import entropy

from export.prediction import Array

CANDIDATES = 256  # thresholds tried


def clip(counts: Array, levels: int) -> int:
    """How many leading bins of ``counts`` (n,) to keep for ``levels`` levels.

    Of all thresholds, the one with the least Kullback-Leibler divergence of what the levels say
    from the clipped distribution, whose last bin holds what lies beyond; the largest of equals.
    """
    counts = counts.astype(np.float64)
    if len(counts) <= levels or not counts[1:].any():
        return len(counts)
    counts[0] = counts[1]
    kept = np.unique(np.linspace(levels, len(counts), CANDIDATES).astype(int))[::-1]
    losses = [_divergence(counts, int(bins), levels) for bins in kept]
    return int(kept[int(np.argmin(losses))])


def _divergence(counts: Array, bins: int, levels: int) -> float:
    """Of the distribution clipped after ``bins`` bins, when each level spreads its mass evenly over
    its bins that are not empty."""
    inside = counts[:bins]
    filled = inside > 0
    level = np.arange(bins) * levels // bins
    mass = np.bincount(level, inside, levels)
    width = np.bincount(level, filled, levels)
    spread = np.where(filled, (mass / np.maximum(width, 1))[level], 0.0)
    wanted = inside.copy()
    wanted[-1] += counts[bins:].sum()
    # What is beyond is missing on the side of the levels, which therefore do not sum to one.
    wanted, spread = wanted / counts.sum(), spread / counts.sum()
    return float(entropy(wanted[wanted > 0], np.maximum(spread[wanted > 0], 1e-12)))
