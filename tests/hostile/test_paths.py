"""Names and places: nothing is read or written outside its folder, no name reaches a shell."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unicodedata import category

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from onnx import TensorProto, helper
from PIL import Image

from benchmarks import raw_samples
from compressor.archives import read_program
from compressor.building import data_identity
from compressor.cards import Accuracy, Card, card_path, encode_card
from compressor.errors import ArchitectureError, DataError, FolderError, LoadError
from compressor.files import sha256
from compressor.folders import decode, list_images
from compressor.loading import load
from compressor.runs import open_run
from compressor.types import Preprocessing
from export.golden import write_golden
from export.manifest import write_manifest
from export.triton import write_repository
from export.verification import verify
from tests.benchmarks.reports import sample_file, small_report
from tests.commands import Run, call
from tests.hostile import places, programs

PICTURES = Preprocessing(crop=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
NO_TEXT = os.fsdecode(b"caf\xe9")  # Latin-1


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in an empty folder: status, output, errors."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    return lambda *arguments: call(arguments, monkeypatch, capsys)


# -- names ---------------------------------------------------------------------------------------

TOUCH = "$(touch ran)"
NAMES = (
    f"a b;{TOUCH}", "`touch ran`'\"", "-rf", "--out", f"x\n{TOUCH}\n", "a\x1b[2Jb\x07",
    "[red]x[link=y]", "<script>alert(1)<", "=cmd|' !A1", "{{ 7 * 7 }}", "\u202egnp.exe", "*", "~",
    "%s%n", "&& touch ran", "| touch ran", "> ran", "..", "CON",
)  # fmt: skip
# No class may be called so: "..", and names with control characters (``folders``).
CLASSES = tuple(
    name for name in NAMES if name != ".." and not any(category(one) == "Cc" for one in name)
)


def pictures(folder: Path) -> Path:
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for one in range(4):
            picture = Image.new("RGB", (8, 8), (12 * number, 60 * one, 9))
            picture.save(folder / name / f"{one} {TOUCH}.png")
    return folder


@pytest.mark.slow
def test_no_name_reaches_a_shell_or_the_terminal_as_a_command(tmp_path: Path, run: Run) -> None:
    """A whole build, its check, its report, its export and a benchmark, among odd names."""
    place = tmp_path / NAMES[0] / NAMES[4]
    place.mkdir(parents=True)
    network = places.NETWORK.replace("num_classes=2", f"num_classes={len(CLASSES)}")
    (place / f"n {TOUCH}.py").write_text(network)
    namespace: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(network, namespace)
    teacher = place / f"-t{TOUCH}\x1b[31m'\"[red]\n<b>.pt"
    torch.save(namespace["small"]().state_dict(), teacher)
    data = pictures(place / f"d {TOUCH}\n[link=x]")
    out = place / f"run\n{TOUCH}[bold]"
    arch = f"{place / f'n {TOUCH}.py'}:small"
    build = (
        "build", "--teacher", str(teacher), "--arch", arch, "--data", str(data), "--sparsity",
        "0.4", "--multiple-of", "1", "--epochs", "0", "--bench-seconds", "0", "--threads", "1",
        "--triton", "--image-size", "8", "--out", str(out),
    )  # fmt: skip
    exported = place / "-e; touch ran"
    commands = (
        build, build, ("verify", str(out)), ("report", str(out)),
        ("report", "--markdown", str(out)), ("export", str(out), "--out", str(exported)),
        ("verify", str(exported)),
        ("bench", str(exported / "onnx/student.onnx"), "--seconds", "0.1", "--processes", "3",
         "--runtimes", "onnxruntime"),
        ("report", str(out), str(out), "--html", str(place / "both.html")),
        ("analyze", "--teacher", str(teacher), "--arch", arch, "--image-size", "8", "--html",
         str(place / "net.html")),
    )  # fmt: skip
    for command in commands:
        status, said, err = run(*command)
        assert (status, err) == (0, ""), command
        assert "\x1b" not in said
        assert "\x07" not in said
        if command[0] != "report":
            assert not [line for line in said.splitlines() if line.startswith(TOUCH)]
    assert json.loads((exported / "labels.json").read_bytes()) == sorted(CLASSES)
    assert list(tmp_path.rglob("ran")) == []
    page = (out / "report.html").read_text()
    assert "<script>alert" not in page
    card = MarkdownIt("commonmark", {"html": True}).render((out / "README.md").read_text())
    assert "&lt;b&gt;" in card
    assert "<b>" not in card


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_is_one_line_that_shows_the_name_as_typed(name: str, run: Run) -> None:
    status, out, err = run("analyze", f"--teacher={name}")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert all(one.isprintable() for one in err.strip())


def test_names_that_are_no_text_are_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    status, _, err = run("analyze", "--teacher", f"{NO_TEXT}.pt")
    assert (status, err) == (2, "error: caf\\udce9.pt: not UTF-8; rename that file or folder\n")
    (tmp_path / "data" / NO_TEXT).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / NO_TEXT / "a.png")
    with pytest.raises(DataError, match="not UTF-8; rename it"):
        list_images(tmp_path / "data")


def test_pictures_may_have_names_that_are_no_text(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / f"{NO_TEXT}.png")
    listing = list_images(tmp_path)
    assert decode(listing.files, PICTURES).pixels[0, :, 0, 0].tolist() == [1, 2, 3]
    assert len(data_identity(str(tmp_path))["files"]) == 64


@given(st.text(min_size=1))
@settings(deadline=None, max_examples=50)
def test_what_a_served_model_is_called_stays_in_the_repository(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("t")
    try:
        place = write_repository(folder, SERVED, name)
    finally:
        found = list(folder.rglob("*"))
    assert place.parent == folder / "triton"
    assert {one.relative_to(place).as_posix() for one in found if one.is_file()} == {
        "config.pbtxt", "1/model.onnx",
    }  # fmt: skip
    assert place.name not in ("", ".", "..")


# -- pictures ------------------------------------------------------------------------------------

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
showpage
%%EOF
"""
OPEN_PICTURE = """
import sys
from PIL import Image
try:
    Image.open(sys.argv[1]).load()
except OSError:
    pass
"""


