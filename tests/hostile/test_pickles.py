"""Nothing that is read can run code: payloads, in every form of file, through every command."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version

from compressor.archives import read_program
from compressor.errors import LoadError
from compressor.loading import load
from tests.hostile import payloads, places, programs

ROOT = Path(__file__).parents[2]
# Of these nothing but a harmless program is left when they are read.
DISARMED = ("guard", "two directories")
CHILD = Path(__file__).with_name("child.py")


def child(job: dict[str, Any], cwd: Path) -> list[dict[str, Any]]:
    """What ``child.py`` tells."""
    done = subprocess.run(
        [sys.executable, str(CHILD)],
        input=json.dumps(job).encode(),
        capture_output=True,
        check=False,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{job['place']}", "HOME": str(cwd),
             "COMPRESSOR_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return places.write_harmless(tmp_path_factory.mktemp("harmless"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.write_plain(tmp_path_factory.mktemp("plain") / "net.pt2")


def traces(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_there_are_enough_payloads_and_they_use_every_dangerous_opcode(tmp_path: Path) -> None:
    used = set()
    for number, make in enumerate(payloads.PAYLOADS.values()):
        used |= payloads.opcodes(make(tmp_path / str(number)))
    assert {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "GLOBAL", "STACK_GLOBAL",
            "EXT1", "EXT2", "EXT4", "BINPERSID"} <= used  # fmt: skip
    assert len(payloads.PAYLOADS) >= 20


def test_every_payload_is_live(tmp_path: Path) -> None:
    """Unpickled as nothing of ours does, each leaves its trace, and the hook sees it."""
    folder = traces(tmp_path / "traces")
    named = {name: folder / str(n) for n, name in enumerate(payloads.PAYLOADS)}
    streams = [
        [name, base64.b64encode(make(named[name])).decode()]
        for name, make in payloads.PAYLOADS.items()
    ]
    told = child({"place": str(folder), "unpickle": streams}, tmp_path)
    assert [one["name"] for one in told if not named[one["name"]].is_dir()] == []
    assert [one["name"] for one in told if not one["seen"]] in ([], ["exec by its old name"])


class Attempts:
    """Commands with hostile files, each in a folder of its own, run in one process."""

    def __init__(self, tmp_path: Path, harmless: Path) -> None:
        self.folder, self.harmless = tmp_path, harmless
        self.traces = traces(tmp_path / "traces")
        self.names: list[str] = []
        self.commands: list[list[str]] = []

    def trace(self) -> Path:
        return self.traces / str(len(self.names))

    def add(self, name: str, content: bytes, place: places.Place) -> None:
        own = self.folder / "attempts" / str(len(self.names))
        own.mkdir(parents=True)
        self.names.append(name)
        self.commands.append(place(content, own, self.harmless))

    def require_harmless(self) -> None:
        """No trace, nothing looked up, and each refused in one line of ours."""
        told = child({"place": str(self.traces), "commands": self.commands}, self.folder)
        assert [one for one in self.traces.iterdir() if one.suffix not in (".py", ".npy")] == []
        ended = list(zip(self.names, told, strict=True))
        assert [(name, one["seen"]) for name, one in ended if one["seen"]] == []
        wrong = [(name, one) for name, one in ended if not is_refusal(one)]
        assert wrong == [], "\n".join(map(repr, wrong))


def is_refusal(told: dict[str, Any]) -> bool:
    """Status 2 and one line, or a folder that is not verified."""
    if told["status"] == 1:
        return "NOT verified" in told["out"] and told["err"] == ""
    return told["status"] == 2 and told["err"].count("\n") == 1


SUFFIXES = (".pt", ".pth", ".pkl", ".bin", ".npy", ".npz", ".joblib", ".onnx", ".json", ".th")


@pytest.mark.parametrize("form", payloads.FORMS)
def test_every_payload_in_every_form_is_refused(form: str, tmp_path: Path) -> None:
    """In this process: what it left would be seen."""
    folder = traces(tmp_path / "traces")
    for number, make in enumerate(payloads.PAYLOADS.values()):
        file = tmp_path / "net.pt"
        file.write_bytes(payloads.FORMS[form](make(folder / str(number))))
        with pytest.raises(LoadError) as refusal:
            load(file)
        assert str(refusal.value).startswith(str(file))
        file = file.rename(file.with_suffix(".pt2"))
        with pytest.raises(LoadError):
            load(file)
    assert [one for one in folder.iterdir() if one.suffix not in (".py", ".npy")] == []


def test_every_program_that_would_run_code_is_refused(plain: Path, tmp_path: Path) -> None:
    folder, file = traces(tmp_path / "traces"), tmp_path / "net.pt2"
    for name, content in programs.hostile(plain, folder):
        file.write_bytes(content)
        if name not in DISARMED:
            with pytest.raises(LoadError, match="refused"):
                load(file)
    assert [one for one in folder.iterdir() if one.suffix != ".py"] == []


@pytest.mark.slow
def test_no_payload_runs_as_a_teacher(harmless: Path, tmp_path: Path) -> None:
    """Every payload through every command that takes one, the forms in turn."""
    attempts = Attempts(tmp_path, harmless)
    forms, suffixes = cycle(payloads.FORMS), cycle(SUFFIXES)
    for name, make in payloads.PAYLOADS.items():
        for command, place in places.TEACHERS.items():
            form = next(forms)
            content = payloads.FORMS[form](make(attempts.trace()))
            attempts.add(f"{command}: {name} as {form}", content, place(next(suffixes)))
    attempts.require_harmless()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pt2"])
@pytest.mark.parametrize("command", [*places.TEACHERS, "bench"])
def test_no_payload_runs_in_any_form(
    command: str, suffix: str, harmless: Path, tmp_path: Path
) -> None:
    attempts = Attempts(tmp_path, harmless)
    place = places.BENCH if command == "bench" else places.TEACHERS[command]
    for name, make in payloads.PAYLOADS.items():
        for form, written in payloads.FORMS.items():
            content = written(make(attempts.trace()))
            attempts.add(f"{name} as {form}", content, place(suffix))
    attempts.require_harmless()


@pytest.mark.slow
def test_no_payload_runs_in_any_other_place(harmless: Path, tmp_path: Path) -> None:
    """Each place with payloads in turn, in the forms that fit it."""
    attempts = Attempts(tmp_path, harmless)
    makers = cycle(payloads.PAYLOADS.items())
    for where, place in places.OTHERS.items():
        for form in ("pickle", "zip", "npz"):
            name, make = next(makers)
            content = payloads.FORMS[form](make(attempts.trace()))
            attempts.add(f"{where}: {name} as {form}", content, place)
    attempts.require_harmless()


# -- programs ----------------------------------------------------------------------------------

NAIVE = """
import logging, sys, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[1])
for file in sorted(Path(sys.argv[2]).glob("*.pt2"), key=lambda one: int(one.stem)):
    try:
        torch.export.load(file).module()(torch.zeros(2, 3, 8, 8))
    except Exception:
        pass
