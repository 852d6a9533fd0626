"""Batches of rows, pass after pass, and going on in the midst of one."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import Generator

from compressor.data import rows_of_pass
from compressor.passes import Passes


def made(seed: int, count: int = 11, size: int = 4) -> Passes:
    return Passes(count, size, Generator().manual_seed(seed))


@pytest.mark.parametrize(("count", "size"), [(11, 4), (8, 4), (3, 4), (2, 1)])
def test_passes_are_those_of_the_data(count: int, size: int) -> None:
    passes, generator = made(1, count, size), Generator().manual_seed(1)
    for number in range(3):
        for rows in rows_of_pass(count, size, generator):
            assert torch.equal(next(passes), rows)
            assert passes.number == number


@pytest.mark.parametrize("after", range(6))
def test_it_goes_on_from_anywhere_as_it_would_have(after: int) -> None:
    whole, stopped = made(2), made(2)
    assert len(list(islice(whole, after))) == len(list(islice(stopped, after))) == after
    kept = stopped.state()
    again = made(9)
    again.restore(kept)
    for _ in range(5):
        assert torch.equal(next(again), next(whole))
        assert again.number == whole.number
        pair = again.before, whole.before
        assert pair == (None, None) or torch.equal(*pair)  # type: ignore[arg-type]
        drawn = [torch.rand(3, generator=one.generator) for one in (again, whole)]  # augmentation
        assert torch.equal(*drawn)


def test_the_batch_before_is_known() -> None:
    passes = made(3)
    first = next(passes)
    assert passes.before is None
    second = next(passes)
    assert passes.before is first
    next(passes)
    assert passes.before is second
