"""All malformed inputs, family by family."""

from __future__ import annotations

from collections.abc import Iterator

from tests.malformed import onnx_files, options, pictures, programs, runs, weights
from tests.malformed.cases import Case

FAMILIES = (weights, programs, pictures, runs, onnx_files, options)


def cases() -> Iterator[Case]:
    for family in FAMILIES:
        yield from family.cases()
