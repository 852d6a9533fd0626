"""An exported program becomes an ONNX file, looked over before it gets its name.

Comes in: an ``ExportedProgram`` with a dynamic batch.  Goes out: one file (weights beside it where
one file would be too large for protobuf), with our own metadata, no path of this machine, equal
bytes for equal input.  Knows nothing of what the numbers are; ``parity`` runs the file.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx.defs import onnx_opset_version
from onnx_ir.passes.common import RemoveUnusedOpsetsPass
from torch.export import ExportedProgram

from compressor.errors import DefectError, InputError, OptionError
from compressor.files import replacing, sha256
from export.descriptions import Description, metadata
from export.paths import find_absolute_paths
from export.rewrites import restore_pools, strip

LOWEST_OPSET = 18  # what torch's operators are written in; converting downwards often fails
IR_VERSION = 10  # of the file format: that of torch's files, which all runtimes here read
EXTERNAL_ABOVE = 1_500_000_000  # bytes; protobuf ends at 2 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A written file.  ``bytes`` counts weights beside it too; ``sha256`` is of the file itself.

    ``batch_norms``: BatchNormalization nodes left, that is those no convolution could take in.
    """

    path: Path
    opset: int
    bytes: int
    sha256: str
    batch_norms: int


def write_onnx(
    program: ExportedProgram,
    path: Path,
    description: Description,
    *,
    opset: int | None = None,
    external_above: int = EXTERNAL_ABOVE,
) -> OnnxFile:
    """Write ``program`` to ``path`` (``.onnx``) and look the result over.

    One input is named ``input``, one output ``logits``; the batch dimension is named ``batch``.
    Raises OptionError for an opset that cannot be met, InputError where the exporter has no
    operator for the network, DefectError where the result is not fit to ship.
    """
    check_opset(opset)
    model = _convert(program, path.name, opset)
    reached = model.opset_imports[""]
    if opset is not None and reached != opset:
        raise OptionError(
            f"--opset {opset}: the exporter stays at {reached} for {path.name}; ask for {reached}"
        )
    return save_onnx(model, path, description, external_above=external_above)


def check_opset(opset: int | None) -> None:
    """Raises OptionError for an opset that cannot be written, or not be run and verified here."""
    if opset is not None and not LOWEST_OPSET <= opset <= highest_opset():
        raise OptionError(
            f"--opset {opset}: cannot be written; choose one from {LOWEST_OPSET} to "
            f"{highest_opset()}"
        )


@functools.cache
def highest_opset() -> int:
    """The highest that the ONNX Runtime here loads, which it tells of no other way."""
    known = range(onnx_opset_version(), LOWEST_OPSET, -1)
    return next((opset for opset in known if _loads(opset)), LOWEST_OPSET)


def _loads(opset: int) -> bool:
    """Whether ONNX Runtime takes a model that hands its input through."""
    from onnxruntime import InferenceSession

    given, taken = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"
    )
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "identity", [given], [taken]),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
    )
    try:
        InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # its errors have no kind in common
        return False
    return True


def save_onnx(
    model: ir.Model,
    path: Path,
    description: Description,
    *,
    external_above: int = EXTERNAL_ABOVE,
) -> OnnxFile:
    """Strip ``model``, in place, of where it was made, describe it, and write it to ``path``.

    Raises DefectError where it is not fit to ship.
    """
    strip(model)
    RemoveUnusedOpsetsPass()(model)
    model.metadata_props.update(metadata(description))
    model.producer_name, model.producer_version = "compressor", description.tool_version
    _inspect(model, path.name)
    return save(model, path, external_above=external_above)


