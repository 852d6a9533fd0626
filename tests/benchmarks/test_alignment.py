"""Which integer convolutions need no matrix product, by their widths."""

from __future__ import annotations

import pytest

from benchmarks.alignment import is_direct
from benchmarks.layers import Part


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "direct"),
    [
        (64, 64, 1, True), (64, 45, 1, False), (45, 64, 1, False), (12, 16, 1, True),
        (64, 12, 1, False), (3, 32, 1, False), (32, 32, 32, True), (36, 36, 36, False),
        (32, 64, 2, False),
    ],
)  # fmt: skip
def test_widths_decide_as_the_runtime_does(
    inputs: int, outputs: int, groups: int, direct: bool
) -> None:
    part = Part(
        operators=("Conv",), implementations=("QLinearConv",), beside=(), conversions=(), macs=1,
        executed_macs=None, bytes_moved=1, in_width=inputs, out_width=outputs, main_s=1.0,
        beside_s=0.0, convert_s=0.0, computes_in=("int8",), groups=groups,
    )  # fmt: skip
    assert is_direct(part) is direct
