"""Any files, ours or not: the first is the reference, every other is compared with it.

In come paths and settings; out comes a document (plain values, versioned) that holds every figure,
what was skipped and why, and the environment.  One file alone is compared with itself: its latency,
and what this machine can tell apart just now.  Knows nothing of tables and of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.comparison import Comparison, Model, compare, row, skipped_row
from benchmarks.dispatch import Effort, Progress, check
from benchmarks.environment import describe
from benchmarks.inputs import shapes
from benchmarks.likeness import require_like
from benchmarks.measurements import encode_samples
from benchmarks.runtimes import form_of, known_runtimes, runtime_for
from benchmarks.workloads import SETTING, Setting, Workload
from compressor import documents
from compressor.errors import LoadError, OptionError, SurroundingsError
from compressor.files import sha256, write_bytes

FORMAT = 1
PRECISIONS = {
    "fp32": "float32", "bf16": "bfloat16", "fp16": "float16",
    "float32": "float32", "bfloat16": "bfloat16", "float16": "float16",
}  # fmt: skip
KEY = ("file", *SETTING)

Document = dict[str, Any]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    sha256: str


class _Row(Setting, frozen=True, kw_only=True):
    file: str
    speedup: float
    interval: tuple[float, float] | None


class _Environment(msgspec.Struct, frozen=True, kw_only=True):
    packages: dict[str, str] | None = None


class _Results(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an earlier document, whatever else it holds."""

    reference: str
    files: list[_File]
    rows: list[_Row]
    environment: _Environment


def workloads_of(
    runtimes: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
    precisions: Sequence[str],
) -> tuple[Workload, ...]:
    """Every combination, runtime by runtime.  Raises OptionError for a name that nobody knows."""
    for precision in precisions:
        if precision not in PRECISIONS:
            raise OptionError(f"--precision {precision}: there are fp32, bf16 and fp16")
    for number in (*batches, *threads):
        if number < 1:
            raise OptionError(f"{number}: batches and threads are 1 or more")
    found = []
    for name, count, batch, precision in product(runtimes, threads, batches, precisions):
        runtime, _, device = name.partition("@")
        workload = Workload(
            runtime=runtime,
            device=device or "cpu",
            precision=PRECISIONS[precision],
            batch=batch,
            threads=count,
        )
        runtime_for(workload)
        found.append(workload)
    return tuple(dict.fromkeys(found))


def runtimes_for(files: Sequence[Path]) -> tuple[str, ...]:
    """All runtimes that read the first file's form, installed or not."""
    form = "program" if files[0].suffix == ".pt2" else "onnx"
    named = {
        name: Workload(runtime=name.partition("@")[0], device=name.partition("@")[2] or "cpu")
        for name in known_runtimes()
    }
    return tuple(name for name, workload in named.items() if form_of(workload) == form)


def _require_one_form(files: Sequence[Path]) -> None:
    """Raises OptionError for ONNX files beside programs, which no runtime reads."""
    first = files[0]
    other = next(
        (path for path in files if (path.suffix == ".pt2") != (first.suffix == ".pt2")), None
    )
    if other is not None:
        raise OptionError(
            f"{first} and {other}: an ONNX file and a .pt2 program cannot be compared, as no "
            "runtime reads both; give files of one kind"
        )