def save(model: ir.Model, path: Path, *, external_above: int = EXTERNAL_ABOVE) -> OnnxFile:
    """Write ``model``, its weights beside it where they are larger than ``external_above`` bytes.

    The written file is checked before it gets its name.  Raises DefectError where it names a place
    of this machine.
    """
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    batch_norms = sum(node.op_type == "BatchNormalization" for node in nodes)
    with replacing(path) as place:
        written = write_model(model, place, external_above)
        onnx.checker.check_model(str(place), full_check=True)
        _refuse_paths(place, path.name)
        size = sum(file.stat().st_size for file in written)
        digest = sha256(place)
    return OnnxFile(
        path=path,
        opset=model.opset_imports[""],
        bytes=size,
        sha256=digest,
        batch_norms=batch_norms,
    )


def _convert(program: ExportedProgram, name: str, opset: int | None) -> ir.Model:
    inputs = program.graph_signature.user_inputs
    outputs = program.graph_signature.user_outputs
    try:
        with warnings.catch_warnings():
            # Recurrent layers become a loop of torch's own, whose tracing warns of its own ways.
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor", UserWarning)
            converted = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=["input"] if len(inputs) == 1 else [str(one) for one in inputs],
                output_names=_output_names(program, len(outputs)),
                # It names the size, which the inputs share.
                dynamic_shapes=({0: "batch"}, *({} for _ in inputs[1:])),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        reason = str(first).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"{name}: the ONNX exporter cannot express this network: {reason}; "
            "student.pt2 holds it all the same"
        ) from error
    assert converted is not None
    return restore_pools(converted.model)


def _output_names(program: ExportedProgram, count: int) -> list[str]:
    if count == 1:
        return ["logits"]
    spec = program.call_spec.out_spec
    keys = getattr(spec, "context", None)
    if isinstance(keys, list) and len(keys) == count and all(isinstance(k, str) for k in keys):
        return list(keys)
    return [f"output_{place}" for place in range(count)]


def _inspect(model: ir.Model, name: str) -> None:
    """Raise DefectError for what other runtimes could not run."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain:
            raise DefectError(
                f"{name}: node {node.name} is {node.domain}.{node.op_type}, outside standard ONNX"
            )
        values.extend(node.outputs)
    if model.functions:
        raise DefectError(f"{name}: holds functions of its own: {sorted(model.functions)[:3]}")
    for value in values:
        if value.dtype == ir.DataType.DOUBLE:
            raise DefectError(f"{name}: value {value.name} is float64; convert the network first")
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None or not value.shape.rank() or str(value.shape[0]) != "batch":
            raise DefectError(
                f"{name}: {value.name} has shape {value.shape}, whose first dimension is not the "
                "dynamic batch"
            )


def write_model(
    model: ir.Model, place: Path, external_above: int = EXTERNAL_ABOVE
) -> tuple[Path, ...]:
    """Write a model as it is, its weights in a file beside it where they are too large."""
    held = (value.const_value for value in model.graph.initializers.values())
    size = sum(tensor.nbytes for tensor in held if tensor is not None)
    if size <= external_above:
        ir.save(model, place)
        return (place,)
    beside = place.with_name(place.name + ".data")
    ir.save(model, place, external_data=beside.name)
    return (place, beside)


def _refuse_paths(place: Path, name: str) -> None:
    """Raise DefectError where the file's text names a place of this machine; labels may."""
    proto = onnx.load(str(place), load_external_data=False)
    for pair in proto.metadata_props:
        if pair.key == "compressor.labels":
            pair.value = ""
    for text in _texts(proto):
        found = find_absolute_paths(text)
        if found:
            raise DefectError(f"{name}: holds the path {found[0]}")


def _texts(message: Message) -> Iterator[str]:
    """Every string in a protobuf message, at any depth; weights are bytes and are not looked at."""
    for field, value in message.ListFields():
        for one in (value,) if isinstance(value, str | bytes | Message) else _repeated(value):
            if isinstance(one, Message):
                yield from _texts(one)
            elif isinstance(one, str):
                yield one
            elif isinstance(one, bytes) and field.name != "raw_data":
                yield one.decode("utf-8", "replace")


def _repeated(value: object) -> Iterable[object]:
    return value if isinstance(value, Iterable) else ()