"""


@pytest.mark.slow
def test_programs_that_would_run_code_are_live(plain: Path, tmp_path: Path) -> None:
    """Where torch loads and runs them, which is why nothing of ours lets it."""
    folder, held = traces(tmp_path / "traces"), traces(tmp_path / "files")
    names = []
    for name, content in programs.hostile(plain, folder):
        (held / f"{len(names)}.pt2").write_bytes(content)
        names.append(name)
    command = [sys.executable, "-c", NAIVE, str(folder), str(held)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    found = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix != ".py"}
    quiet = {name for name in names if programs.trace_of(folder, name).name not in found}
    older = {"opaque object"} if Version(torch.__version__) < Version("2.15") else set()
    assert quiet - older <= programs.NOT_LIVE


@pytest.fixture
def attempts(harmless: Path, tmp_path: Path) -> Attempts:
    return Attempts(tmp_path, harmless)


@pytest.mark.slow
def test_no_program_runs_code(plain: Path, attempts: Attempts) -> None:
    for name, content in programs.hostile(plain, attempts.traces):
        if name not in DISARMED:
            attempts.add(name, content, places.TEACHERS["analyze"](".pt2"))
    attempts.require_harmless()


@pytest.mark.slow
def test_no_program_runs_code_through_any_command(plain: Path, attempts: Attempts) -> None:
    commands = {
        **{name: place(".pt2") for name, place in places.TEACHERS.items() if name != "analyze"},
        "bench": places.BENCH(".pt2"),
        "by its content": places.TEACHERS["plan"](".pt"),
        "export, program of a run": places.OTHERS["export, program of a run"],
    }
    for command, place in commands.items():
        for name, content in programs.hostile(plain, attempts.traces):
            if name not in DISARMED:
                attempts.add(f"{command}: {name}", content, place)
    attempts.require_harmless()


def test_what_is_left_of_a_disarmed_program_is_the_program(plain: Path, tmp_path: Path) -> None:
    held = dict(programs.hostile(plain, traces(tmp_path / "traces")))
    inputs = torch.randn(3, 3, 8, 8)
    expected = torch.export.load(plain).module()(inputs)
    for name in DISARMED:
        file = tmp_path / "net.pt2"
        file.write_bytes(held[name])
        program, _ = read_program(file)
        assert torch.equal(program.module()(inputs), expected)
    assert list((tmp_path / "traces").glob("*[!y]")) == []


@pytest.mark.slow
def test_a_trusted_pickle_is_run_and_the_option_says_so(
    harmless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one door; it also shows that the other tests would see what runs."""
    attempts = Attempts(tmp_path, harmless)
    content = payloads.FORMS["zip"](payloads.PAYLOADS["system"](attempts.trace()))
    attempts.add("trusted", content, places.TEACHERS["analyze"](".pt"))
    attempts.commands[0].append("--trust-pickle")
    attempts.commands.append(["analyze", "--help"])
    told, told_of_help = child(
        {"place": str(attempts.traces), "commands": attempts.commands}, tmp_path
    )
    assert attempts.traces.joinpath("0").is_dir()
    assert [one.partition(" ")[0] for one in told["seen"]] == ["pickle.find_class", "os.system"]
    assert "RUNS CODE" in " ".join(told_of_help["out"].split())
