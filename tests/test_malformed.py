"""Malformed input: commands refuse it in one line, in bounded time, and leave nothing behind.

The inputs are those of ``tests/malformed``, one module for each family.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Ended, Run, call
from tests.malformed import corpus, weights
from tests.malformed.cases import Case
from tests.malformed.material import contents, place, program_file

ROOT = Path(__file__).resolve().parent.parent
CORPUS = tuple(corpus.cases())
SECONDS = 20  # of the processor; most cases take a twentieth of one
SECONDS_ALONE = 900  # of all that run in a process of their own
LONGEST_LINE = 1000
RESIDENT = (
    2.5e9  # torch and the runtimes alone are most of it; what is refused would be 4e9 or more
)
ALONE = tuple(case.name for case in CORPUS if case.alone)
FORMS: dict[str, Callable[[], bytes]] = {**weights.FORMS, "program.pt2": program_file}


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CORPUS]
    assert len(names) == len(set(names))
    assert len(names) >= 200
    for case in CORPUS:
        assert case.names
        assert case.status in (0, 1, 2)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in the test's folder: status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))

    def in_time(*arguments: str) -> Ended:
        with within(SECONDS):
            return call(arguments, monkeypatch, capsys)

    return in_time


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """An error where it takes more time of the processor; on a busy machine clocks say nothing."""

    def late(*_: object) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize(
    "case", [case for case in CORPUS if not case.alone], ids=lambda case: case.name
)
def test_malformed_input_ends_as_it_should(case: Case, tmp_path: Path, run: Run) -> None:
    place(tmp_path)
    case.write(tmp_path)
    before = contents(tmp_path)
    check(case, run(*case.command))
    assert case.status == 0 or contents(tmp_path) == before


def check(case: Case, ended: Ended) -> None:
    status, out, err = ended
    assert status == case.status, err or out
    if case.status != 2:
        assert err == ""
        assert case.names in out
        assert case.says in out
        return
    check_line(err)
    assert case.names in err
    assert case.says in err


def check_line(err: str) -> None:
    """One line of plain text that nobody would call endless."""
    assert err.startswith("error: "), err
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert len(err) < LONGEST_LINE, err[:LONGEST_LINE]
    assert err[:-1].isprintable(), ascii(err)


@pytest.fixture(scope="module")
def ended_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of the cases that need a process of their own, by name."""
    folder = tmp_path_factory.mktemp("alone")
    done = subprocess.run(
        [sys.executable, "-m", "tests.malformed.alone", str(folder), *ALONE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS_ALONE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["name"]: one for one in told}


@pytest.mark.parametrize("name", ALONE)
def test_what_would_fill_memory_is_refused_in_little(
    name: str, ended_alone: dict[str, dict[str, Any]]
) -> None:
    (case,) = (one for one in CORPUS if one.name == name)
    found = ended_alone[name]
    check(case, found["ended"])
    assert found["untouched"]
    assert found["peak_bytes"] < RESIDENT


# One of each entry point, as it is typed.
TYPED = (
    "zip.pt cut at 0.5", "program: cut at 0.5", "picture: PNG cut at 0.3", "train: one class",
    "report: report.json: truncated", "verify: manifest is nested deeply",
    "export: labels.json is a table", "journal: nested deeply", "bench: weights that are absent",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_the_same_in_a_process_of_its_own(name: str, tmp_path: Path) -> None:
    (case,) = (one for one in CORPUS if one.name == name)
    place(tmp_path)
    case.write(tmp_path)
    before = contents(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "compressor", *case.command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS_ALONE,
        check=False,
    )
    check(case, (done.returncode, done.stdout, done.stderr))
    assert contents(tmp_path) == before


def flipped(good: bytes, kind: str, drawn: random.Random) -> bytes:
    """A few bits or bytes of the file are others."""
    content = bytearray(good)
    for _ in range(drawn.randint(1, 4)):
        at = drawn.randrange(len(content))
        content[at] = (
            content[at] ^ 1 << drawn.randrange(8) if kind == "bits" else drawn.randrange(256)
        )
    return bytes(content)


def check_flips(file: str, kind: str, count: int, folder: Path, run: Run) -> None:
    """Some flips do no harm; what does is refused."""
    place(folder)
    good = FORMS[file]()
    drawn = random.Random(f"{file} {kind} {count}")
    own = () if file.endswith(".pt2") else ("--arch", "net.py:small", "--image-size", "8")
    for number in range(count):
        (folder / file).write_bytes(flipped(good, kind, drawn))
        status, _, err = run("analyze", "--teacher", file, *own)
        assert status in (0, 2), f"flip {number}: {err}"
        if status == 2:
            check_line(err)
            assert file in err


@pytest.mark.parametrize("file", FORMS)
@pytest.mark.parametrize("kind", ["bits", "bytes"])
def test_a_file_with_flipped_bits_loads_or_is_refused(
    file: str, kind: str, tmp_path: Path, run: Run
) -> None:
    check_flips(file, kind, 6, tmp_path, run)


@pytest.mark.slow
@pytest.mark.parametrize("file", FORMS)
@pytest.mark.parametrize("kind", ["bits", "bytes"])
def test_many_files_with_flipped_bits_load_or_are_refused(
    file: str, kind: str, tmp_path: Path, run: Run
) -> None:
    check_flips(file, kind, 300, tmp_path, run)
