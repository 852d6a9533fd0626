"""An ONNX file run on arrays, and how right and how alike its answers are.

Comes in: a file and numpy arrays.  Goes out: logits, shares.  Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.runtimes.onnx_runtime import create_session, session_options
from compressor.errors import InputError

Array = NDArray[Any]
Run = Callable[[tuple[Array, ...]], list[Array]]  # inputs of one batch -> outputs

TOLERANCE = 1e-4
# Outputs smaller than this are compared absolutely, to TOLERANCE times it: float32 leaves that much
# noise when large activations cancel.  With 1 here, a network of small logits would always pass.
SMALLEST_SCALE = 0.1


def open_session(
    path: Path,
    *,
    threads: int = 0,
    provider: str = "CPUExecutionProvider",
    settings: Mapping[str, str] | None = None,
) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU or another provider; ``threads`` 0 leaves their number to it.

    Raises InputError where the runtime cannot load the file, or not with that provider.
    """
    chosen = [(provider, dict(settings or {}))]
    session: onnxruntime.InferenceSession = create_session(
        path, session_options(threads), chosen, told=path.name
    )
    if provider not in session.get_providers():
        raise InputError(f"{path.name}: ONNX Runtime has no working {provider} here")
    return session


def run_session(session: onnxruntime.InferenceSession, inputs: tuple[Array, ...]) -> list[Array]:
    """Outputs for these samples; ``inputs`` in the order of the file's inputs.

    A file whose batch is fixed gets that many samples at a time.  Raises InputError where they do
    not come out even, or are not what the file takes.
    """
    given = session.get_inputs()
    names = [one.name for one in given]
    if len(given) != len(inputs):
        raise InputError(f"the file takes {len(given)} inputs, not {len(inputs)}")
    step = given[0].shape[0] if given[0].shape else None
    if not isinstance(step, int) or step == len(inputs[0]):
        return _run(session, dict(zip(names, inputs, strict=True)))
    parts = [_run(session, dict(zip(names, part, strict=True))) for part in portions(inputs, step)]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _run(session: onnxruntime.InferenceSession, feed: Mapping[str, Array]) -> list[Array]:
    try:
        outputs: list[Array] = session.run(None, feed)
    except Exception as error:  # the runtime's exceptions share no base class but this one
        line = str(error).strip().splitlines()[0]
        raise InputError(f"ONNX Runtime cannot run it on these inputs: {line}") from error
    return outputs


def portions(inputs: tuple[Array, ...], step: int) -> Iterator[tuple[Array, ...]]:
    """``inputs``, ``step`` samples at a time.  Raises InputError where some would be left."""
    samples = len(inputs[0])
    if not samples or samples % step:
        raise InputError(f"the file takes {step} samples at a time, not {samples}")
    for start in range(0, samples, step):
        yield tuple(one[start : start + step] for one in inputs)


def open_run(path: Path, *, threads: int = 0) -> Run:
    """The file in ONNX Runtime as a callable.  Raises InputError as ``open_session`` does."""
    return partial(run_session, open_session(path, threads=threads))


def predict(path: Path, batches: Iterable[Array], *, threads: int = 0) -> Array:
    """First output for every sample of ``batches``, concatenated: shape (samples, ...)."""
    session = open_session(path, threads=threads)
    return np.concatenate([run_session(session, (batch,))[0] for batch in batches])


def choose(logits: Array) -> Array:
    """The class chosen: along dimension 1, or the last of (batch, sequence, classes)."""
    if logits.ndim < 2:
        logits = logits.reshape(-1, 1)
    chosen: Array = logits.argmax(axis=-1 if logits.ndim == 3 else 1)
    return chosen


def accuracy(logits: Array, labels: Array) -> float:
    """Share of samples whose chosen class is the label."""
    return float(np.mean(choose(logits) == np.asarray(labels)))


def agreement(first: Array, second: Array) -> float:
    """Share of places where both choose the same class."""
    return float(np.mean(choose(first) == choose(second)))


def relative_error(wanted: Array, got: Array, scale: float) -> tuple[float, float]:
    """Largest absolute difference, and the same over ``scale``; infinite for other shapes."""
    if wanted.shape != got.shape:
        return float("inf"), float("inf")
    difference = np.abs(wanted.astype(np.float64) - got.astype(np.float64))
    error = float(difference.max(initial=0.0))
    return error, error / max(SMALLEST_SCALE, scale)
