"""Why the student is not faster, in each runtime and precision, as entries of ``report.json``.

In come pairs of files; out come plain dictionaries, whose keys the JSON Schema describes.  Every
number of the sentences is among them.  What cannot be run or profiled here is an entry with the
reason.  Knows nothing of how a sentence is worded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attribution import Explanation, explain
from benchmarks.layers import Layer, Part
from benchmarks.profiles import profile
from benchmarks.reasons import describe
from benchmarks.runtimes import runtime_for, unavailable
from benchmarks.workers import without_folders
from benchmarks.workloads import Workload, file_workload
from compressor.errors import LoadError, OptionError, SurroundingsError

Pair = tuple[Path, Path]  # teacher's and student's file

PROFILED = ("onnxruntime", "openvino")


def explain_all(
    pairs: Mapping[str, Pair],
    input_shape: tuple[int, ...],
    *,
    threads: int,
    seconds: float,
    seed: int = 0,
) -> dict[str, Any]:
    """``layers`` and ``explanation``: an entry for each runtime that can be profiled here and each
    precision of the files.

    ``pairs``: by their precisions as ``--precision`` has them.  ``seconds`` are of each runtime,
    its precisions share them; each makes the fewest rounds at least (`profiles.FEWEST_ROUNDS`).
    """
    shape = (1, *input_shape)
    inputs = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    layers, told = [], []
    for runtime in PROFILED:
        for precision, pair in pairs.items():
            workload = file_workload(runtime, precision, threads=threads)
            found = explanation_of(pair, inputs, workload, seconds / len(pairs), seed)
            if isinstance(found, str):
                told.append({**workload.facts, "reason": found})
                continue
            layers.append(layers_row(found, workload))
            told.append(explanation_row(found, workload))
    return {"layers": layers, "explanation": told}


def explanation_of(
    pair: Pair, inputs: np.ndarray, workload: Workload, seconds: float, seed: int
) -> Explanation | str:
    """Why the student is not faster in one workload; a text says why that cannot be told."""
    reason = reason_against(workload)
    if reason is not None:
        return reason
    try:
        return explain(*profile(*pair, inputs, workload=workload, seconds=seconds, seed=seed))
    except (LoadError, SurroundingsError, ValueError) as problem:
        return without_folders(str(problem), pair)


def reason_against(workload: Workload) -> str | None:
    """Why a workload cannot be run here; None where it can."""
    reason = unavailable(workload)
    if reason is None:
        try:
            runtime_for(workload)
        except OptionError as problem:
            return str(problem)
    return reason


def layers_row(found: Explanation, workload: Workload) -> dict[str, Any]:
    """An entry of ``layers``: one workload, its layers in network order."""
    return {
        **workload.facts,
        "rounds": found.rounds,
        "rows": [
            {
                "name": one.name,
                "teacher": _part_row(one.teacher),
                "student": _part_row(one.student),
                "macs_left": _left(one, "macs"),
                "time_left": _left(one, "seconds"),
                "missing_us": 1e6
                * sum(piece.seconds for piece in found.pieces if piece.layer == one.name),
            }
            for one in found.layers
        ],
    }


def _left(layer: Layer, field: str) -> float | None:
    if layer.teacher is None or layer.student is None or not getattr(layer.teacher, field):
        return None
    return float(getattr(layer.student, field) / getattr(layer.teacher, field))


def _part_row(part: Part | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {
        "us": 1e6 * part.seconds,
        "main_us": 1e6 * part.main_s,
        "beside_us": 1e6 * part.beside_s,
        "convert_us": 1e6 * part.convert_s,
        "macs": part.macs,
        "executed_macs": part.executed_macs,
        "bytes": part.bytes_moved,
        "in_width": part.in_width,
        "out_width": part.out_width,
        "operators": list(part.operators),
        "kernels": [*part.implementations, *part.beside, *part.conversions],
        "computes_in": list(part.computes_in),
    }


def explanation_row(found: Explanation, workload: Workload) -> dict[str, Any]:
    """An entry of ``explanation``: one workload, its sentences and the numbers in them."""
    return {
        **workload.facts,
        "sentences": list(describe(found, workload)),
        "macs_speedup": found.teacher_macs / found.student_macs,
        "time_speedup": found.teacher_s / found.student_s,
        "teacher_ms": 1e3 * found.teacher_s,
        "student_ms": 1e3 * found.student_s,
        "expected_ms": 1e3 * found.expected_s,
        "missing_ms": 1e3 * found.missing_s,
        "teacher_kernels_ms": 1e3 * found.teacher_kernels_s,
        "student_kernels_ms": 1e3 * found.student_kernels_s,
        "teacher_profiled_ms": 1e3 * found.teacher_profiled_s,
        "student_profiled_ms": 1e3 * found.student_profiled_s,
        "teacher_unplaced_ms": 1e3 * found.teacher_unplaced_s,
        "student_unplaced_ms": 1e3 * found.student_unplaced_s,
        "causes": [{"cause": cause, "ms": 1e3 * seconds} for cause, seconds in found.by_cause()],
        "conversions": [
            {
                "kind": one.kind,
                "teacher": one.teacher,
                "student": one.student,
                "teacher_ms": 1e3 * one.teacher_s,
                "student_ms": 1e3 * one.student_s,
            }
            for one in found.conversions
        ],
        "types": {"teacher": dict(found.types.teacher), "student": dict(found.types.student)},
        "uncounted": list(found.uncounted),
        "rounds": found.rounds,
        "contention": found.contention,
    }
