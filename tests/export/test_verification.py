"""A run folder verified."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from torch import Tensor

from compressor import locks
from compressor.errors import FolderError, InputError, OptionError, SurroundingsError
from compressor.locks import LOCK_FILE
from export import verification
from export.golden import write_golden
from export.manifest import write_manifest
from export.onnx_files import OnnxFile
from export.prediction import Array, predict
from export.replays import REFERENCE, Runtime, find_runtimes
from export.verification import verify

FILE = "onnx/student.onnx"


@pytest.fixture(scope="module")
def model(pooled: OnnxFile, images: Tensor) -> tuple[bytes, Array, Array]:
    """An ONNX file's bytes, golden inputs and its outputs."""
    inputs = images[:4].numpy()
    return pooled.path.read_bytes(), inputs, predict(pooled.path, [inputs])


@pytest.fixture
def folder(model: tuple[bytes, Array, Array], tmp_path: Path) -> Path:
    content, inputs, outputs = model
    (tmp_path / "onnx").mkdir()
    (tmp_path / FILE).write_bytes(content)
    write_golden(tmp_path, inputs, {FILE: [outputs]})
    write_manifest(tmp_path, ("build",), 0, {})
    return tmp_path


def test_untouched_folder_passes_and_is_replayed(folder: Path) -> None:
    found = verify(folder)
    assert (found.passed, found.files) == (True, 2)
    assert [(one.file, one.runtime, one.samples, one.passed) for one in found.replays] == [
        (FILE, runtime.name, 4, True) for runtime in find_runtimes()[0]
    ]
    assert found.skipped == find_runtimes()[1]


@pytest.mark.parametrize("seed", range(3))
def test_one_changed_bit_anywhere_is_seen(seed: int, folder: Path) -> None:
    places = random.Random(seed)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(changed)
        try:
            assert not verify(folder).passed, path
        except FolderError:
            assert path.name == "manifest.json"
        path.write_bytes(whole)
    assert verify(folder).passed


def test_changed_file_is_named_and_not_run(folder: Path) -> None:
    with (folder / FILE).open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\0\0\0\0")
    found = verify(folder)
    assert (found.passed, found.replays) == (False, ())
    assert found.differences[0].startswith(f"{FILE}: sha256")


def test_file_that_answers_otherwise_is_named(
    model: tuple[bytes, Array, Array], folder: Path
) -> None:
    write_golden(folder, model[1], {FILE: [model[2] * 1.01]})
    write_manifest(folder, ("build",), 0, {})
    found = verify(folder)
    assert not found.passed
    assert "golden outputs differ by" in found.differences[0]


def test_a_file_has_a_tolerance_of_its_own(model: tuple[bytes, Array, Array], folder: Path) -> None:
    write_golden(folder, model[1], {FILE: [model[2] * 1.01]}, tolerances={FILE: 0.02})
    write_manifest(folder, ("build",), 0, {})
    assert {one.tolerance for one in verify(folder).replays} == {0.02}


def test_what_another_runtime_cannot_run_is_skipped_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Array]:
        raise InputError("no such operator")

    odd = Runtime(name="odd", answer=fail)
    monkeypatch.setattr(verification, "find_runtimes", lambda: ((REFERENCE, odd), ()))
    found = verify(folder)
    assert found.passed
    assert found.skipped == (f"{FILE} in odd: no such operator",)
    monkeypatch.setattr(verification, "find_runtimes", lambda: ((odd,), ()))
    monkeypatch.setattr(verification, "REFERENCE", odd)
    assert verify(folder).differences == (f"{FILE}: no such operator",)


def test_a_file_without_golden_outputs_is_named(folder: Path) -> None:
    other = folder / "onnx/student-bf16.onnx"
    other.write_bytes((folder / FILE).read_bytes())
    write_manifest(folder, ("build",), 0, {})
    found = verify(folder)
    assert found.passed
    told = [line for line in found.skipped if line.startswith("onnx/student-bf16.onnx: ")]
    assert len(told) == 1
    assert "no golden outputs" in told[0]


def test_a_signed_folder_is_not_verified_without_a_key(folder: Path) -> None:
    (folder / "model.sig").write_bytes(b"{}")
    with pytest.raises(OptionError, match="is signed: give --public-key PEM"):
        verify(folder)
    found = verify(folder, skip_signature=True)
    assert (found.passed, found.signed) == (True, False)
    assert found.skipped[0] == "model.sig: as asked"


def test_golden_outputs_of_an_absent_or_outside_file_are_named(
    model: tuple[bytes, Array, Array], folder: Path
) -> None:
    write_golden(folder, model[1], {"../x.onnx": [model[2]], "none.onnx": [model[2]]})
    write_manifest(folder, ("build",), 0, {})
    assert len(verify(folder).differences) == 2


def test_golden_file_that_is_torn_is_refused(folder: Path) -> None:
    (folder / "golden.npz").write_bytes(b"PK torn")
    write_manifest(folder, ("build",), 0, {})
    with pytest.raises(FolderError, match=r"golden\.npz cannot be read"):
        verify(folder)


def test_golden_bytes_are_equal_for_equal_arrays(folder: Path, tmp_path: Path) -> None:
    first = write_golden(folder, np.ones((2, 3), np.float32), {"a": [np.zeros(2)]}).read_bytes()
    second = write_golden(folder, np.ones((2, 3), np.float32), {"a": [np.zeros(2)]}).read_bytes()
    assert first == second


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "onnx", "onnxscript"):
            raise ImportError("blocked " + name)
sys.meta_path.insert(0, Blocker())
from compressor.cli import main
sys.argv = ["compressor", "verify", sys.argv[1]]
main()
"""


def test_verification_runs_where_there_is_no_torch(folder: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", BLOCKED, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for runtime in find_runtimes()[0]:
        assert f"{FILE} in {runtime.name}: 4 samples differ by at most" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("verified: 2 files")


def test_a_folder_that_is_being_written_is_not_judged(folder: Path) -> None:
    here = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = locks._started(here.pid)
    owner = msgspec.structs.replace(locks._this_process("x"), pid=here.pid, started=started)
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(owner))
    with pytest.raises(SurroundingsError, match=f"is being written by process {here.pid}"):
        verify(folder)
    here.communicate()
    assert verify(folder).passed  # what a kill in the last moment left behind is no difference
