"""The fp32 file of a network becomes its files of lower precision, each checked after it.

Comes in: a written fp32 file with the graph it came from, real inputs.  Goes out: files, and how
near they are to the graph.  Knows nothing of labels: whether a precision is worth it is told by
``advice``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir
from torch import Tensor, nn

from compressor.errors import CompressorError, DefectError, InputError, OptionError
from compressor.files import scratch_folder
from export.calibration import METHODS, Batch, largest_values
from export.deployables import Calibration, Deployable
from export.descriptions import Description
from export.evaluators import open_evaluator
from export.half import BFLOAT16, FLOAT16, Half, round_results, to_half
from export.onnx_files import OnnxFile, save_onnx, write_model
from export.parity import check_parity
from export.precisions import BF16, FP16, FP32, INT8, Precision
from export.prediction import Run, open_run
from export.quantisation import integers_here, to_int8

HALVES = {FP16: FLOAT16, BF16: BFLOAT16}
CALIBRATION_IMAGES = 256  # the range of what they do hardly grows with more


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Real inputs that show which values a network's tensors take; never those of a test.

    ``batches`` gives them anew at each call, ``images`` in all.  ``source`` says what they are,
    ``method`` how int8 finds its ranges (``precisions.CALIBRATIONS``).
    """

    batches: Callable[[], Iterable[Batch]]
    images: int
    source: str
    method: str = "minmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """``tolerance``: of the file's golden answers."""

    deployable: Deployable
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    file: OnnxFile
    kept_float32: int | None = None
    calibration: Calibration | None = None


def lower(
    folder: Path,
    network: str,
    precision: Precision,
    description: Description,
    examples: Examples,
    graph: nn.Module,
    samples: Tensor,
    *,
    opset: int | None = None,
    threads: int = 0,
) -> Lowered:
    """Make the file of ``network`` in ``precision`` from its fp32 file in ``folder``; check it.

    Outputs must be finite at every batch size; how far they are from ``graph`` on ``samples`` is
    told.  A file that fails is not left behind.  Raises ParityError then, OptionError for an
    ``opset`` that does not know the precision, InputError where nothing can be quantised.
    """
    source, file = folder / FP32.file(network), precision.file(network)
    made = _MAKERS[precision](source, folder / file, description, examples, opset)
    try:
        run, checked_in, refusal = _open(made.file.path, threads)
        parity = check_parity(made.file.path, graph, samples, tolerance=None, run=run)
        errors = [parity.max_relative_error]
        if precision in HALVES:
            with rounded(made.file.path) as twin:
                found = check_parity(twin, graph, samples, tolerance=None, threads=threads)
            errors.append(found.max_relative_error)
    except CompressorError:
        for left in (made.file.path, made.file.path.with_name(f"{made.file.path.name}.data")):
            left.unlink(missing_ok=True)
        raise
    deployable = Deployable(
        file=file,
        precision=precision.name,
        bytes=made.file.bytes,
        sha256=made.file.sha256,
        opset=made.file.opset,
        parity=parity,
        checked_in=checked_in,
        not_runnable=refusal,
        kept_float32=made.kept_float32,
        calibration=made.calibration,
    )
    return Lowered(deployable=deployable, tolerance=golden_tolerance(precision, max(errors)))


def golden_tolerance(precision: Precision, error: float) -> float:
    """How far apart two computations of one file may lie, where it is ``error`` off its graph.

    What a processor's kernels do with halves or integers (the order of sums, where results are
    rounded, what is fused) differs.  Any of them may be off the float32 network by about as much as
    the precision itself is, so two of them by twice that; by more is another function.
    """
    return max(precision.tolerance, 2 * error)


@contextmanager
def rounded(path: Path) -> Iterator[Path]:
    """The half file ``path`` as one whose every half result is rounded, wherever it runs."""
    model = ir.load(path)
    round_results(model)
    with scratch_folder() as folder:
        twin = folder / path.name
        write_model(model, twin)
        yield twin


def _open(path: Path, threads: int) -> tuple[Run, str, str | None]:
    """What runs the file, its name, and why ONNX Runtime does not."""
    try:
        return open_run(path, threads=threads), "onnxruntime", None
    except InputError as error:
        if "NOT_IMPLEMENTED" not in str(error):  # another reason than a missing kernel is a fault
            raise DefectError(str(error)) from error
        return *open_evaluator(path), str(error)


def _make_half(
    half: Half,
    source: Path,
    path: Path,
    description: Description,
    examples: Examples,
    opset: int | None,
) -> _Made:
    if opset is not None and opset < half.opset:
        raise OptionError(
            f"{half.name} needs opset {half.opset} or higher, and {opset} was asked for; leave "
            "--opset or the precision out"
        )
    largest = largest_values(source, examples.batches())
    halved = to_half(ir.load(source), half, largest)
    facts = replace(description, precision=half.name)
    written = save_onnx(halved.model, path, facts)
    return _Made(file=written, kept_float32=len(halved.kept))


def _make_int8(
    source: Path,
    path: Path,
    description: Description,
    examples: Examples,
    opset: int | None,
) -> _Made:
    integers = integers_here()
    model = to_int8(source, METHODS[examples.method], examples.batches(), integers)
    calibration = Calibration(
        method=examples.method,
        images=examples.images,
        source=examples.source,
        activations="uint8" if integers.unsigned else "int8",
        weights="int8",
        reduce_range=integers.reduce_range,
    )
    facts = replace(description, precision="int8", calibration=calibration)
    return _Made(file=save_onnx(model, path, facts), calibration=calibration)


_MAKERS: dict[Precision, Callable[[Path, Path, Description, Examples, int | None], _Made]] = {
    FP16: partial(_make_half, FLOAT16),
    BF16: partial(_make_half, BFLOAT16),
    INT8: _make_int8,
}
