"""The command ``export``: a finished run, or a network of its own, becomes a folder that ships.

Comes in: a run folder, or a loaded network.  Goes out: a new folder of the student alone, whole or
not at all.  A run's ONNX files are written anew from ``student.pt2``, its facts come from
``report.json``; files of other precisions, which took data to make, are carried over as they are.
Knows nothing of plans and training.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from benchmarks.report import read_report
from compressor.errors import FolderError, OptionError
from compressor.evaluation import output_size, require_finite, takes_pictures
from compressor.files import replacing, sweep_of
from compressor.graphs import Graph, export_program
from compressor.loading import Teacher, capture_teacher, load
from compressor.locks import beside, held, require_idle
from compressor.types import USUAL_FILES, Packaging
from export.deployables import Deployable
from export.descriptions import Description
from export.golden import GOLDEN_FILE, Golden, read_golden, write_golden
from export.manifest import MANIFEST_FILE, check_manifest, installed_versions, read_manifest
from export.outputs import task_of
from export.precisions import FP32, PRECISIONS
from export.preprocessing import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    read_preprocessing,
    write_preprocessing,
)
from export.products import finish, product_name
from export.programs import write_program
from export.shipping import GOLDEN_SAMPLES, Subject, answers, output_sizes, ship_onnx
from export.signatures import check_key
from export.weights import write_weights

JOURNAL = "journal.json"  # what tells a run from an export
WEIGHTS, PROGRAM = "student.safetensors", "student.pt2"
# Files of the student that are not written anew: a report names others, of the teacher too.
CARRIED = frozenset(one.file("student") for one in PRECISIONS if one != FP32)
RANDOM_INPUTS = "golden inputs are random numbers: no data came with the network"


def export_run(
    run: Path,
    out: Path,
    *,
    opset: int | None = None,
    packaging: Packaging = USUAL_FILES,
    command: Sequence[str] = (),
    threads: int = 0,
) -> tuple[str, ...]:
    """Write the deployable folder of a finished run to ``out``; returns notes, one line each.

    Golden inputs are the run's.  An accuracy measured in the run is told of a file only where that
    file has the same bytes.  Raises FolderError where ``run`` is no finished run or was changed, or
    ``out`` is not ours to write; OptionError and ParityError as ``shipping`` does.
    """
    report = _finished(run)
    preprocessing, labels = read_preprocessing(run)
    golden = read_golden(run)
    teacher, budget = report["teacher"], report["budget"]
    removed = budget["of"] != "weights"
    graph = capture_teacher(load(run / PROGRAM))
    _check_fit(run, graph, golden, labels)
    description = Description(
        architecture=teacher["architecture"],
        tool_version=installed_versions().get("compressor", "unknown"),
        task=task_of(output_sizes(graph), labels),
        preprocessing=preprocessing,
        labels=labels,
        teacher_sha256=teacher["sha256"],
        sparsity=budget["achieved"] if removed else 0.0,
        sparsity_of=budget["of"] if removed else "params",
    )
    subject = Subject(name="student", graph=graph, description=description)
    carried = _carried(report) if opset is None else ()
    notes = _left_out(report, opset)
    with _delivering(out, (run,), packaging) as folder:
        for file in (PROGRAM, WEIGHTS, PREPROCESSING_FILE, LABELS_FILE):
            _copy(run, folder, file)
        shipped = _ship(folder, subject, torch.from_numpy(golden.inputs), opset, threads, packaging)
        known = {one["sha256"]: one["metrics"] for one in report["deployables"]}
        entries = [{**_plain(one), "metrics": known.get(one.sha256)} for one in shipped]
        outputs = answers(folder, shipped, golden.inputs, threads)
        for entry in carried:
            for file in (entry["file"], f"{entry['file']}.data"):
                _copy(run, folder, file)
        # Files that ONNX Runtime cannot run have no golden answers.
        answered = [one["file"] for one in carried if one["file"] in golden.outputs]
        outputs |= {file: golden.outputs[file] for file in answered}
        kept = {file: golden.tolerances[file] for file in answered}
        write_golden(folder, golden.inputs, outputs, tolerances=kept)
        _finished(run)  # another build may have begun in it meanwhile
        told = {**report, "deployables": [*entries, *carried]}
        told["notes"] = [*report.get("notes", ()), *notes]
        finish(
            folder,
            product_name(report),
            told,
            packaging=packaging,
            command=command,
            seed=report["seed"],
        )
    return notes


def export_network(
    network: Teacher,
    out: Path,
    *,
    opset: int | None = None,
    packaging: Packaging = USUAL_FILES,
    command: Sequence[str] = (),
    threads: int = 0,
) -> tuple[str, ...]:
    """Write the deployable folder of one loaded network to ``out``; returns notes.

    There is no data: golden inputs are random numbers from a fixed seed, accuracy is unknown.
    Raises OptionError for a network that does not take one batch of pictures, else as
    ``export_run`` does.
    """
    graph = capture_teacher(network)
    inputs = graph.example_inputs
    if not takes_pictures(graph):
        raise OptionError(
            f"{network.source.name}: takes {[tuple(one.shape) for one in inputs]}; export writes "
            "networks of one batch of pictures"
        )
    source = network.source
    description = Description(
        architecture=source.architecture,
        tool_version=installed_versions().get("compressor", "unknown"),
        task=task_of(output_sizes(graph), network.labels),
        preprocessing=network.preprocessing,
        labels=network.labels,
    )
    subject = Subject(name="student", graph=graph, description=description)
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(GOLDEN_SAMPLES, *inputs[0].shape[1:], generator=generator)
    require_finite(graph, samples, source.name)
    notes = (*network.notes, f"preprocessing: {network.preprocessing.origin}", RANDOM_INPUTS)
    with _delivering(out, (), packaging) as folder:
        write_weights(graph, folder / WEIGHTS)
        write_program(export_program(graph), folder / PROGRAM)
        shipped = _ship(folder, subject, samples, opset, threads, packaging)
        golden = samples.numpy()
        write_golden(folder, golden, answers(folder, shipped, golden, threads))
        write_preprocessing(folder, network.preprocessing, network.labels)
        told = {
            "student": {"architecture": source.architecture, "sha256": source.sha256},
            "deployables": [_plain(one) for one in shipped],
            "notes": list(notes),
        }
        finish(folder, source.name, told, packaging=packaging, command=command, seed=0)
    return notes


def _check_fit(run: Path, graph: Graph, golden: Golden, labels: tuple[str, ...] | None) -> None:
    """Raises FolderError where the run's files do not belong to its program."""
    wanted = graph.example_inputs[0].shape[1:]
    if golden.inputs.shape[1:] != wanted:
        raise FolderError(
            f"{run / GOLDEN_FILE}: its inputs are of shape {golden.inputs.shape[1:]}, {PROGRAM} "
            f"takes {tuple(wanted)}; build anew"
        )
    classes = output_size(graph)
    if labels is not None and classes is not None and len(labels) != classes:
        raise FolderError(
            f"{run / LABELS_FILE}: {len(labels)} names, {PROGRAM} has {classes} outputs; build anew"
        )


