"""A float32 ONNX file becomes one of int8, by static quantisation.

Comes in: a file, the ranges of its activations (``calibration``), what the processor is good at.
Goes out: the same function with QuantizeLinear and DequantizeLinear around what runtimes have
integer kernels for, in standard operators.  Knows nothing of images and accuracy.

Weights are int8 and symmetric, with a scale for each channel; activations have one scale for the
tensor.  A runtime folds the pairs into integer kernels; one that has none computes in float32, on
the same rounded numbers.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import save_tensors_data
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.environment import parse_cpuinfo
from compressor.errors import InputError
from compressor.files import scratch_folder
from export.calibration import Batch, Calibrate, is_large
from export.half import FRAGILE

# What it fails at it logs with a traceback and goes on: a full disk is met again, and told, at its
# next file; a model that it could not optimise is held to its graph as any other (``parity``).
logging.getLogger("onnxruntime.quantization").addHandler(logging.NullHandler())

X86 = ("x86_64", "amd64", "i686")
VNNI = ("avx512_vnni", "avx_vnni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Integers:
    """``unsigned``: activations are uint8, which x86 multiplies with int8 weights.

    ``reduce_range``: weights have 7 bits.  Without the VNNI instructions x86 adds pairs of products
    in 16 bits, where two of 255 x 127 do not fit, and answers wrongly without a word.
    """

    unsigned: bool
    reduce_range: bool


def integers_of(machine: str, cpuinfo: str) -> Integers:
    """What suits a processor; one that says nothing of VNNI is taken to have none.

    ``machine`` as ``platform.machine()`` has it, ``cpuinfo`` as ``/proc/cpuinfo``.  Source: the
    notes on CPU inference at onnxruntime.quantization.quantize_static.
    """
    if machine.lower() not in X86:
        return Integers(unsigned=False, reduce_range=False)
    _, flags = parse_cpuinfo(cpuinfo)
    return Integers(unsigned=True, reduce_range=not set(VNNI) & set(flags))


def integers_here() -> Integers:
    cpuinfo = Path("/proc/cpuinfo")
    return integers_of(platform.machine(), cpuinfo.read_text() if cpuinfo.is_file() else "")


def to_int8(
    path: Path, calibrate: Calibrate, batches: Iterable[Batch], integers: Integers
) -> ir.Model:
    """The model of ``path`` with every operator quantised that runtimes have integer kernels for.

    Operators that lose too much as halves (``half.FRAGILE``) stay in float32 here too.  Equal
    input, equal model.  Raises InputError where there is nothing to quantise.
    """
    with scratch_folder() as folder:
        prepared, ranges, made = (folder / name for name in ("a.onnx", "ranges", "b.onnx"))
        large = is_large(path)
        # Shapes, and what quantisation wants folded: batch norms into convolutions, constants.
        quant_pre_process(
            path,
            prepared,
            skip_symbolic_shape=True,
            save_as_external_data=large,
            all_tensors_to_one_file=True,
            external_data_location="a.onnx.data" if large else None,
        )
        found = calibrate(prepared, batches)
        save_tensors_data(found, ranges)
        quantize_static(
            prepared,
            made,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted((QDQRegistry.keys() | QLinearOpsRegistry.keys()) - FRAGILE),
            per_channel=True,
            reduce_range=integers.reduce_range,
            activation_type=QuantType.QUInt8 if integers.unsigned else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
            calibrate_method=found.calibration_method,
            calibration_cache_path=ranges,
        )
        model = ir.load(made)
        ir.external_data.load_to_model(model)  # the folder goes
    if not any(node.op_type == "QuantizeLinear" for node in model.graph):
        raise InputError(f"{path.name}: it has no operator that int8 knows; leave int8 out")
    return model
