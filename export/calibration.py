"""The range of every activation of an ONNX file, from real inputs.

Comes in: a float32 file and batches of inputs, one batch in memory at a time.  Goes out: ranges in
ONNX Runtime's form, by one of three methods.  Knows nothing of what the ranges are for.

    minmax      the smallest and largest value seen (Jacob et al. 2018, arXiv:1712.05877)
    entropy     the threshold whose levels tell least of the distribution away (module ``entropy``)
    percentile  99.999 % of the values; the few beyond are clipped
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    CalibrationMethod,
    EntropyCalibrater,
    MinMaxCalibrater,
    PercentileCalibrater,
    TensorData,
    TensorsData,
)

from compressor.errors import InputError
from compressor.files import scratch_folder
from export.entropy import clip
from export.onnx_files import EXTERNAL_ABOVE
from export.prediction import Array

Batch = tuple[Array, ...]  # one array for each input of the file, in its order
Calibrate = Callable[[Path, Iterable[Batch]], TensorsData]

BINS = 4096  # of a histogram, half of them on either side of zero
LEVELS = 256  # of eight bits
PERCENTILE = 99.999


def minmax(path: Path, batches: Iterable[Batch]) -> TensorsData:
    """The smallest and largest value of every float tensor."""
    with _workplace() as place:
        calibrater = MinMaxCalibrater(
            path, augmented_model_path=place, use_external_data_format=is_large(path)
        )
        return _collect(calibrater, path, batches)


def entropy(path: Path, batches: Iterable[Batch]) -> TensorsData:
    """For every float tensor, the range whose levels tell least of its distribution away.

    The library collects the histograms; its own threshold is not taken: as called by
    ``quantize_static`` it tries one, the largest value, and with more bins it gives every tensor
    half the levels it has.
    """
    with _workplace() as place:
        calibrater = EntropyCalibrater(
            path, augmented_model_path=place, use_external_data_format=is_large(path), num_bins=BINS
        )
        _feed(calibrater, path, batches)
    histograms = calibrater.collector.get_histogram_dict()
    ranges = {name: _clipped(*found) for name, found in histograms.items()}
    return TensorsData(CalibrationMethod.Entropy, ranges)


def _clipped(counts: Array, edges: Array, low: Array, high: Array, _: Array) -> TensorData:
    """``counts`` between ``edges`` lie around zero, as many on either side."""
    middle = len(counts) // 2
    magnitudes = counts[middle:] + counts[:middle][::-1]
    kept = clip(magnitudes, LEVELS if low >= 0 else LEVELS // 2)
    end = edges[middle + kept]
    return TensorData(
        lowest=np.maximum(low, -end).astype(np.float32),
        highest=np.minimum(high, end).astype(np.float32),
    )


def percentile(path: Path, batches: Iterable[Batch]) -> TensorsData:
    """For every float tensor, the range of 99.999 % of its values."""
    with _workplace() as place:
        calibrater = PercentileCalibrater(
            path,
            augmented_model_path=place,
            use_external_data_format=is_large(path),
            num_bins=BINS,
            percentile=PERCENTILE,
        )
        return _collect(calibrater, path, batches)


METHODS: dict[str, Calibrate] = {"minmax": minmax, "entropy": entropy, "percentile": percentile}


def largest_values(path: Path, batches: Iterable[Batch]) -> dict[str, float]:
    """The largest absolute value of every float tensor."""
    ranges = {name: found.range_value for name, found in minmax(path, batches).items()}
    return {name: float(np.abs(ends).max()) for name, ends in ranges.items()}


def is_large(path: Path) -> bool:
    """Whether its weights must lie beside an ONNX file."""
    beside = path.with_name(path.name + ".data")
    return beside.is_file() or path.stat().st_size > EXTERNAL_ABOVE


def input_names(path: Path) -> tuple[str, ...]:
    return tuple(one.name for one in onnx.load(str(path), load_external_data=False).graph.input)


class Feed(CalibrationDataReader):
    """One batch under the names of the file's inputs, then nothing."""

    def __init__(self, names: tuple[str, ...], batch: Batch) -> None:
        self.left = [dict(zip(names, batch, strict=True))]

    def get_next(self) -> dict[str, Array] | None:
        return self.left.pop() if self.left else None


def _collect(calibrater: CalibraterBase, path: Path, batches: Iterable[Batch]) -> TensorsData:
    _feed(calibrater, path, batches)
    with contextlib.redirect_stdout(io.StringIO()):
        return calibrater.compute_data()


def _feed(calibrater: CalibraterBase, path: Path, batches: Iterable[Batch]) -> None:
    names = input_names(path)
    calibrater.augment_graph()
    calibrater.create_inference_session()
    seen = 0
    for batch in batches:
        # Batch by batch: given them all, it would keep every activation of every batch.
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is doing
            calibrater.collect_data(Feed(names, batch))
        seen += len(batch[0])
    if not seen:
        raise InputError(f"{path.name}: calibration needs at least one input; give real samples")


@contextlib.contextmanager
def _workplace() -> Iterator[str]:
    with scratch_folder() as folder:
        yield str(folder / "augmented.onnx")
