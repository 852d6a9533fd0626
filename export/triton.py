"""A model repository for NVIDIA's Triton Inference Server, made of one ONNX file.

Comes in: a file with a dynamic batch.  Goes out: ``triton/<name>/config.pbtxt`` and
``triton/<name>/1/model.onnx``; serve it with ``tritonserver --model-repository=triton``.  Knows
nothing of torch.

The model is copied, not linked: the folder must survive archives, uploads and file systems, most of
which forget links.  Weights that lie beside a large file keep their name, which the file refers to.

Format: triton-inference-server/common, ``protobuf/model_config.proto``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.text_encoding import CEscape  # type: ignore[import-untyped]

from compressor.errors import DefectError
from compressor.files import replacing, write_bytes

REPOSITORY = "triton"
MAX_BATCH_SIZE = 64  # what a request may hold; the file itself takes any batch
TYPES: dict[int, str] = {
    onnx.TensorProto.BOOL: "TYPE_BOOL",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.INT8: "TYPE_INT8",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.BFLOAT16: "TYPE_BF16",
}


def write_repository(folder: Path, file: Path, name: str) -> Path:
    """Write the repository into ``folder`` and return the model's folder in it.

    ``name`` is reduced to letters, digits, ``_``, ``-`` and ``.``.  Raises DefectError where the
    file's batch is not dynamic, or a tensor is of a type that Triton has no name for.
    """
    served = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "model"
    place = folder / REPOSITORY / served
    model = onnx.load(str(file), load_external_data=False)
    write_bytes(place / "config.pbtxt", _configuration(model.graph, served, file.name).encode())
    with replacing(place / "1" / "model.onnx") as copy:
        shutil.copyfile(file, copy)
        for beside in file.parent.glob(f"{file.name}.data"):
            shutil.copyfile(beside, copy.with_name(beside.name))
    return place


def _configuration(graph: onnx.GraphProto, served: str, file: str) -> str:
    return (
        f'name: "{served}"\n'
        'backend: "onnxruntime"\n'
        f"max_batch_size: {MAX_BATCH_SIZE}\n"
        f"input [\n{_tensors(graph.input, file)}\n]\n"
        f"output [\n{_tensors(graph.output, file)}\n]\n"
    )


def _tensors(values: Iterable[onnx.ValueInfoProto], file: str) -> str:
    return ",\n".join(_tensor(value, file) for value in values)


def _tensor(value: onnx.ValueInfoProto, file: str) -> str:
    """One input or output; the batch is not among ``dims``, a free size is -1 there."""
    kind = value.type.tensor_type
    if kind.elem_type not in TYPES:
        named = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise DefectError(f"{file}: {value.name} is {named}, which Triton has no name for")
    batch, *rest = kind.shape.dim
    if not batch.dim_param:
        raise DefectError(f"{file}: {value.name} has no dynamic batch; Triton would batch it")
    dims = ", ".join(str(dim.dim_value) if dim.HasField("dim_value") else "-1" for dim in rest)
    lines = [
        f'    name: "{CEscape(value.name, False)}"',
        f"    data_type: {TYPES[kind.elem_type]}",
        f"    dims: [ {dims or 1} ]",
    ]
    if not rest:  # one number a sample: Triton wants a dimension all the same
        lines.append("    reshape: { shape: [ ] }")
    return "  {\n" + "\n".join(lines) + "\n  }"
