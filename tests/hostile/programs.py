"""Exported programs whose text, not whose pickles, would run code where torch loads or runs them.

Each changes a plain archive, and leaves the folder ``trace`` behind where it succeeds.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = "net"
MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
Entries = dict[str, bytes]


class Net(nn.Module):
    """A parameter, a constant, a free batch, an operator on sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("shift", torch.ones(4, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) + self.shift).reshape(x.shape[0], -1)


def write_plain(file: Path) -> Path:
    """An archive that does no harm."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Net().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, file)
    return file


def entries_of(file: Path) -> Entries:
    """Entries by their names without the root."""
    with zipfile.ZipFile(file) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def packed(entries: Mapping[str, bytes], root: str = ROOT) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"{root}/{name}", content)
    return stream.getvalue()


class Folder:
    """Unpickling this makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return (os.mkdir, (str(self.trace),))


def pickled(trace: Path) -> bytes:
    stream = io.BytesIO()
    torch.save(((Folder(trace), b"0" * 10_000), {}), stream)
    return stream.getvalue()


def code(trace: Path) -> str:
    """A Python expression without double quotes."""
    return f"__import__('os').mkdir('{trace}')"


# -- changes of the text -----------------------------------------------------------------------


def renamed(entries: Entries, old: str, new: str) -> None:
    """Replace a whole text of the program, wherever it stands, as key or as value."""
    text = entries[MODEL].decode()
    quoted = json.dumps(old)
    assert quoted in text, old
    entries[MODEL] = text.replace(quoted, json.dumps(new)).encode()


def document(entries: Entries) -> Any:
    return json.loads(entries[MODEL])


def put(entries: Entries, changed: Any) -> None:
    entries[MODEL] = json.dumps(changed).encode()


def nodes_of(changed: Any) -> list[dict[str, Any]]:
    return list(changed["graph_module"]["graph"]["nodes"])


def signature_of(changed: Any) -> dict[str, Any]:
    return dict(changed["graph_module"]["module_call_graph"][0]["signature"])


def argument_with_a_default(entries: Entries, trace: Path) -> None:
    renamed(entries, "x", f"x={code(trace)}")


def result_with_a_second_line(entries: Entries, trace: Path) -> None:
    renamed(entries, "conv2d", f"conv2d = None; {code(trace)}; conv2d")


def name_of_an_argument(entries: Entries, trace: Path) -> None:
    changed = document(entries)
    signature = changed["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"] = [f"x={code(trace)}"]
    put(entries, changed)


def name_of_a_parameter(entries: Entries, trace: Path) -> None:
    # Dots divide a name, and each part stands between double quotes in the source.
    harm = code(trace).replace(".mkdir", " or 1, getattr(__import__('os'), 'mkdir')")
    bad = f'conv.__class__"), {harm}, ("'
    renamed(entries, "conv.weight", bad)
    config = "data/weights/model_weights_config.json"
    entries[config] = entries[config].replace(b'"conv.weight"', json.dumps(bad).encode())


def guard(entries: Entries, trace: Path) -> None:
    changed = document(entries)
    changed["guards_code"] = [code(trace)]
    put(entries, changed)


def size(entries: Entries, trace: Path) -> None:
    text = entries[MODEL].decode()
    symbol = text.split('"expr_str": "')[1].split('"')[0]
    entries[MODEL] = text.replace(
        f'"expr_str": "{symbol}"', f'"expr_str": {json.dumps(code(trace))}'
    ).encode()


def size_inside_a_tensor_called_metadata(entries: Entries, trace: Path) -> None:
    size(entries, trace)
    renamed(entries, "x", "metadata")


def operator(
    target: str, *inputs: tuple[str, dict[str, Any]], result: bool = True
) -> Callable[[Entries, Path], None]:
    """One more operator in front; ``TRACE`` in a text stands for the trace."""

    def change(entries: Entries, trace: Path) -> None:
        changed = document(entries)
        graph = changed["graph_module"]["graph"]
        arguments = [
            {
                "name": name,
                "arg": json.loads(json.dumps(one).replace("TRACE", str(trace))),
                "kind": 1,
            }
            for name, one in inputs
        ]
        node = {**graph["nodes"][0], "target": target, "inputs": arguments, "outputs": [],
                "metadata": {}, "name": "extra", "is_hop_single_tensor_return": True}  # fmt: skip
        if result:  # of the whole, since what nobody reads is not run
            node["outputs"] = [{"as_tensor": {"name": "extra"}}]
            signature = changed["graph_module"]["signature"]
            (output,) = signature["output_specs"]
            output["user_output"]["arg"] = graph["outputs"][0] = node["outputs"][0]
            graph["tensor_values"]["extra"] = graph["tensor_values"]["conv2d"]
        graph["nodes"].insert(0, node)
        changed["verifiers"] = []
        put(entries, changed)

    return change


