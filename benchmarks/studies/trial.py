"""One network of the list through the pipeline.

Comes in: a row.  Goes out: its ``Trial``, in the study folder and written at every stage, so that a
process that is stopped or dies leaves what it had reached.  Knows nothing of processes or limits.
"""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.studies.checks import (
    CheckError,
    factors,
    half_plan,
    run_at_another_length,
    run_at_other_batches,
    train_a_step,
)
from benchmarks.studies.extremes import extreme_plan
from benchmarks.studies.networks import Network
from benchmarks.studies.networks.building import build, inputs
from benchmarks.studies.records import ROOT, Cut, Trial, Verdict, sources_key, trial_file, write
from compressor.analysis import analyze
from compressor.errors import BudgetError, CompressorError, DefectError
from compressor.graphs import Graph, capture
from compressor.proof import prove
from compressor.removal import remove
from compressor.scoring import score
from compressor.types import Analysis, Plan, Proof

FROZEN_KEPT = 40  # reasons that are written down, dearest first


class Progress:
    """The record so far, on disk after every stage."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.path = trial_file(folder, network)
        self.record = Trial(name=network.name, key=sources_key(network))
        self.failures: list[tuple[Verdict, str, str]] = []
        self.started = time.perf_counter()
        write(self.path, self.record)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.record = msgspec.structs.replace(self.record, stage=name)
        write(self.path, self.record)
        start = time.process_time()
        yield
        spent = self.record.seconds | {name: round(time.process_time() - start, 3)}
        self.record = msgspec.structs.replace(self.record, seconds=spent)

    def fail(self, verdict: Verdict, reason: str) -> None:
        self.failures.append((verdict, self.record.stage, reason))

    def close(self) -> None:
        """The verdict: the worst of what was met; "wrong" above all."""
        ranks: tuple[Verdict, ...] = ("wrong", "defect", "refused")
        worst = min(self.failures, key=lambda f: ranks.index(f[0]), default=("passed", "done", ""))
        verdict, stage, reason = worst
        self.record = msgspec.structs.replace(
            self.record,
            verdict=verdict,
            stage=stage,
            reason=reason,
            wall_s=round(time.perf_counter() - self.started, 2),
        )
        write(self.path, self.record)


def run(network: Network, folder: Path) -> Trial:
    """The network through all stages; whatever it raises is written down, never raised."""
    progress = Progress(network, folder)
    try:
        graph, analysis, student = _cut_by_half(network, progress)
        with _going_on(progress), progress.stage("batches"):
            batches = run_at_other_batches(student, network)
            lengths = run_at_another_length(student, network)
            progress.record = msgspec.structs.replace(
                progress.record, batches=batches, lengths=lengths
            )
        with _going_on(progress), progress.stage("training"):
            missed = train_a_step(student, network)
            progress.record = msgspec.structs.replace(
                progress.record, trained=True, without_gradient=missed
            )
        del student
        with _going_on(progress), progress.stage("extreme"):
            chosen = extreme_plan(analysis, "drawn")
            cut = _carry_out(graph, analysis, chosen, "extreme", progress)
            progress.record = msgspec.structs.replace(progress.record, extreme=cut)
    except Exception as error:
        progress.fail(_verdict(error), _line(error))
    progress.close()
    return progress.record


@contextmanager
def _going_on(progress: Progress) -> Iterator[None]:
    """What fails here is written down, and the checks after it are still made."""
    try:
        yield
    except Exception as error:
        progress.fail(_verdict(error), _line(error))


def _cut_by_half(network: Network, progress: Progress) -> tuple[Graph, Analysis, Graph]:
    with progress.stage("build"):
        module, given = build(network), inputs(network)
    with progress.stage("capture"):
        graph = capture(module, given.args, given.kwargs, architecture=network.name)
    del module
    nodes = len(graph.program.graph.nodes)
    progress.record = msgspec.structs.replace(progress.record, nodes=nodes)
    with progress.stage("analysis"):
        analysis = analyze(graph)
    progress.record = _with_analysis(progress.record, analysis)
    if not analysis.groups:
        raise BudgetError("no unit of this network may be removed; see its frozen reasons")
    with progress.stage("plan"):
        scores = score(graph, analysis)
        chosen, asked = half_plan(analysis, scores)
    with progress.stage("removal"):
        student = remove(graph, analysis, chosen)
    with progress.stage("proof"):
        proof = prove(graph, student, analysis, chosen)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    progress.record = msgspec.structs.replace(
        progress.record,
        half=_told(proof, chosen, asked, progress),
        factors=factors(analysis, chosen),
        peak_gib=round(peak, 2),
    )
    return graph, analysis, student


def _with_analysis(record: Trial, analysis: Analysis) -> Trial:
    unknown = [entry for entry in analysis.frozen if entry.reason.startswith("no rule")]
    dearest = [entry for entry in analysis.frozen[:FROZEN_KEPT] if entry not in unknown]
    return msgspec.structs.replace(
        record,
        parameters=analysis.model.parameters,
        groups=len(analysis.groups),
        exact_groups=sum(group.exact for group in analysis.groups),
        prunable=round(analysis.prunable_parameters, 5),
        frozen=(*unknown, *dearest),
    )


def _carry_out(
    graph: Graph, analysis: Analysis, chosen: Plan, asked: str, progress: Progress
) -> Cut:
    student = remove(graph, analysis, chosen)
    return _told(prove(graph, student, analysis, chosen), chosen, asked, progress)


def _told(proof: Proof, chosen: Plan, asked: str, progress: Progress) -> Cut:
    if not proof.passed:
        progress.fail("wrong", proof.first_wrong or "the proof failed")
    elif not np.isfinite(proof.moved) or proof.moved < 1e-5:
        progress.fail("defect", f"the output moved by {proof.moved:.1g}: the proof shows nothing")
    return Cut(
        asked=asked,
        achieved=round(chosen.achieved, 4),
        passed=proof.passed,
        error=_finite(proof.max_relative_error),
        exact_error=_finite(proof.exact_error),
        exact_groups=proof.exact_groups,
        inexact_groups=proof.inexact_groups,
        nodes_compared=proof.nodes_compared,
        moved=_finite(proof.moved),
        first_wrong=proof.first_wrong,
    )


def _finite(number: float) -> float | None:
    """JSON knows no infinity."""
    return number if np.isfinite(number) else None


def _verdict(error: Exception) -> Verdict:
    if isinstance(error, CheckError):
        return "wrong"
    stated = isinstance(error, CompressorError) and not isinstance(error, DefectError)
    return "refused" if stated else "defect"


def _line(error: Exception) -> str:
    """Kind and first line; for what was not raised on purpose, the last line of ours too."""
    lines = str(error).strip().splitlines()
    told = f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]
    if isinstance(error, CompressorError | CheckError):
        return told
    ours = [
        f"{Path(frame.filename).relative_to(ROOT)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "compressor/" in frame.filename
        and Path(frame.filename).is_relative_to(ROOT)
        and "site-packages" not in frame.filename
    ]
    return f"{told} (at {ours[-1]})" if ours else told
