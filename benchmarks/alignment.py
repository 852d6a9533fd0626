"""Widths that ONNX Runtime's kernels want, and which of the student's they do not get.

In come paired layers and their workload; out come sentences with what to do about it.  Other
runtimes get none: what is known of their steps is that they differ (``compressor probe`` measures
them).  Knows nothing of times.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer, Part
from benchmarks.workloads import Workload

NAMED = 3  # layers in a sentence
BLOCKED_STEP = 4  # measured with 1.31: inputs of 97, 98, 99, 126 channels are not taken, 100 is
# Integer convolutions that are computed without a matrix product, where there is AVX-512: source
# onnxruntime/core/mlas/lib/convsym.cpp, MlasConvSymPackWSize.
DIRECT_STEP = 4
DIRECT_LEAST = 16  # outputs
DIRECT_DEPTHWISE_STEP = 16


def describe_widths(layers: Sequence[Layer], workload: Workload) -> tuple[str, ...]:
    """Nothing where no kernel's choice hangs on a width, as far as is known."""
    if workload.runtime != "onnxruntime" or workload.device != "cpu":
        return ()
    return (*_left_blocks(layers), *_integer_paths(layers), *_means(layers))


def _left_blocks(layers: Sequence[Layer]) -> list[str]:
    """Convolutions of float32 whose input width keeps them out of the blocked layout."""
    odd = {
        one.name: one.student.in_width
        for one in layers
        if one.teacher
        and one.student
        and _is_blocked(one.teacher)
        and not _is_blocked(one.student)
        and one.student.macs
        and (one.student.in_width or 0) % BLOCKED_STEP
    }
    if not odd:
        return []
    values = ", ".join(str(width) for width in sorted({w for w in odd.values() if w}))
    return [
        f"ONNX Runtime takes a convolution into its blocked layout only where the input width "
        f"is a multiple of {BLOCKED_STEP}: {len(odd)} of the student's are not (widths {values}). "
        f"Plan with --multiple-of {BLOCKED_STEP} at least, 16 for speed."
    ]


def _is_blocked(part: Part) -> bool:
    return any(name.startswith("nchwc.") for name in part.implementations)


def _integer_paths(layers: Sequence[Layer]) -> list[str]:
    """Integer convolutions go one of two ways by their widths, under one name."""
    sides = [
        [part for one in layers if (part := getattr(one, side)) and _is_integer_convolution(part)]
        for side in ("teacher", "student")
    ]
    before, after = (sum(map(is_direct, parts)) for parts in sides)
    if not all(sides) or before * len(sides[1]) == after * len(sides[0]):
        return []
    return [
        "On x86 with AVX-512, ONNX Runtime computes an integer convolution directly where its "
        f"widths are multiples of {DIRECT_STEP} (one filter for each channel: of "
        f"{DIRECT_DEPTHWISE_STEP}), else as a matrix product: {before} of the teacher's "
        f"{len(sides[0])} are such, {after} of the student's {len(sides[1])}. Which of the two is "
        "faster hangs on the processor: `compressor probe --runtime onnxruntime --precision int8` "
        "measures it, `--target onnxruntime:int8` plans by it."
    ]


def _is_integer_convolution(part: Part) -> bool:
    return "Conv" in part.operators and part.computes_in == ("int8",)


def is_direct(part: Part) -> bool:
    """Whether an integer convolution of these widths needs no matrix product."""
    inputs, outputs = part.in_width or 0, part.out_width or 0
    if part.groups == 1:
        return not inputs % DIRECT_STEP and not outputs % DIRECT_STEP and outputs >= DIRECT_LEAST
    return part.groups == inputs == outputs and not inputs % DIRECT_DEPTHWISE_STEP


def _means(layers: Sequence[Layer]) -> list[str]:
    means = [one.name for one in layers if one.leaves_layout]
    if not means:
        return []
    return [
        f"{', '.join(means[:NAMED])}: a ReduceMean over height and width leaves the blocked "
        "layout; a GlobalAveragePool, which computes the same, would not."
    ]