def structure(kind: str, context: Any) -> Callable[[Entries, Path], None]:
    """The structure of the outputs replaced."""

    def change(entries: Entries, trace: Path) -> None:
        changed = document(entries)
        leaf = {"type": None, "context": None, "children_spec": []}
        told = json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])
        module = trace.name
        (trace.parent / f"{module}.py").write_text(f"{code(trace.with_suffix('.d'))}\nOne = int\n")
        told = told.replace("MODULE", module)
        changed["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = told
        put(entries, changed)

    return change


MKDIR = {"as_operator": "torch.os.mkdir"}
ENUMERATION = '{"\\u005f_enum__": true, "fqn": "MODULE:One", "name": "a"}'
FACTORY = {"default_factory_module": "MODULE", "default_factory_name": "One", "dict_context": []}


def text(value: str) -> dict[str, Any]:
    return {"as_string": value}


TEXTS: Mapping[str, Callable[[Entries, Path], None]] = {
    "argument with a default": argument_with_a_default,
    "result with a second line": result_with_a_second_line,
    "name of an argument": name_of_an_argument,
    "name of a parameter": name_of_a_parameter,
    "guard": guard,
    "size": size,
    "size of a tensor called metadata": size_inside_a_tensor_called_metadata,
    "function torch.os.mkdir": operator("torch.os.mkdir", ("", text("TRACE"))),
    "function of functions": operator("_operator.call", ("", MKDIR), ("", text("TRACE"))),
    "function methodcaller": operator("_operator.methodcaller", ("", text("mkdir"))),
    "operator inside a block": operator(
        "torch.ops.higher_order.wrap",
        ("", {"as_operator": "torch.ops.aten.from_file.default"}),
        ("", text("TRACE")),
        ("", {"as_bool": True}),
        ("", {"as_int": 4}),
    ),
    "operator from_file": operator(
        "torch.ops.aten.from_file.default",
        ("filename", text("TRACE")),
        ("shared", {"as_bool": True}),
        ("size", {"as_int": 4}),
    ),
    "operator save": operator(
        "torch.ops.aten.save.default",
        ("item", {"as_tensor": {"name": "x"}}),
        ("filename", text("TRACE")),
        result=False,
    ),
    "operator write_file": operator(
        "torch.ops.image.write_file.default",
        ("filename", text("TRACE")),
        ("data", {"as_tensor": {"name": "x"}}),
        result=False,
    ),
    "operator delegate": operator("torch.ops.higher_order.aoti_call_delegate", ("", text("TRACE"))),
    "enumeration": structure("builtins.dict", ENUMERATION),
    "defaultdict": structure("collections.defaultdict", FACTORY),
}


# -- changes of the archive --------------------------------------------------------------------


def two_directories(entries: Entries, trace: Path) -> bytes:
    """A zip file in which one reader sees plain sample inputs, and another one a payload.

    Python's zipfile takes the directory that ends at the end record, torch's reader the one at the
    place that the record names.
    """
    harmful = packed({**entries, SAMPLES: pickled(trace)})
    harmless = packed(entries)
    (size_of, first), (other_size, second) = ends(harmful), ends(harmless)
    assert size_of == other_size
    assert first >= second
    directory = bytearray(harmless[second : second + size_of])
    place = 0
    while place < size_of:  # where each entry begins, by Python's reckoning
        name, extra, comment = struct.unpack_from("<HHH", directory, place + 28)
        (begins,) = struct.unpack_from("<I", directory, place + 42)
        struct.pack_into("<I", directory, place + 42, begins + first - second)
        place += 46 + name + extra + comment
    end = harmful[-END_RECORD:]
    return harmful[: first + size_of] + harmless[:second] + bytes(directory) + end


END_RECORD = 22


def ends(archive: bytes) -> tuple[int, int]:
    """Size and start of the directory, as the end record names them."""
    size_of, start = struct.unpack_from("<II", archive, len(archive) - END_RECORD + 12)
    return int(size_of), int(start)


def replaced(name: str) -> Callable[[Entries, Path], bytes]:
    """A pickle in the place of an entry, or as one more."""
    return lambda entries, trace: packed({**entries, name: pickled(trace)})


def stored_as_pickle(kind: str) -> Callable[[Entries, Path], bytes]:
    """A weight or constant whose table says that it is a pickle."""
    config, number = (
        f"data/{kind}/model_{kind}_config.json",
        {"weights": "weight_0"}.get(kind, "tensor_0"),
    )

    def change(entries: Entries, trace: Path) -> bytes:
        changed = json.loads(entries[config])
        for one in changed["config"].values():
            one["use_pickle"] = one["path_name"] == number
        return packed({**entries, config: json.dumps(changed).encode(),
                       f"data/{kind}/{number}": pickled(trace)})  # fmt: skip

    return change


def object_among_constants(prefix: str) -> Callable[[Entries, Path], bytes]:
    """A custom object, which is unpickled, in the place of a constant."""
    config = "data/constants/model_constants_config.json"

    def change(entries: Entries, trace: Path) -> bytes:
        changed = json.loads(entries[config])
        for one in changed["config"].values():
            one |= {"path_name": f"{prefix}0", "use_pickle": True}
        return packed({**entries, config: json.dumps(changed).encode(),
                       f"data/constants/{prefix}0": pickle.dumps(Folder(trace))})  # fmt: skip

    return change


def of_an_older_torch(entries: Entries, trace: Path) -> bytes:
    """The zip form that ``torch.export.save`` wrote before archives."""
    old = {
        "version": b"8.1",
        "serialized_exported_program.json": entries[MODEL],
        "serialized_state_dict.json": pickled(trace),
        "serialized_constants.json": pickled(trace),
        "serialized_example_inputs.pt": pickled(trace),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in old.items():
            archive.writestr(name, content)
    return stream.getvalue()


# What this or an earlier torch stops by itself; it is to be refused all the same.
NOT_LIVE = frozenset(
    (
        "result with a second line", "name of an argument", "function torch.os.mkdir",
        "function of functions", "function methodcaller", "operator save", "operator write_file",
        "operator delegate", "custom object", "compiled library",
    )
)  # fmt: skip

ARCHIVES: Mapping[str, Callable[[Entries, Path], bytes]] = {
    "sample inputs": replaced(SAMPLES),
    "weights of an older form": replaced("data/weights/model.pt"),
    "constants of an older form": replaced("data/constants/model.pt"),
    "pickled weight": stored_as_pickle("weights"),
    "pickled constant": stored_as_pickle("constants"),
    "custom object": object_among_constants("custom_obj_"),
    "opaque object": object_among_constants("opaque_obj_"),
    "compiled library": replaced("data/aotinductor/model/model.so"),
    "archive of an older torch": of_an_older_torch,
    "two directories": two_directories,
}


def hostile(plain: Path, trace: Path) -> Iterator[tuple[str, bytes]]:
    """Every one of them by name, as a file's content; each has a trace of its own."""
    for name, change in TEXTS.items():
        entries = entries_of(plain)
        change(entries, trace_of(trace, name))
        yield name, packed(entries)
    for name, make in ARCHIVES.items():
        yield name, make(entries_of(plain), trace_of(trace, name))


def trace_of(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "_").replace(".", "_")


def overlapping(archive: bytes) -> bytes:
    """All entries of one length lie where the longest one lies."""
    size_of, start = ends(archive)
    content = bytearray(archive)
    place, sizes = start, []
    while place < start + size_of:
        (stored,) = struct.unpack_from("<I", content, place + 20)
        name, extra, comment = struct.unpack_from("<HHH", content, place + 28)
        sizes.append((stored, place))
        place += 46 + name + extra + comment
    model = max(sizes)[1]
    for _, other in sizes[-9:]:  # the last ones claim the length and the place of the longest
        for offset in (16, 20, 24, 42):
            content[other + offset : other + offset + 4] = content[
                model + offset : model + offset + 4
            ]
    return bytes(content)
