"""Out of memory: recognised whoever says it, and work tried again with half as much at a time.

Comes in: errors, and work that takes a size.  Goes out: what it gives at the largest size that
fits, or one line.  Knows nothing of what the work is.
"""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

from compressor.errors import SurroundingsError

Found = TypeVar("Found")

_WORDS = (
    "out of memory",  # CUDA, HIP, MPS
    "DefaultCPUAllocator: can't allocate memory",  # torch on the CPU
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to allocate memory",  # ONNX Runtime's arena
)
# What a user can do about a stage (``Stopwatch``) that does not fit.
_ADVICE = {
    "plan": "give fewer --repair-images",
    "repair": "give fewer --repair-images",
    "synthesis": "give --data, so that no pictures are synthesised",
    "training": "give a smaller --image-size, or under a launcher more processes",
}
_USUAL_ADVICE = "give a smaller --image-size"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, in any library's words."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    libraries = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return libraries and any(words in str(error) for words in _WORDS)


def out_of_memory(where: str) -> SurroundingsError:
    """The line for a stage that does not fit."""
    advice = _ADVICE.get(where, _USUAL_ADVICE)
    return SurroundingsError(
        f"out of memory in {where}; {advice}, or take a machine with more memory"
    )


def fitted(
    work: Callable[[int], Found], size: int, where: str, *, smallest: int = 1
) -> tuple[Found, int]:
    """``work(size)``, with half the size, and half of that, until memory suffices; and the size.

    Raises SurroundingsError where ``smallest`` does not fit either.
    """
    while True:
        try:
            return work(size), size
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size <= smallest:
                raise out_of_memory(where) from error
        free()  # not before: the error holds what was alive when it was raised
        size = max(smallest, size // 2)


def free() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
