"""The same command gives the same bytes, in another process, folder, locale and zone.

What cannot be equal is told in ``docs/design.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.teachers import write_teacher
from tests.test_builds import CASES, NETWORK, PTD, Case

ROOT = Path(__file__).resolve().parent.parent
SAME = ("analysis.json", "plan.json", "proof.json", "student.*", "onnx/*", "golden.npz",
        "labels.json", "preprocessor_config.json")  # fmt: skip
SURROUNDINGS = (
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC", "HOME": "/nowhere/a"},
    {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "HOME": "/nowhere/bb"},
)
# Source lines name the folder of the user's own file, and that alone of the path.
PLACES = ("here/work", "some where/else/work")
MASKS = (0o022, 0o077)


def work_in(folder: Path) -> None:
    """The user's own files, the same in both places."""
    folder.mkdir(parents=True)
    write_teacher(folder, NETWORK, "small", "attentive")


def run_twice(tmp_path: Path, *arguments: str) -> tuple[Path, Path]:
    """The command in two fresh processes at once, in unlike surroundings; their folders."""
    started = []
    for place, variables, mask in zip(PLACES, SURROUNDINGS, MASKS, strict=True):
        folder = tmp_path / place
        if not folder.exists():
            work_in(folder)
        kept = {
            name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "compressor", *arguments],
                cwd=folder,
                env={**kept, **variables, "PYTHONPATH": str(ROOT)},
                umask=mask,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    for process in started:
        told, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, told.decode()[-2000:]
    one, other = (tmp_path / place for place in PLACES)
    return one, other


def hashes(folder: Path, patterns: tuple[str, ...] = SAME) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def without_seconds(value: object) -> object:
    """A report's entries but for what clocks say."""
    if isinstance(value, dict):
        return {
            name: without_seconds(one)
            for name, one in value.items()
            if name not in ("seconds", "environment") and not name.endswith("_per_s")
        }
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


def build(case: Case, threads: int) -> tuple[str, ...]:
    """The command line of a case."""
    teacher = ("--teacher", f"{case.network}.pt") if case.make().trained_teacher else ()
    asked = [
        part
        for name in case.wishes.__slots__
        if (value := getattr(case.wishes, name)) is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    return (
        "build", *teacher, "--arch", f"net.py:{case.network}", "--data", "digits",
        "--image-size", "16", "--sparsity", str(case.sparsity), "--multiple-of", "1",
        "--recipe", case.recipe, "--form", case.form, *asked, "--epochs", "1",
        "--repair-images", "64", "--threads", str(threads), "--device", "cpu",
        "--bench-seconds", "0", "--out", "run",
    )  # fmt: skip


def assert_same(one: Path, other: Path) -> None:
    found = hashes(one)
    assert found == hashes(other)
    assert {"student.pt2", "student.safetensors", "onnx/student.onnx", "golden.npz"} <= set(found)
    reports = [json.loads((folder / "report.json").read_bytes()) for folder in (one, other)]
    assert without_seconds(reports[0]) == without_seconds(reports[1])


def test_a_build_gives_the_same_bytes_in_unlike_surroundings(tmp_path: Path) -> None:
    one, other = run_twice(tmp_path, *build(CASES[0], 1))
    assert_same(one / "run", other / "run")
    assert {"plan.json", "proof.json", "analysis.json"} <= set(hashes(one / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.name)
def test_every_recipe_gives_the_same_bytes_with_as_many_threads(
    case: Case, threads: int, tmp_path: Path
) -> None:
    one, other = run_twice(tmp_path, *build(case, threads))
    assert_same(one / "run", other / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--precision", "fp16,int8"),
        ("--static-batch", "--triton"),
        ("--fold", "--data", "synthetic"),
        ("--criterion", "auto", "--seed", "7"),
    ],
    ids=lambda options: options[0].strip("-"),
)
def test_options_change_nothing_about_it(options: tuple[str, ...], tmp_path: Path) -> None:
    command = list(build(Case(PTD, "structured"), 1))
    for name in options:
        if name in command:  # the later one must not be refused as given twice
            place = command.index(name)
            del command[place : place + 2]
    one, other = run_twice(tmp_path, *command, *options)
    assert_same(one / "run", other / "run")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_training_gives_the_same_weights(ending: str, threads: int, tmp_path: Path) -> None:
    one, other = run_twice(
        tmp_path, "train", "--arch", "net.py:small", "--data", "digits", "--image-size", "16",
        "--epochs", "1", "--threads", str(threads), "--device", "cpu", "--out", f"new.{ending}",
    )  # fmt: skip
    assert hashes(one, ("new.*t",)) == hashes(other, ("new.*t",))
    cards = [json.loads((folder / f"new.{ending}.json").read_bytes()) for folder in (one, other)]
    assert without_seconds(cards[0]) == without_seconds(cards[1])


@pytest.mark.slow
def test_exporting_gives_the_same_folder(tmp_path: Path) -> None:
    one, other = run_twice(
        tmp_path, "export", "small.pt", "--arch", "net.py:small", "--image-size", "16",
        "--threads", "1", "--static-batch", "--triton", "--out", "out",
    )  # fmt: skip
    found = hashes(one / "out", ("**/*.*",))
    assert found == hashes(other / "out", ("**/*.*",))
    assert {"student.pt2", "README.md", "bom.cdx.json", "manifest.json"} <= set(found)