def test_a_picture_of_another_kind_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow hands PostScript to Ghostscript, whatever a file is called; here it is a trap."""
    trap = tmp_path / "bin" / "gs"
    trap.parent.mkdir()
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    trap.chmod(trap.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{trap.parent}:{os.environ['PATH']}")
    file = tmp_path / "pictures" / "a.png"
    file.parent.mkdir()
    file.write_bytes(EPS)
    with pytest.raises(DataError, match="not a readable picture"):
        decode((file,), PICTURES)
    assert not (tmp_path / "ran").exists()
    subprocess.run([sys.executable, "-c", OPEN_PICTURE, str(file)], check=True)
    assert (tmp_path / "ran").exists()  # the trap works


# -- links and folders ---------------------------------------------------------------------------


def test_a_run_folder_with_a_link_is_not_written_into(tmp_path: Path) -> None:
    folder, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    inputs = {"a": 1}
    made = open_run(folder, inputs)
    made.begin()
    assert open_run(folder, inputs).done == {}
    (folder / "onnx").symlink_to(outside)
    for restart in (False, True):
        with pytest.raises(FolderError, match="is a link"):
            open_run(folder, inputs, restart=restart)
    assert outside.is_dir()


@pytest.mark.parametrize(
    "name",
    ["benchmarks/../../secret.json", "../secret.json", "/etc/passwd", "benchmarks/link.json",
     "benchmarks/folder/secret.json", "..\\secret.json", "benchmarks", 7],
)  # fmt: skip
def test_samples_are_read_inside_the_folder_alone(name: object, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "benchmarks").mkdir(parents=True)
    (tmp_path / "secret.json").write_bytes(msgspec.json.encode(sample_file()))
    (folder / "benchmarks/link.json").symlink_to(tmp_path / "secret.json")
    (folder / "benchmarks/folder").symlink_to(tmp_path)
    report = small_report()
    report["benchmarks"][0]["samples"] = name
    assert raw_samples.read(folder, report) == {}


def test_a_folder_of_samples_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    name = small_report()["benchmarks"][0]["samples"]
    (tmp_path / "other" / Path(name).name).write_bytes(msgspec.json.encode(sample_file()))
    (tmp_path / "run/benchmarks").symlink_to(tmp_path / "other")
    assert raw_samples.read(tmp_path / "run", small_report()) == {}


# -- archives ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.write_plain(tmp_path_factory.mktemp("plain") / "net.pt2")


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/evil", "extra/../../evil", "C:/evil", "extra\\..\\evil", "extra/a/b",
     "data/weights/../weight_0", "extra//x", "extra/.", "models/../models/model.json"],
)  # fmt: skip
def test_entries_that_point_elsewhere_are_refused(name: str, plain: Path, tmp_path: Path) -> None:
    entries = {**programs.entries_of(plain), name: b"x"}
    file = tmp_path / "net.pt2"
    file.write_bytes(programs.packed(entries))
    with pytest.raises(LoadError, match="refused"):
        read_program(file)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["net.pt2"]


def test_entries_on_top_of_each_other_are_refused(plain: Path, tmp_path: Path) -> None:
    """One stored block under many names: a small file that would be read as a large one."""
    entries = programs.entries_of(plain) | {f"data/weights/weight_{n}": b"0" for n in range(90, 99)}
    content = bytearray(programs.packed(entries))
    big = content.index(b"data/weights/weight_0")
    assert big > 0
    file = tmp_path / "net.pt2"
    file.write_bytes(programs.overlapping(bytes(content)))
    with pytest.raises(LoadError, match=r"on top of each other|truncated"):
        read_program(file)


# -- weights beside an ONNX file -----------------------------------------------------------------


def write_external(file: Path, location: str) -> Path:
    """A model whose weight is the first 16 bytes of another file."""
    weight = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")
    ]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(model.SerializeToString())
    return file


SECRET = np.arange(1, 5, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a model lies, with a secret outside and links to it."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    inner = tmp_path / "run" / "onnx"
    inner.mkdir(parents=True)
    (inner / "own.bin").write_bytes(SECRET.tobytes())
    return tmp_path / "run"


LOCATIONS = ("../../secret.bin", "SECRET", "link.bin", "away/secret.bin", "./../../secret.bin",
             "x/../../../secret.bin", "..\\..\\secret.bin", "*/_ORT_MEM_ADDR_/*")  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_outside_the_folder_are_not_read(location: str, folder: Path, run: Run) -> None:
    """Golden answers are those of the secret: a folder that read it would be verified."""
    secret = folder.parent / "secret.bin"
    (folder / "onnx/link.bin").symlink_to(secret)
    (folder / "onnx/away").symlink_to(folder.parent)
    file = write_external(folder / "onnx/student.onnx", location.replace("SECRET", str(secret)))
    inputs = np.zeros((1, 4), np.float32)
    write_golden(folder, inputs, {"onnx/student.onnx": [SECRET[None]]})
    write_manifest(folder, ("build",), 0, {})
    found = verify(folder)
    assert not found.passed
    assert [one for one in found.replays if one.max_abs_error < 1] == []
    status, _, err = run(
        "bench", str(file), "--runtimes", "onnxruntime", "--seconds", "0.1", "--processes", "3"
    )
    assert status in (2, 3)
    assert err.count("\n") == 1


def test_weights_beside_the_file_are_read(folder: Path) -> None:
    """That the golden answers above are those of the weights."""
    write_external(folder / "onnx/student.onnx", "own.bin")
    write_golden(folder, np.zeros((1, 4), np.float32), {"onnx/student.onnx": [SECRET[None]]})
    write_manifest(folder, ("build",), 0, {})
    assert verify(folder).passed


def test_no_library_of_operators_is_loaded_for_a_file(tmp_path: Path, run: Run) -> None:
    node = helper.make_node("Harm", ["x"], ["y"], domain="evil.operators", library="./evil.so")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    sets = [helper.make_opsetid("", 20), helper.make_opsetid("evil.operators", 1)]
    file = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), file)
    with pytest.raises(Exception, match=r"evil\.operators"):
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    status, _, err = run("bench", str(file), "--seconds", "0.1", "--processes", "3",
                         "--runtimes", "onnxruntime")  # fmt: skip
    assert status == 2
    assert "evil.operators" in err


XML = """<?xml version="1.0"?>
<!DOCTYPE net [<!ENTITY secret SYSTEM "file://SECRET">]>
<net name="&secret;" version="11"><layers><layer id="0" name="&secret;"/></layers></net>
"""


def test_xml_is_no_model_file(tmp_path: Path, run: Run) -> None:
    (tmp_path / "secret").write_text("told")
    for name in ("net.xml", "net.onnx"):
        (tmp_path / name).write_text(XML.replace("SECRET", str(tmp_path / "secret")))
        status, out, err = run("bench", str(tmp_path / name))
        assert (status, err.count("\n")) == (2, 1)
        assert "told" not in out + err


# -- architectures -------------------------------------------------------------------------------


def card_of(weights: Path, architecture: str) -> None:
    card = Card(
        sha256=sha256(weights), architecture=architecture, classes=("a", "b"),
        preprocessing=PICTURES, data="x", images=1, seed=0, epochs=1.0, seconds=1.0,
        validation=Accuracy(images=1, top1=1.0), test=None,
    )  # fmt: skip
    card_path(weights).write_bytes(encode_card(card))


@pytest.mark.parametrize(
    "architecture",
    ["timm:hf-hub:evil/model", "timm:hf_hub:evil/model", "timm:local-dir:HERE", "HERE/evil.py:make",
     "evil.py:make", "torchvision:../evil", "torchvision:get_model", "torchvision:__import__",
     "torch.hub:evil/model", "timm:resnet18.hf-hub:evil/model"],
)  # fmt: skip
def test_a_card_names_no_code_and_no_place_to_load_from(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.write_harmless(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = f"import os; os.mkdir({str(tmp_path / 'ran')!r})\nmake = None\n"
    (tmp_path / "evil.py").write_text(code)
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "auto_map": {"AutoModel": "evil.make"}})
    )
    card_of(tmp_path / "small.pt", architecture.replace("HERE", str(tmp_path)))
    with pytest.raises(ArchitectureError):  # named code is refused, other weights not recognised
        load(tmp_path / "small.pt")
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_transformers_is_no_teacher(tmp_path: Path, run: Run) -> None:
    """Its configuration names code of its own, which is never fetched or run."""
    folder = tmp_path / "model"
    folder.mkdir()
    code = f"import os; os.mkdir({str(tmp_path / 'ran')!r})\n"
    (folder / "modeling_evil.py").write_text(code)
    told = {"model_type": "evil", "auto_map": {"AutoModel": "modeling_evil.Evil"},
            "architectures": ["Evil"], "trust_remote_code": True}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(told))
    for command in (
        ("analyze", "--teacher", str(folder)),
        ("analyze", "--teacher", str(folder / "config.json")),
        ("export", str(folder), "--out", str(tmp_path / "out")),
        ("build", "--teacher", str(folder), "--sparsity", "0.5"),
        ("bench", str(folder / "config.json")),
    ):
        status, _, err = run(*command)
        assert (status, err.count("\n")) == (2, 1)
    assert not (tmp_path / "ran").exists()


SERVED = Path(__file__).with_name("none")


@pytest.fixture(scope="module", autouse=True)
def served(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A small file to serve under any name."""
    global SERVED
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    SERVED = tmp_path_factory.mktemp("served") / "net.onnx"
    onnx.save(helper.make_model(graph, ir_version=10), SERVED)
