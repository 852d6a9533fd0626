"""Folders edited by hand: what ``verify``, ``report``, ``export`` and ``build`` read of a run."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tests.benchmarks.reports import full_report, sample_file
from tests.malformed.cases import GONE, SPOILS, Case, changed, spelled, spoil, spoiled
from tests.malformed.material import (
    archive_of,
    bomb,
    entries_of,
    exported_files,
    locked,
    network,
    program_file,
    seal,
    write_files,
)

Path_ = tuple[str | int, ...]
BUILD = (
    "build", "--teacher", "good.pt", "--arch", "net.py:small", "--image-size", "8", "--data",
    "synthetic", "--sparsity", "0.5", "--epochs", "0", "--bench-seconds", "0", "--out", "run",
)  # fmt: skip

# -- reports ---------------------------------------------------------------------------------------


@functools.cache
def plan_and_analysis() -> tuple[bytes, bytes]:
    import torch

    from compressor import Budget, analyze, capture, magnitude, plan, score

    graph = capture(network(), (torch.zeros(2, 3, 8, 8),))
    analysis = analyze(graph)
    budget = Budget(sparsity=0.3, multiple_of=1, smallest_group=1)
    made = plan(analysis, score(graph, analysis, criterion=magnitude), budget)
    return msgspec.json.encode(made), msgspec.json.encode(analysis)


def a_report() -> dict[str, Any]:
    found = full_report()
    found["benchmarks"] = found["benchmarks"][:1]
    found["benchmarks"][0]["samples"] = "benchmarks/onnxruntime-b1.json"
    return found


def reported(folder: Path) -> Path:
    """A finished run, as far as ``report`` reads it."""
    made, analysis = plan_and_analysis()
    run = folder / "run"
    files = {
        "report.json": spelled(a_report()),
        "plan.json": made,
        "analysis.json": analysis,
        "benchmarks/onnxruntime-b1.json": spelled(sample_file()),
    }
    write_files(run, files)
    return run


def report(name: str, file: str, make: Callable[[], bytes], says: str = "build anew") -> Case:
    """``report`` with a page, of a run one of whose files is this."""

    def write(folder: Path) -> None:
        (reported(folder) / file).write_bytes(make())

    return Case(
        name=f"report: {file}: {name}",
        write=write,
        command=("report", "run", "--html", "page.html", "--csv", "calls.csv"),
        names=file,
        says=says,
    )


def edits(
    file: str,
    document: Callable[[], Mapping[str, Any]],
    changes: Mapping[str, tuple[Path_, object]],
) -> Iterator[Case]:
    for name, (path, value) in changes.items():
        yield report(
            name,
            file,
            lambda path=path, value=value: spelled(changed(document(), path, value)),
        )


REPORT_EDITS: dict[str, tuple[Path_, object]] = {
    "another format": (("format",), 2),
    "a format in words": (("format",), "1"),
    "no student": (("student",), GONE),
    "no proof": (("proof",), GONE),
    "no seconds": (("seconds",), GONE),
    "a teacher that is a number": (("teacher",), 5),
    "a teacher without a name": (("teacher", "name"), GONE),
    "parameters in words": (("teacher", "parameters"), "many"),
    "parameters below zero": (("student", "parameters"), -5),
    "parameters without end": (("student", "parameters"), 10**400),
    "MACs in fractions": (("student", "macs"), 0.5),
    "MACs of true": (("student", "macs"), True),
    "an agreement in percents": (("student", "agreement"), 92.5),
    "an accuracy below zero": (("student", "metrics", "top1"), -0.1),
    "a budget of nothing known": (("budget", "of"), "flops"),
    "a recipe of null": (("recipe",), None),
    "phases of null": (("recipe", "phases"), None),
    "a phase in words": (("recipe", "phases", 0), "distil"),
    "stages in a table": (("stages",), {}),
    "a stage in words": (("stages", 0), "removed"),
    "a proof that passed in words": (("proof", "passed"), "yes"),
    "nodes below zero": (("proof", "nodes_compared"), -1),
    "files of null": (("deployables",), None),
    "a file that is a number": (("deployables", 0, "file"), 7),
    "bytes below zero": (("deployables", 0, "bytes"), -1),
    "benchmarks in a table": (("benchmarks",), {}),
    "a benchmark of null": (("benchmarks", 0), None),
    "a benchmark without a teacher": (("benchmarks", 0, "teacher"), GONE),
    "a speed-up in words": (("benchmarks", 0, "speedup"), "fast"),
    "a speed-up of zero": (("benchmarks", 0, "speedup"), 0),
    "an interval of one end": (("benchmarks", 0, "interval"), [1.0]),
    "an unknown verdict": (("benchmarks", 0, "verdict"), "quicker"),
    "a median below zero": (("benchmarks", 0, "teacher", "median_ms"), -3.1),
    "an environment in a list": (("environment",), []),
    "layers in words": (("layers",), "all"),
    "seconds below zero": (("seconds", "capture"), -1.0),
    "warnings in a number": (("warnings",), 3),
    "a command in a table": (("command",), {"verb": "build"}),
}
PLAN_EDITS: dict[str, tuple[Path_, object]] = {
    "no groups": (("groups",), GONE),
    "groups in words": (("groups",), "all"),
    "a width multiple in words": (("multiple_of",), "eight"),
    "units below zero": (("groups", 0, "units"), -8),
    "spans the wrong way": (("groups", 0, "kept"), [[5, 2]]),
    "spans that overlap": (("groups", 0, "kept"), [[0, 3], [2, 4]]),
    "spans beyond the units": (("groups", 0, "kept"), [[0, 10**6]]),
    "spans below zero": (("groups", 0, "kept"), [[-3, 2]]),
    "no kept units": (("groups", 0, "kept"), []),
    "spans of three": (("groups", 0, "kept"), [[0, 1, 2]]),
    "costs of null": (("after",), None),
    "another format": (("format",), 2),
}
ANALYSIS_EDITS: dict[str, tuple[Path_, object]] = {
    "no model": (("model",), GONE),
    "frozen of null": (("frozen",), None),
    "a share in words": (("prunable_parameters",), "most"),
    "a share above one": (("prunable_parameters",), 97.0),
    "a role that is none": (("groups", 0, "members", 0, "role"), "eats"),
    "another format": (("format",), 2),
}
SAMPLES_EDITS: dict[str, tuple[Path_, object]] = {
    "no samples": (("samples",), GONE),
    "samples in a list": (("samples",), []),
    "no subjects": (("subjects",), GONE),
    "subjects in numbers": (("subjects",), [1, 2, 3]),
    "a subject beyond the list": (("samples", "subject", 0), 9),
    "a subject below zero": (("samples", "subject", 0), -1),
    "columns of unlike length": (("samples", "wall_ns"), [1, 2, 3]),
    "times in words": (("samples", "wall_ns", 0), "long"),
    "times below zero": (("samples", "wall_ns", 0), -5),
    "no workload": (("workload",), GONE),
    "a workload without threads": (("workload", "threads"), GONE),
}


def reports() -> Iterator[Case]:
    for name, content in spoiled(spelled(a_report())):
        yield report(name, "report.json", lambda content=content: content)
    yield from edits("report.json", a_report, REPORT_EDITS)
    for file, place in (("plan.json", 0), ("analysis.json", 1)):
        kinds = ("empty", "truncated", "nested deeply", "a key twice", "NaN", "UTF-16", "a list")
        for name in kinds:
            yield report(
                name,
                file,
                lambda name=name, place=place: spoil(name, plan_and_analysis()[place]),
            )
    yield from edits("plan.json", lambda: json.loads(plan_and_analysis()[0]), PLAN_EDITS)
    yield from edits("analysis.json", lambda: json.loads(plan_and_analysis()[1]), ANALYSIS_EDITS)
    samples = "benchmarks/onnxruntime-b1.json"
    for name, content in spoiled(spelled(sample_file())):
        if name in ("empty", "truncated", "nested deeply", "a list", "null"):
            yield report(name, samples, lambda content=content: content)
    yield from edits(samples, sample_file, SAMPLES_EDITS)
    yield Case(
        name="report: of nothing", command=("report", "run"), names="run", says="build into it"
    )
    yield Case(
        name="report: of a file",
        write=lambda folder: (folder / "run").write_text("a file"),
        command=("report", "run"),
        names="run",
        says="build into it",
    )
    yield Case(
        name="report: beside a damaged one",
        write=lambda f: (reported(f), write_files(f / "other", {"report.json": b"{}"})),
        command=("report", "run", "other"),
        names="other",
        says="build anew",
    )
    yield Case(
        name="report: a page in place of a folder",
        write=lambda f: (reported(f), (f / "page.html").mkdir()),
        command=("report", "run", "--html", "page.html"),
        names="page.html",
        says="is a folder",
    )


# -- folders that ship -----------------------------------------------------------------------------


def exported(folder: Path) -> Path:
    write_files(folder / "out", exported_files())
    return folder / "out"


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exported_files()["manifest.json"])
    return found


def verified(
    name: str, change: Callable[[Path], object], names: str, says: str, status: int = 2
) -> Case:
    """``verify`` of an exported folder that was changed."""
    return Case(
        name=f"verify: {name}",
        write=lambda folder: change(exported(folder)),
        command=("verify", "out"),
        names=names,
        says=says,
        status=status,
    )


def overwritten(name: str, make: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda out: (out / name).write_bytes(make())


MANIFEST_EDITS: dict[str, tuple[Path_, object]] = {
    "another format": (("format",), 99),
    "no format": (("format",), GONE),
    "a format in words": (("format",), "two"),
    "no files": (("files",), GONE),
    "files in a list": (("files",), []),
    "a file without a hash": (("files", "student.pt2", "sha256"), GONE),
    "bytes in words": (("files", "student.pt2", "bytes"), "many"),
    "bytes of null": (("files", "student.pt2", "bytes"), None),
    "bytes without end": (("files", "student.pt2", "bytes"), 10**30),
    "a seed without end": (("seed",), 10**400),
    "a file of null": (("files", "student.pt2"), None),
    "a path from the root": (("files", "/etc/passwd"), {"bytes": 1, "sha256": "ab"}),
    "a path that leaves": (("files", "../good.pt"), {"bytes": 1, "sha256": "ab"}),
    "a seed of null": (("seed",), None),
    "versions in a list": (("versions",), []),
    "a command of null": (("command",), None),
}


def manifests() -> Iterator[Case]:
    for name in SPOILS:
        yield verified(
            f"manifest is {name}",
            overwritten(
                "manifest.json", lambda name=name: spoil(name, exported_files()["manifest.json"])
            ),
            "manifest.json",
            "build anew",
        )
    for name, (path, value) in MANIFEST_EDITS.items():
        yield verified(
            f"manifest has {name}",
            overwritten(
                "manifest.json",
                lambda path=path, value=value: spelled(changed(manifest(), path, value)),
            ),
            "manifest.json",
            "use the version that wrote it" if name == "another format" else "build anew",
        )
    yield verified(
        "no manifest", lambda out: (out / "manifest.json").unlink(), "manifest.json", "give the"
    )
    yield verified(
        "a folder in place of the manifest",
        lambda out: ((out / "manifest.json").unlink(), (out / "manifest.json").mkdir()),
        "manifest.json",
        "build anew",
    )
    yield Case(
        name="verify: a file in place of the folder",
        write=lambda folder: (folder / "out").write_text("a file"),
        command=("verify", "out"),
        names="out",
        says="give the folder",
    )
    changes: dict[str, tuple[Path_, object]] = {
        "bytes below zero": (("files", "student.pt2", "bytes"), -5),
        "another hash": (("files", "student.pt2", "sha256"), "ab"),
        "another seed": (("seed",), 10**9),
    }
    for name, (path, value) in changes.items():
        yield verified(
            f"manifest has {name}",
            overwritten(
                "manifest.json",
                lambda path=path, value=value: spelled(changed(manifest(), path, value)),
            ),
            "manifest.json",
            "NOT verified",
            status=1,
        )
    yield verified(
        "a file is missing",
        lambda out: (out / "student.pt2").unlink(),
        "student.pt2: missing",
        "NOT verified",
        status=1,
    )
    yield verified(
        "a file too many",
        lambda out: (out / "more.txt").write_text("more"),
        "more.txt: not in the manifest",
        "NOT verified",
        status=1,
    )


def golden(change: Callable[[dict[str, bytes]], object]) -> Callable[[Path], object]:
    """Golden samples changed, and a manifest that believes them."""

    def write(out: Path) -> None:
        entries = entries_of((out / "golden.npz").read_bytes())
        change(entries)
        (out / "golden.npz").write_bytes(archive_of(entries))
        seal(out)

    return write


def golden_bytes(make: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(out: Path) -> None:
        (out / "golden.npz").write_bytes(make((out / "golden.npz").read_bytes()))
        seal(out)

    return write


def array(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(value), allow_pickle=True)
    return buffer.getvalue()


def claiming(shape: tuple[int, ...]) -> bytes:
    """An array whose header claims more than is there."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(16)


