"""What fuzzing found, once each: inputs that ended in a traceback, or did not end."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.archives import is_arithmetic
from tests.fuzzing.corpus import SAMPLES, Corpus
from tests.fuzzing.outcomes import judge
from tests.fuzzing.targets import all_targets

DEEP = b"[" * 100_000 + b"]" * 100_000


def edited(name: str, *path: str | int, value: Any) -> Callable[[Corpus], bytes]:
    """A file of the corpus with one value replaced."""

    def make(corpus: Corpus) -> bytes:
        content = json.loads(corpus.read(name))
        holder = content
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
        return json.dumps(content).encode()

    return make


def typed(text: str) -> Callable[[Corpus], bytes]:
    return lambda corpus: text.encode()


def deep(corpus: Corpus) -> bytes:
    return DEEP


def cut_directory(corpus: Corpus) -> bytes:
    """The end of the archive is there, its list of entries is not."""
    content = bytearray(corpus.read("run/student.pt2"))
    place = content.rindex(b"PK\x01\x02")
    content[place : place + 4] = b"PK\x09\x09"
    return bytes(content)


def deep_model(corpus: Corpus) -> bytes:
    stream, old = io.BytesIO(), io.BytesIO(corpus.read("run/student.pt2"))
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(stream, "w") as after:
        for info in before.infolist():
            model = info.filename.endswith("model.json")
            after.writestr(info, DEEP if model else before.read(info))
    return stream.getvalue()


def bad_header(corpus: Corpus) -> bytes:
    header = b'{"x":{"dtype":"F32","shape":["../x"],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


def unknown_method(corpus: Corpus) -> bytes:
    """Entries that say they are packed in a way that nobody knows."""
    content = bytearray(corpus.read("run/golden.npz"))
    place = content.index(b"PK\x01\x02")
    content[place + 10 : place + 12] = b"\x63\x00"
    return bytes(content)


def packed_badly(corpus: Corpus) -> bytes:
    content = bytearray(corpus.read("run/golden.npz"))
    name = int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    content[30 + name : 34 + name] = b"\xff" * 4
    return bytes(content)


def bad_samples(header: bytes) -> Callable[[Corpus], bytes]:
    """Every entry has this header, and the right checksum."""

    def make(corpus: Corpus) -> bytes:
        stream, old = io.BytesIO(), io.BytesIO(corpus.read("run/golden.npz"))
        text = header.ljust(118) + b"\n"
        with zipfile.ZipFile(old) as before, zipfile.ZipFile(stream, "w") as after:
            for info in before.infolist():
                after.writestr(info, b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        return stream.getvalue()

    return make


def other_samples(corpus: Corpus) -> bytes:
    with np.load(io.BytesIO(corpus.read("run/golden.npz"))) as held:
        arrays = {name: held[name] for name in held.files}
    stream = io.BytesIO()
    np.savez(stream, **{**arrays, "input": arrays["input"][:, :, :3]})
    return stream.getvalue()


def answers_of_no_file(corpus: Corpus) -> bytes:
    with np.load(io.BytesIO(corpus.read("run/golden.npz"))) as held:
        arrays = {name: held[name] for name in held.files}
    answer = arrays["output/onnx/student.onnx"]
    stream = io.BytesIO()
    np.savez(stream, **{**arrays, f"output/{'x' * 300}": answer})
    return stream.getvalue()


RUN_MANIFEST, REPORT = "run/manifest.json", "full-report.json"
FOUND: dict[str, tuple[str, Callable[[Corpus], bytes]]] = {
    "a folder's name is too long": ("data", typed("x" * 300)),
    "the name of a network's file is too long": ("architecture", typed("x" * 300 + ".py:f")),
    "threads beyond 64 bits": ("command", typed(f"plan\n--sparsity\n.5\n--threads\n{2**70}")),
    "a seed below zero": ("command", typed("train\n--arch\nx\n--data\nd\n--out\no\n--seed\n-1")),
    "a side beyond all memory": ("numbers", typed(f".5\n.5\n{2**70}")),
    "a digit that is no number": ("sizes", typed("height=²\nx.3=7")),
    "a size beyond 64 bits": ("sizes", typed(f"height={2**70}\nx.3=7")),
    "a quota of superscripts": ("processor", typed("² ²")),
    "a drive in a drive": ("places", typed(r"C:\\C:\Uss\me and /root/a/b")),
    "a quota of no time": ("processor", typed("1 0")),
    "a manifest, deep": ("manifest", deep),
    "a manifest with an infinite seed": ("manifest", edited(RUN_MANIFEST, "seed", value=1e999)),
    "a manifest with half a character": (
        "manifest",
        edited(RUN_MANIFEST, "command", value=["\ud800"]),
    ),
    "a journal, deep": ("journal", deep),
    "a journal whose stages are a list": ("journal", edited("run/journal.json", "done", value=[])),
    "a journal whose phases are a list": (
        "journal",
        edited("run/journal.json", "done", value={"phases": []}),
    ),
    "a journal whose results are a list": (
        "journal",
        edited("run/journal.json", "done", "phases", "result", value=[]),
    ),
    "a journal of no inputs": (
        "journal",
        lambda corpus: b'{"format": 1, "key": "", "inputs": [], "done": {}}',
    ),
    "a card, deep": ("card", deep),
    "a card without channels": ("card", edited("small.pt.json", "preprocessing", "mean", value=[])),
    "a card without size": ("card", edited("small.pt.json", "preprocessing", "crop", value=[0, 0])),
    "preprocessing of a program, deep": ("program-preprocessing", deep),
    "preprocessing, deep": ("preprocessing", deep),
    "preprocessing of infinite size": (
        "preprocessing",
        edited("run/preprocessor_config.json", "crop_size", "height", value=1e999),
    ),
    "labels, deep": ("labels", deep),
    "half a character as a label": ("labels", lambda corpus: b'["\\ud800"]'),
    "a report, deep": ("report", deep),
    "a proof that is a number": ("report", edited(REPORT, "proof", value=0.5)),
    "a teacher without a name": ("report", edited(REPORT, "teacher", value={})),
    "metrics that are a number": ("report", edited(REPORT, "student", "metrics", value=7)),
    "benchmarks that are a number": ("report", edited(REPORT, "benchmarks", value=7)),
    "a load without subjects": ("report", edited(REPORT, "load", "goodput", value=[{}])),
    "images that are a list": ("report", edited(REPORT, "data", "evaluated", value=[])),
    "samples of unequal columns": (
        "samples",
        edited(f"run/{SAMPLES}", "samples", "cpu_ns", value=[1]),
    ),
    "a sample that is no time": (
        "samples",
        edited(f"run/{SAMPLES}", "samples", "wall_ns", 0, value=None),
    ),
    "a subject in between": (
        "samples",
        edited(f"run/{SAMPLES}", "samples", "subject", 0, value=0.5),
    ),
    "results of bench, deep": ("bench", deep),
    "a row of no runtime": ("bench", edited("bench.json", "rows", 0, value={"file": "b.onnx"})),
    "files that are texts": ("bench", edited("bench.json", "files", value=["x"])),
    "packages that are a number": (
        "bench",
        edited("bench.json", "environment", "packages", value=1),
    ),
    "measurements, deep": ("probe-cache", deep),
    "measurements that are not text": ("probe-cache", lambda corpus: b'{"x": "\xff"}'),
    "a staircase of fewer steps than widths": (
        "probe-cache",
        edited("cache.json", "measured", "staircases", 0, "seconds", value=[1.0]),
    ),
    "an archive whose directory is no directory": ("program", cut_directory),
    "weights that end as an archive does": ("checkpoint", cut_directory),
    "a program, deep": ("program", deep_model),
    "a student whose header lies": ("student", bad_header),
    "an ONNX file whose names are no text": (
        "onnx",
        lambda corpus: corpus.read("small.onnx").replace(b"MatMul", b"Mat\xff\xfel"),
    ),
    "golden samples whose header is no header": ("golden", bad_samples(b"{'descr': '<f4', 'sha")),
    "golden samples of a file of too long a name": ("golden", answers_of_no_file),
    "golden samples of another size": ("golden", other_samples),
    "golden samples packed in an unknown way": ("golden", unknown_method),
    "golden samples that do not unpack": ("golden", packed_badly),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused_or_taken(name: str, corpus: Corpus, tmp_path: Path) -> None:
    target, make = FOUND[name]
    finding = judge(all_targets()[target].open(corpus, tmp_path), make(corpus))
    assert finding is None, finding.trace


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9", "1 << 999999999", "2^9^9^9", "floor(1e999999999)", "Pow(9, Pow(9, 9))",
     "Pow(Integer(9), Integer('999999999'))", "((((9**64)**64)**64)**64)**64",
     "2**(s0 - s0 + 10**9)", f"0e{10**400}", f"s0**{10**400}", f"1.5**{10**400}",
     "Float('1e999999999')"],
)  # fmt: skip
def test_a_short_size_that_takes_for_ever_to_compute_is_refused(text: str) -> None:
    assert not is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    ["s0**2 + 3*s1", "Pow(Symbol('s77'), Integer(3))", "Pow(s0, -1)", "2*s0 - s1//4",
     "Mul(Integer(2), Symbol('s77', positive=True, integer=True))", "Pow(s0, Rational(1, 2))",
     " + ".join(f"Mul(Integer({n}), Symbol('s{n}'))" for n in range(200))],
)  # fmt: skip
def test_sizes_as_torch_writes_them_are_taken(text: str) -> None:
    assert is_arithmetic(text)