def bench(
    files: Sequence[Path],
    workloads: Sequence[Workload],
    *,
    effort: Effort | None = None,
    sizes: Mapping[str, int | str] | None = None,
    samples: Path | None = None,
    progress: Progress = lambda workload, process: None,
) -> Document:
    """Measure; ``samples`` is a folder for every raw sample.

    Raises LoadError for a file that cannot be read, OptionError for settings that contradict each
    other or a file, SurroundingsError where nothing at all could be measured.
    """
    effort = effort or Effort()
    check(effort)
    _require_one_form(files)
    names = [path.name for path in files]
    if len(set(names)) < len(names):
        names = [str(path) for path in files]
    stems = sample_stems(files)
    models = [Model.of_file(path) for path in files]
    _require_sizes(dict(zip(names, models, strict=True)), workloads, sizes)
    others = list(range(1, len(files))) or [0]
    before = describe()
    rows, skipped, refused = [], [], False
    for other in others:
        found = compare(
            models[0],
            models[other],
            workloads=workloads,
            effort=effort,
            sizes=sizes,
            progress=progress,
        )
        for one in found.measured:
            place = _keep(one, samples, stems[other]) if samples is not None else None
            rows.append({"file": names[other], **row(one), "samples": place})
        skipped += [{"file": names[other], **skipped_row(one)} for one in found.skipped]
        refused |= any(one.refused for one in found.skipped)
    if not rows:
        reasons = "; ".join(dict.fromkeys(entry["reason"] for entry in skipped))
        kind = LoadError if refused else SurroundingsError
        raise kind(f"nothing could be measured: {reasons}")
    return {
        "format": FORMAT,
        "reference": names[0],
        "files": [
            {
                "file": name,
                "sha256": sha256(path),
                "bytes": path.stat().st_size,
                "inputs": [asdict(entry) for entry in model.signature],
            }
            for name, path, model in zip(names, files, models, strict=True)
        ],
        "effort": asdict(effort),
        "sizes": dict(sizes or {}),
        "settings": len(rows),
        "rows": rows,
        "skipped": skipped,
        "environment": {**before, "load_average_after": describe()["load_average"]},
    }


def _require_sizes(
    models: Mapping[str, Model],
    workloads: Sequence[Workload],
    sizes: Mapping[str, int | str] | None,
) -> None:
    """Raises OptionError where a file can be fed at none of the batches."""
    for name, model in models.items():
        problems = []
        for batch in dict.fromkeys(workload.batch for workload in workloads):
            try:
                shapes(model.signature, batch, sizes)
            except OptionError as error:
                problems.append(error)
            else:
                break
        else:
            raise OptionError(f"{name}: {problems[0]}") from problems[0]


def sample_stems(files: Sequence[Path]) -> tuple[str, ...]:
    """How files of samples begin: as the measured files do, numbered where that is not enough."""
    stems = [path.stem for path in files]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    return tuple(f"{place}-{stem}" for place, stem in enumerate(stems))


def _keep(one: Comparison, folder: Path, stem: str) -> str:
    """Write one comparison's samples; returns the file's name."""
    name = f"{stem}-{one.workload.name}-t{one.workload.threads}.json"
    write_bytes(folder / name, encode_samples(one.measurement, one.workload, one.seed))
    return name


def read_document(path: Path) -> Document:
    """A file that ``--json`` wrote.  Raises LoadError where it is none."""
    try:
        found = documents.read(path)
        if isinstance(found, dict) and found.get("format") != FORMAT:
            raise ValueError("another format")
        msgspec.convert(found, _Results)
        return dict(found)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LoadError(
            f"{path}: no results of compressor bench ({reason}); give what --json wrote"
        ) from error


def read_earlier(path: Path) -> Document:
    """As ``read_document``, before anything is measured to be compared with it.

    Raises OptionError where it was measured in an environment unlike this one.
    """
    found = read_document(path)
    require_like(describe(), found["environment"], ("this machine", str(path)))
    return found


def against(now: Document, before: Document, name: str) -> Document:
    """``now`` with what ``before`` had for the same files and settings in every row.

    ``changed``: compared files whose content is another than then.  Raises OptionError where the
    environments differ, or the reference is another file.
    """
    require_like(now["environment"], before["environment"], ("this run", name))
    known = {entry["file"]: entry["sha256"] for entry in before["files"]}
    if known.get(before["reference"]) != now["files"][0]["sha256"]:
        raise OptionError(f"{name} compares with another reference than {now['reference']}")
    earlier = {tuple(one[key] for key in KEY): one for one in before["rows"]}
    rows = []
    for one in now["rows"]:
        old = earlier.get(tuple(one[key] for key in KEY))
        rows.append({**one, "before": old and {key: old[key] for key in ("speedup", "interval")}})
    changed = [
        entry["file"]
        for entry in now["files"][1:]
        if known.get(entry["file"], entry["sha256"]) != entry["sha256"]
    ]
    return {**now, "rows": rows, "changed": changed}
