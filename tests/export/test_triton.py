"""The Triton repository, its configuration read by protobuf's own text parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from onnx import TensorProto, helper

from compressor.errors import DefectError
from compressor.files import sha256
from export.triton import MAX_BATCH_SIZE, write_repository
from export.twins import write_twin

TYPES = [
    "INVALID",
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "STRING",
    "BF16",
]
Field = descriptor_pb2.FieldDescriptorProto
ONE, MANY = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED
TEXT, WHOLE, PART, CHOICE = (
    Field.TYPE_STRING,
    Field.TYPE_INT64,
    Field.TYPE_MESSAGE,
    Field.TYPE_ENUM,
)
# The part of Triton's model_config.proto that a configuration of ours may use; all else is an
# error to the parser.
MESSAGES: dict[str, tuple[tuple[str, int, int, int, str], ...]] = {
    "ModelTensorReshape": (("shape", 1, WHOLE, MANY, ""),),
    "ModelInput": (
        ("name", 1, TEXT, ONE, ""),
        ("data_type", 2, CHOICE, ONE, ".inference.DataType"),
        ("dims", 4, WHOLE, MANY, ""),
        ("reshape", 5, PART, ONE, ".inference.ModelTensorReshape"),
    ),
    "ModelOutput": (
        ("name", 1, TEXT, ONE, ""),
        ("data_type", 2, CHOICE, ONE, ".inference.DataType"),
        ("dims", 3, WHOLE, MANY, ""),
        ("reshape", 5, PART, ONE, ".inference.ModelTensorReshape"),
    ),
    "ModelConfig": (
        ("name", 1, TEXT, ONE, ""),
        ("max_batch_size", 4, Field.TYPE_INT32, ONE, ""),
        ("input", 5, PART, MANY, ".inference.ModelInput"),
        ("output", 6, PART, MANY, ".inference.ModelOutput"),
        ("backend", 17, TEXT, ONE, ""),
    ),
}


def parse(text: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference")
    file.syntax = "proto3"
    kinds = file.enum_type.add(name="DataType")
    for number, name in enumerate(TYPES):
        kinds.value.add(name=f"TYPE_{name}", number=number)
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, label, named in fields:
            described.field.add(
                name=name, number=number, type=kind, label=label, type_name=named or None
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("inference.ModelConfig")
    return text_format.Parse(text, message_factory.GetMessageClass(found)())


def small(path: Path, output: list[int | str | None], kind: int = TensorProto.FLOAT) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Identity", ['odd "name"\n'], ["out"])],
        "g",
        [helper.make_tensor_value_info('odd "name"\n', kind, output)],
        [helper.make_tensor_value_info("out", kind, output)],
    )
    onnx.save(helper.make_model(graph), str(path))
    return path


def test_a_repository_is_what_the_server_reads(product: Path) -> None:
    student = product / "onnx" / "student.onnx"
    place = write_repository(product, student, "my net/é (student)")
    assert place == product / "triton" / "my-net-student"
    assert sha256(place / "1" / "model.onnx") == sha256(student)
    found = parse((place / "config.pbtxt").read_text())
    assert (found.name, found.backend) == ("my-net-student", "onnxruntime")
    assert found.max_batch_size == MAX_BATCH_SIZE
    (image,), (logits,) = found.input, found.output
    fp32 = TYPES.index("FP32")
    assert (image.name, image.data_type, list(image.dims)) == ("input", fp32, [3, 16, 16])
    assert (logits.name, logits.data_type, list(logits.dims)) == ("logits", fp32, [4])


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "INT64"])
def test_free_sizes_single_numbers_odd_names_and_types(kind: str, tmp_path: Path) -> None:
    names = {"FLOAT16": "FP16", "BFLOAT16": "BF16", "INT64": "INT64"}
    number = TensorProto.DataType.Value(kind)
    file = small(tmp_path / "net.onnx", ["batch", "length", 7], number)
    place = write_repository(tmp_path, file, "sequence")
    (value,) = parse((place / "config.pbtxt").read_text()).input
    assert (value.name, list(value.dims)) == ('odd "name"\n', [-1, 7])
    assert value.data_type == TYPES.index(names[kind])
    file = small(tmp_path / "net.onnx", ["batch"], number)
    place = write_repository(tmp_path, file, "number")
    (value,) = parse((place / "config.pbtxt").read_text()).output
    assert (list(value.dims), value.HasField("reshape")) == ([1], True)
    assert not value.reshape.shape


def test_weights_beside_the_file_keep_the_name_it_refers_to(product: Path) -> None:
    student = product / "onnx" / "student.onnx"
    model = onnx.load(str(student))
    onnx.save(model, str(student), save_as_external_data=True, location="student.onnx.data",
              size_threshold=0)  # fmt: skip
    place = write_repository(product, student, "net")
    onnx.load(str(place / "1" / "model.onnx"))
    assert {one.name for one in (place / "1").iterdir()} == {"model.onnx", "student.onnx.data"}


def test_what_triton_cannot_batch_or_name_is_refused(product: Path, tmp_path: Path) -> None:
    twin = write_twin(product / "onnx" / "student.onnx").path
    with pytest.raises(DefectError, match="has no dynamic batch"):
        write_repository(product, twin, "net")
    file = small(tmp_path / "net.onnx", ["batch", 2], TensorProto.COMPLEX64)
    with pytest.raises(DefectError, match="COMPLEX64, which Triton has no name for"):
        write_repository(tmp_path, file, "net")