def _ship(
    folder: Path,
    subject: Subject,
    samples: Tensor,
    opset: int | None,
    threads: int,
    packaging: Packaging,
) -> tuple[Deployable, ...]:
    program = export_program(subject.graph)
    return ship_onnx(folder, subject, program, samples, opset, threads, packaging.static_batch)


def _finished(run: Path) -> dict[str, Any]:
    """The report of a run that is whole.  Raises FolderError where it is not."""
    require_idle(run)
    read_manifest(run)
    differences = check_manifest(run)
    if differences:
        raise FolderError(f"{run} is not as it was built: {differences[0]}; build anew")
    if not (run / JOURNAL).is_file():
        raise FolderError(f"{run} is no run of build; give a run folder, or a file")
    try:
        report = read_report(run)
        if not isinstance(report["teacher"].get("architecture"), str):
            raise ValueError("teacher: no architecture")
        if not isinstance(report.get("seed"), int):
            raise ValueError("no seed")
    except (OSError, ValueError) as error:
        raise FolderError(f"{run / 'report.json'} cannot be used ({error}); build anew") from error
    return report


def _carried(report: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Entries of the student's files that are not written anew."""
    return tuple(one for one in report["deployables"] if one["file"] in CARRIED)


def _left_out(report: Mapping[str, Any], opset: int | None) -> tuple[str, ...]:
    if opset is None:
        return ()
    files = [one["file"] for one in _carried(report)]
    return tuple(f"{file} is left out: it was not made for opset {opset}" for file in files)


def _copy(run: Path, folder: Path, file: str) -> None:
    """Copy a file of the run where it has one."""
    if (run / file).is_file():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / file, folder / file)


def _plain(one: Deployable) -> dict[str, Any]:
    return dict(msgspec.to_builtins(one))


@contextmanager
def _delivering(out: Path, sources: Sequence[Path], packaging: Packaging) -> Iterator[Path]:
    """A folder to fill, which gets the name ``out`` when it is whole.

    An export of ours that is there is replaced.  Raises FolderError for anything else,
    SurroundingsError where another export is at work there.
    """
    if packaging.sign_key is not None:
        check_key(Path(packaging.sign_key))
    for source in sources:
        if out.resolve().is_relative_to(source.resolve()):
            raise FolderError(f"{out} lies in {source}, which is complete; name another --out")
    _require_ours(out)
    with held(beside(out), "compressor export"):
        _require_ours(out)  # another one may have ended meanwhile
        sweep_of(out)
        with replacing(out) as place:
            place.mkdir()
            yield place


def _require_ours(out: Path) -> None:
    """Raises FolderError for what may not be replaced: all but an earlier export of ours."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    advice = "name another folder with --out"
    if not out.is_dir() or not (out / MANIFEST_FILE).is_file() or (out / JOURNAL).is_file():
        raise FolderError(f"{out} is not empty and not an export of ours; {advice}")
    foreign = [line for line in check_manifest(out) if line.endswith("not in the manifest")]
    if foreign:
        raise FolderError(f"{out} holds more than was exported ({foreign[0]}); {advice}")
