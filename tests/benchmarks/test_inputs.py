"""Signatures of files, ours or not, and inputs that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.inputs import Input, make_inputs, parse_sizes, read_signature, shapes
from compressor.errors import LoadError, OptionError


def write(path: Path, *inputs: tuple[str, int, Sequence[str | int | None]]) -> Path:
    """A file whose inputs are only looked at, beside an initializer that is listed as an input."""
    entries = [helper.make_tensor_value_info(*entry) for entry in inputs]
    entries.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["weight"], ["y"])],
        "signature",
        entries,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.ones(1, np.float32), "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_signature_is_what_the_file_says_without_its_weights(tmp_path: Path) -> None:
    path = write(
        tmp_path / "text.onnx",
        ("ids", TensorProto.INT64, ["n", "length"]),
        ("flags", TensorProto.BOOL, ["n", None]),
        ("scale", TensorProto.DOUBLE, []),
    )
    assert read_signature(path) == (
        Input(name="ids", kind="int64", dims=("n", "length")),
        Input(name="flags", kind="bool", dims=("n", "flags.1")),
        Input(name="scale", kind="float64", dims=()),
    )


def test_inputs_have_the_types_and_shapes_that_the_signature_asks_for(tmp_path: Path) -> None:
    path = write(
        tmp_path / "several.onnx",
        ("ids", TensorProto.INT64, ["n", "length"]),
        ("half", TensorProto.FLOAT16, ["n", 3, 8]),
        ("scale", TensorProto.FLOAT, []),
    )
    made = make_inputs(read_signature(path), 4, sizes={"length": 6}, seed=1)
    assert [(name, str(one.dtype), one.shape) for name, one in made.items()] == [
        ("ids", "int64", (4, 6)),
        ("half", "float16", (4, 3, 8)),
        ("scale", "float32", ()),
    ]
    assert set(np.unique(made["ids"])) == {0, 1}
    again = make_inputs(read_signature(path), 4, sizes={"length": 6}, seed=1)
    assert all(np.array_equal(made[name], again[name]) for name in made)


def test_other_names_get_the_same_numbers() -> None:
    one = make_inputs((Input(name="x", kind="float32", dims=("n", 5)),), 3)
    other = make_inputs((Input(name="pixels", kind="float32", dims=("batch", 5)),), 3)
    assert np.array_equal(one["x"], other["pixels"])


def test_free_size_without_a_number_is_named() -> None:
    signature = (Input(name="x", kind="float32", dims=("n", 3, "height")),)
    with pytest.raises(OptionError, match=r"'x' has a free size 'height'.*--size height=N"):
        shapes(signature, 1)
    assert shapes(signature, 2, {"height": 7}) == ((2, 3, 7),)


def test_fixed_batch_takes_no_other() -> None:
    signature = (Input(name="x", kind="float32", dims=(1, 3)),)
    assert shapes(signature, 1) == ((1, 3),)
    with pytest.raises(OptionError, match="made for batch 1, not 8"):
        shapes(signature, 8)


def test_second_name_of_the_batch_can_be_said() -> None:
    signature = tuple(
        Input(name=name, kind="int64", dims=(f"{name}_rows", 2)) for name in ("ids", "mask")
    )
    assert shapes(signature, 5, parse_sizes(["mask_rows=batch"])) == ((5, 2), (5, 2))


@pytest.mark.parametrize("option", ["height", "height=", "=3", "height=0", "height=-1", "h=x"])
def test_size_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(OptionError, match="give NAME=N"):
        parse_sizes([option])


def test_text_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such ONNX file"):
        read_signature(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(LoadError, match="no ONNX file"):
        read_signature(tmp_path / "broken.onnx")
    for kind in (TensorProto.STRING, TensorProto.BFLOAT16):
        path = write(tmp_path / "odd.onnx", ("words", kind, ["n"]))
        with pytest.raises(LoadError, match="input 'words' is of a type"):
            read_signature(path)


def test_a_size_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ("x", TensorProto.FLOAT, ("batch", "width")))
    path.write_bytes(path.read_bytes().replace(b"width", b"widt\xe8"))
    with pytest.raises(LoadError, match="no ONNX file"):
        read_signature(path)