def goldens() -> Iterator[Case]:
    damaged: dict[str, Callable[[Path], object]] = {
        "of no bytes": golden_bytes(lambda good: b""),
        "of text": golden_bytes(lambda good: b"no samples"),
        "cut": golden_bytes(lambda good: good[: len(good) // 2]),
        "under a password": golden_bytes(locked),
        "with a damaged entry": golden_bytes(lambda good: good[:200] + b"\xff" * 9 + good[209:]),
        "without inputs": golden(lambda entries: entries.pop("input.npy")),
        "without a tolerance": golden(lambda entries: entries.pop("tolerance.npy")),
        "with inputs in words": golden(lambda e: e.update({"input.npy": array(["a", "b"])})),
        "with inputs of objects": golden(
            lambda e: e.update({"input.npy": array(np.array([{}, []], dtype=object))})
        ),
        "with an input of one number": golden(lambda e: e.update({"input.npy": array(1.0)})),
        "with inputs beyond memory": golden(
            lambda e: e.update({"input.npy": claiming((1 << 20, 1 << 20, 1 << 10))})
        ),
        "with inputs that are not there": golden(
            lambda e: e.update({"input.npy": claiming((4, 3, 8, 8))})
        ),
        "with a tolerance in words": golden(lambda e: e.update({"tolerance.npy": array("much")})),
        "with two tolerances": golden(lambda e: e.update({"tolerance.npy": array([1, 2])})),
        "with a tolerance of NaN": golden(
            lambda e: e.update({"tolerance.npy": array(float("nan"))})
        ),
        "with a tolerance without end": golden(
            lambda e: e.update({"tolerance.npy": array(float("inf"))})
        ),
    }
    for name, change in damaged.items():
        yield verified(f"golden samples {name}", change, "golden.npz", "build anew")
    yield Case(
        name="verify: golden samples that unpack to gigabytes",
        write=lambda folder: golden_bytes(lambda good: bomb(entries_of(good), "more.npy"))(
            exported(folder)
        ),
        command=("verify", "out"),
        names="golden.npz",
        says="unpack",
        alone=True,
    )
    yield verified(
        "golden samples of another shape",
        golden(lambda e: e.update({"input.npy": array(np.zeros((4, 3, 7), np.float32))})),
        "onnx/student.onnx",
        "NOT verified",
        status=1,
    )
    yield verified(
        "golden answers of a file that is not there",
        golden(lambda e: e.update({"output/onnx/other.onnx.npy": array(np.zeros((4, 2)))})),
        "onnx/other.onnx",
        "NOT verified",
        status=1,
    )
    yield verified(
        "golden answers in words",
        golden(lambda e: e.update({"output/onnx/student.onnx.npy": array(["a"] * 4)})),
        "golden.npz",
        "build anew",
    )


# -- runs that are exported again ------------------------------------------------------------------


def finished(folder: Path) -> Path:
    """A finished run, as far as ``export`` reads it."""
    run = folder / "run"
    files = dict(exported_files())
    del files["manifest.json"]
    files["onnx/teacher.onnx"] = files["onnx/student.onnx"]
    report_ = a_report()
    report_["teacher"]["architecture"] = "net.py:small"
    report_["deployables"] = report_["deployables"][:2]
    write_files(run, files)
    write_files(run, {"report.json": spelled(report_), "journal.json": b"{}"})
    return run


def again(name: str, change: Callable[[Path], object], names: str, says: str) -> Case:
    """``export`` of a run that was changed, and whose manifest believes it."""

    def write(folder: Path) -> None:
        run = finished(folder)
        change(run)
        seal(run)

    return Case(
        name=f"export: {name}",
        write=write,
        command=("export", "run", "--out", "new"),
        names=names,
        says=says,
    )


PREPROCESSOR_EDITS: dict[str, tuple[Path_, object]] = {
    "no mean": (("image_mean",), GONE),
    "a mean in words": (("image_mean",), "grey"),
    "an empty mean": (("image_mean",), []),
    "a mean of another length": (("image_mean",), [0.5, 0.5]),
    "a deviation of zero": (("image_std",), [0.0, 0.0, 0.0]),
    "a deviation below zero": (("image_std", 0), -1),
    "a crop of nothing": (("crop_size", "height"), 0),
    "a crop below zero": (("crop_size", "height"), -8),
    "a crop without end": (("crop_size", "height"), 10**12),
    "a crop in fractions": (("crop_size", "height"), 8.5),
    "a crop in a list": (("crop_size",), [8, 8]),
    "an unknown resampling": (("resample",), 99),
    "a resampling in a list": (("resample",), [2]),
    "a wish in words": (("do_resize",), "no"),
}


def preprocessor() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exported_files()["preprocessor_config.json"])
    return found


def again_edited() -> Iterator[Case]:
    file = "preprocessor_config.json"
    for name in SPOILS:
        yield again(
            f"{file} is {name}",
            overwritten(file, lambda name=name: spoil(name, exported_files()[file])),
            file,
            "build anew",
        )
    for name, (path, value) in PREPROCESSOR_EDITS.items():
        yield again(
            f"{file} has {name}",
            overwritten(
                file, lambda path=path, value=value: spelled(changed(preprocessor(), path, value))
            ),
            file,
            "build anew",
        )
    labels: dict[str, object] = {
        "a table": {"0": "cat", "1": "dog"},
        "a text": "cat",
        "numbers": [1, 2],
        "lists": [["cat"], ["dog"]],
        "too few": ["cat"],
        "too many": ["cat", "dog", "cow"],
        "null": None,
    }
    for name, value in labels.items():
        yield again(
            f"labels.json is {name}",
            overwritten("labels.json", lambda value=value: spelled(value)),
            "labels.json",
            "build anew",
        )
    for name in ("empty", "truncated", "UTF-16", "nested deeply"):
        content = spoil(name, b'{"a": ["cat", "dog"]}')
        yield again(
            f"labels.json is {name}",
            overwritten("labels.json", lambda content=content: content),
            "labels.json",
            "build anew",
        )
    for name, path, value in (
        ("no teacher", ("teacher",), GONE),
        ("a teacher that is a number", ("teacher",), 5),
        ("a budget of null", ("budget",), None),
        ("files in a table", ("deployables",), {}),
        ("a seed in words", ("seed",), "zero"),
        ("notes in a number", ("notes",), 3),
    ):
        yield again(
            f"report.json has {name}",
            lambda run, path=path, value=value: (run / "report.json").write_bytes(
                spelled(changed(json.loads((run / "report.json").read_bytes()), path, value))
            ),
            "report.json",
            "build anew",
        )
    yield again(
        "report.json is nested deeply",
        overwritten("report.json", lambda: b"[" * 200_000),
        "report.json",
        "build anew",
    )
    yield again(
        "no program", lambda run: (run / "student.pt2").unlink(), "student.pt2", "no such file"
    )
    yield again(
        "a program that is cut",
        overwritten("student.pt2", lambda: program_file()[:3000]),
        "student.pt2",
        "export it again",
    )
    yield again(
        "golden samples that are cut",
        overwritten("golden.npz", lambda: b"PK\3\4" + bytes(50)),
        "golden.npz",
        "build anew",
    )
    yield again(
        "golden samples of another shape",
        golden(lambda e: e.update({"input.npy": array(np.zeros((4, 3, 7), np.float32))})),
        "golden.npz",
        "build anew",
    )
    yield again("no journal", lambda run: (run / "journal.json").unlink(), "run", "no run of build")
    yield Case(
        name="export: a run that was changed",
        write=lambda f: (run := finished(f), seal(run), (run / "labels.json").write_text("[]")),
        command=("export", "run", "--out", "new"),
        names="labels.json",
        says="build anew",
    )
    yield Case(
        name="export: an empty folder",
        write=lambda folder: (folder / "run").mkdir(),
        command=("export", "run", "--out", "new"),
        names="manifest.json",
        says="give the folder of a run",
    )
    yield Case(
        name="export: into a file",
        write=lambda f: (seal(finished(f)), (f / "new").write_text("a file")),
        command=("export", "run", "--out", "new"),
        names="new",
        says="name another folder",
    )
    yield Case(
        name="export: below a file",
        write=lambda f: (seal(finished(f)), (f / "new").write_text("a file")),
        command=("export", "run", "--out", "new/out"),
        names="new/out",
        says="not a folder",
    )


# -- runs that are continued -----------------------------------------------------------------------

NOT_OURS = "not a run of ours; name another folder with --out"


def journaled(name: str, content: bytes, says: str = NOT_OURS) -> Case:
    return Case(
        name=f"journal: {name}",
        write=lambda folder: write_files(folder / "run", {"journal.json": content}),
        command=BUILD,
        names="run",
        says=says,
    )


def journals() -> Iterator[Case]:
    good: dict[str, Any] = {"format": 1, "key": "ab" * 32, "inputs": {"seed": 0}, "done": {}}
    for name, content in spoiled(spelled(good)):
        yield journaled(name, content)
    changes: dict[str, tuple[Path_, object]] = {
        "another format": (("format",), 9),
        "no key": (("key",), GONE),
        "a key that is a number": (("key",), 5),
        "inputs in a list": (("inputs",), []),
        "inputs of null": (("inputs",), None),
        "done in a list": (("done",), []),
        "done in words": (("done",), "all"),
        "a stage in words": (("done",), {"phases": "all"}),
    }
    for name, (path, value) in changes.items():
        yield journaled(name, spelled(changed(good, path, value)))
    yield Case(
        name="journal: of other inputs",
        write=lambda folder: write_files(
            folder / "run", {"journal.json": spelled(good), "plan.json": b"{}"}
        ),
        command=BUILD,
        names="run",
        says="with other inputs",
    )
    yield Case(
        name="journal: a folder in its place",
        write=lambda folder: (folder / "run/journal.json").mkdir(parents=True),
        command=BUILD,
        names="run",
        says=NOT_OURS,
    )
    yield Case(
        name="build: into a file",
        write=lambda folder: (folder / "run").write_text("a file"),
        command=BUILD,
        names="run",
        says="name a folder",
    )
    yield Case(
        name="build: below a file",
        write=lambda folder: (folder / "run").write_text("a file"),
        command=(*BUILD[:-1], "run/deeper/out"),
        names="run",
        says="name another folder",
    )


def cases() -> Iterator[Case]:
    for family in (reports, manifests, goldens, again_edited, journals):
        yield from family()
