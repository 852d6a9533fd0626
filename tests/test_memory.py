"""Who says that memory did not suffice, and work that is tried again with half as much."""

from __future__ import annotations

import errno
from collections.abc import Callable

import onnxruntime
import pytest
import torch

from compressor.errors import SurroundingsError
from compressor.memory import fitted, is_out_of_memory, out_of_memory
from compressor.watching import Stopwatch

CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError(f"{CPU}you tried to allocate 8 bytes. Error code 12"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_every_library_has_its_words(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_onnx_runtime_is_recognised_by_its_own_kind_of_error() -> None:
    kind = onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException
    assert is_out_of_memory(kind("bfc_arena.cc Failed to allocate memory for requested buffer"))


def test_torch_really_says_so() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(found.value)


def above(limit: int, error: Exception) -> Callable[[int], int]:
    def work(size: int) -> int:
        if size > limit:
            raise error
        return size

    return work


def test_work_is_halved_until_it_fits() -> None:
    assert fitted(above(7, MemoryError()), 50, "repair") == (6, 6)
    assert fitted(above(50, MemoryError()), 50, "repair") == (50, 50)


def test_the_smallest_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(SurroundingsError, match="out of memory in repair; give fewer --repair-"):
        fitted(above(1, MemoryError()), 50, "repair", smallest=2)


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="another"):
        fitted(above(1, ValueError("another")), 50, "repair")


def test_a_stage_that_does_not_fit_is_named() -> None:
    watch = Stopwatch()
    with (
        pytest.raises(SurroundingsError, match="out of memory in proof; give a smaller"),
        watch.timed("evaluation"),
        watch.timed("proof"),
    ):
        raise MemoryError
    with pytest.raises(ValueError, match="another"), watch.timed("proof"):
        raise ValueError("another")
    assert set(watch.seconds) == {"evaluation", "proof"}
    assert "\n" not in str(out_of_memory("proof"))
