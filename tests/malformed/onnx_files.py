"""ONNX files and earlier results, as ``bench`` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.benchmarks.small_files import write_linear
from tests.malformed.cases import GONE, Case, Write, changed, later, spelled, spoiled
from tests.malformed.material import encoded, exported_files, picture, seal, write_files

QUICK = ("--runtimes", "onnxruntime", "--seconds", "0.3", "--processes", "3")
Dims = list[Any]


def bench(name: str, write: Write, says: str, *more: str, **others: Any) -> Case:
    """A file that ``bench`` refuses."""
    found = {"names": "net.onnx", **others}
    return Case(name=f"bench: {name}", write=write, command=("bench", "net.onnx", *QUICK, *more),
                says=says, **found)  # fmt: skip


def model(
    dims: Dims = ["batch", 4],  # noqa: B006
    kind: int = TensorProto.FLOAT,
    operator: str = "MatMul",
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", kind, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((4, 2), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def saved(made: Callable[[], onnx.ModelProto]) -> Write:
    return later("net.onnx", lambda: made().SerializeToString())


def changing(change: Callable[[onnx.ModelProto], object]) -> Write:
    def made() -> onnx.ModelProto:
        found = model()
        change(found)
        return found

    return saved(made)


def external(**facts: str) -> Callable[[onnx.ModelProto], None]:
    """The weight lies outside, says the file."""

    def change(found: onnx.ModelProto) -> None:
        weight = found.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in facts.items():
            entry = weight.external_data.add()
            entry.key, entry.value = key, value

    return change


def beside(content: bytes, **facts: str) -> Write:
    def write(folder: Path) -> None:
        (folder / "net.data").write_bytes(content)
        changing(external(location="net.data", **facts))(folder)

    return write


def outside(folder: Path) -> None:
    """The weight lies where the file says, one folder up."""
    (folder / "secret.data").write_bytes(bytes(32))
    found = model()
    external(location="../secret.data")(found)
    write_files(folder / "inner", {"net.onnx": found.SerializeToString()})


def linked_outside(folder: Path) -> None:
    (folder / "secret.data").write_bytes(bytes(32))
    (folder / "inner").mkdir()
    (folder / "inner/net.data").symlink_to("../secret.data")
    found = model()
    external(location="net.data")(found)
    write_files(folder / "inner", {"net.onnx": found.SerializeToString()})


def files() -> Iterator[Case]:
    yield bench("no file", lambda folder: None, "no such ONNX file")
    yield bench("a folder", lambda folder: (folder / "net.onnx").mkdir(), "no such ONNX file")
    contents: dict[str, Callable[[], bytes]] = {
        "of no bytes": lambda: b"",
        "of text": lambda: b"this is no network\n",
        "of zeros": lambda: bytes(300),
        "a picture": lambda: encoded(picture(), "PNG"),
        "cut at 0.3": lambda: model().SerializeToString()[:50],
        "without its last byte": lambda: model().SerializeToString()[:-1],
    }
    for name, make in contents.items():
        yield bench(name, later("net.onnx", make), "ONNX file")
    yield bench("without nodes", changing(lambda m: m.graph.ClearField("node")), "empty")
    yield bench("without outputs", changing(lambda m: m.graph.ClearField("output")), "empty")
    yield bench(
        "without inputs", changing(lambda m: m.graph.ClearField("input")), "export it again"
    )
    yield bench(
        "an input of texts", saved(lambda: model(kind=TensorProto.STRING)), "random inputs cannot"
    )
    yield bench(
        "an input of no type", saved(lambda: model(kind=TensorProto.UNDEFINED)), "cannot have"
    )
    yield bench("an input of no rank", changing(rankless), "random inputs cannot")
    yield bench("a size of zero", saved(lambda: model(["batch", 0])), "size")
    yield bench("a size below zero", saved(lambda: model(["batch", -4])), "size")
    yield bench("a size beyond memory", saved(lambda: model(["batch", 1 << 40])), "GB")
    yield bench("another batch", saved(lambda: model([3, 4])), "made for batch 3")
    yield bench("a free size", saved(lambda: model(["batch", "n"])), "--size n=N")
    yield bench(
        "an unknown operator",
        saved(lambda: model(operator="Magic")),
        "refuses the file",
        alone=True,
    )


def rankless(found: onnx.ModelProto) -> None:
    found.graph.input[0].type.tensor_type.ClearField("shape")


def weights_outside() -> Iterator[Case]:
    told = "beside"
    yield bench("weights that are absent", changing(external(location="net.data")), told)
    yield bench("weights at no place", changing(external()), told)
    yield bench("weights at an empty place", changing(external(location="")), told)
    yield bench("weights cut", beside(bytes(20)), told)
    yield bench("weights beyond the end", beside(bytes(40), offset="4096"), told)
    yield bench("weights before the begin", beside(bytes(40), offset="-8"), told)
    yield bench("weights at a place in words", beside(bytes(40), offset="first"), told)
    yield bench("weights longer than their file", beside(bytes(40), length="9999"), told)
    yield bench("weights in a folder", changing(external(location=".")), told)
    yield bench("weights from the root", changing(external(location="/etc/hostname")), "own folder")
    for name, write in (("above", outside), ("by a link above", linked_outside)):
        yield Case(
            name=f"bench: weights {name}",
            write=write,
            command=("bench", "inner/net.onnx", *QUICK),
            names="inner/net.onnx",
            says="own folder",
        )


def shipped_outside() -> Iterator[Case]:
    """In a folder whose manifest believes the file, ``verify`` says that it cannot be run."""

    def placed(change: Callable[[onnx.ModelProto], None]) -> Write:
        def write(folder: Path) -> None:
            write_files(folder / "out", exported_files())
            found = onnx.load_from_string(exported_files()["onnx/student.onnx"])
            change(found)
            (folder / "out/onnx/student.onnx").write_bytes(found.SerializeToString())
            seal(folder / "out")

        return write

    for name, location in (("are absent", "net.data"), ("lie above", "../../good.pt")):
        yield Case(
            name=f"verify: weights that {name}",
            write=placed(external(location=location)),
            command=("verify", "out"),
            names="student.onnx",
            says="NOT verified",
            status=1,
        )


EARLIER: dict[str, Any] = {
    "format": 1,
    "reference": "net.onnx",
    "files": [{"file": "net.onnx", "sha256": "ab" * 32}],
    "rows": [
        {
            "file": "net.onnx", "runtime": "onnxruntime", "device": "cpu", "precision": "float32",
            "batch": 1, "threads": 1, "speedup": 1.0, "interval": [0.9, 1.1],
        }
    ],
    "environment": {"cpu": "A Processor"},
}  # fmt: skip


def earlier(name: str, content: bytes, says: str = "no results of compressor bench") -> Case:
    def write(folder: Path) -> None:
        write_linear(folder / "net.onnx", 4)
        (folder / "old.json").write_bytes(content)

    return bench(f"against {name}", write, says, "--against", "old.json", names="old.json")


def against() -> Iterator[Case]:
    for name, content in spoiled(spelled(EARLIER)):
        yield earlier(f"what is {name}", content)
    changes: dict[str, tuple[tuple[str | int, ...], object]] = {
        "another format": (("format",), 9),
        "no environment": (("environment",), GONE),
        "an environment in a list": (("environment",), []),
        "rows in a table": (("rows",), {}),
        "a row in words": (("rows", 0), "fast"),
        "a row without a speed-up": (("rows", 0, "speedup"), GONE),
        "a row without threads": (("rows", 0, "threads"), GONE),
        "a speed-up in words": (("rows", 0, "speedup"), "fast"),
        "an interval of one end": (("rows", 0, "interval"), [1.0]),
        "files in words": (("files",), "net.onnx"),
        "a file without a hash": (("files", 0, "sha256"), GONE),
        "a reference in a number": (("reference",), 5),
    }
    for name, (path, value) in changes.items():
        yield earlier(f"what has {name}", spelled(changed(EARLIER, path, value)))
    yield earlier("another machine", spelled(EARLIER), "unlike environments")


def cases() -> Iterator[Case]:
    for family in (files, weights_outside, shipped_outside, against):
        yield from family()
