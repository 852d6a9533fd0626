"""How long the analysis takes: beside the capture, beside torch-pruning, over depth and width.

    python -m benchmarks.studies.analysis_speed --results runs/analysis-speed.jsonl

Four tables: the analysis against the capture and against torch-pruning's graph building and group
listing (interleaved in one process per network); load to proof, seconds by stage and peak memory;
the analysis of chains of growing depth and width, with the fitted exponent.  Each measurement runs
on one thread in a process of its own.  ``--only`` takes one part; rows that the results file holds
are not measured again, so a study that was stopped goes on, and figures can be retaken by deleting
their lines.  The page is written when every part is there.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.studies import analysis_speed_networks
from benchmarks.studies.analysis_speed_networks import (
    CHAINS,
    COMPARED,
    PROVED,
    chain_of,
    inputs_of,
    network_of,
)
from benchmarks.studies.analysis_speed_page import PAGES, Row, heading
from compressor.analysis import analyze
from compressor.graphs import capture
from compressor.loading import capture_teacher, load
from compressor.planning import plan
from compressor.proof import prove
from compressor.removal import remove
from compressor.scoring import score
from compressor.types import Budget
from compressor.watching import Stopwatch

PATIENCE_S = 60.0  # for torch-pruning, on one network
SLOW_S = 10.0  # what took longer is not repeated: its first time hardly differs


# -- measurements, each in a process of its own --------------------------------------------------


class OutOfPatienceError(Exception):
    """torch-pruning was not done in time."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raises OutOfPatienceError when these processor seconds are spent."""

    def stop(*_: object) -> None:
        raise OutOfPatienceError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor, like all times here
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds: one thread that waits for nothing, on a machine that may be shared."""
    gc.collect()
    start = time.process_time()
    answer = call()
    return time.process_time() - start, answer


def _torch_pruning(module: nn.Module, inputs: torch.Tensor) -> int:
    """Build torch-pruning's graph and list its groups; returns how many there are."""
    import torch_pruning

    with torch.enable_grad():  # it follows autograd
        graph = torch_pruning.DependencyGraph()
        graph.build_dependency(module, example_inputs=inputs, verbose=False)
        return len(list(graph.get_all_groups()))


def compare(spec: str, repeats: int) -> Row:
    """Capture, analysis and torch-pruning in turn, ``repeats`` times after a first for warmth."""
    module, inputs = network_of(spec), inputs_of(spec)
    seconds: dict[str, list[float]] = {"capture": [], "analysis": [], "torch_pruning": []}
    refused, graph, analysis = "", None, None
    for _ in range(repeats + 1):
        taken, graph = _timed(partial(capture, module, inputs))
        seconds["capture"].append(taken)
        taken, analysis = _timed(partial(analyze, graph))
        seconds["analysis"].append(taken)
        if refused or any(taken > SLOW_S for taken in seconds["torch_pruning"]):
            continue
        start = time.process_time()
        try:
            with patience(PATIENCE_S):
                taken, _ = _timed(partial(_torch_pruning, module, inputs[0]))
            seconds["torch_pruning"].append(taken)
        except Exception as error:  # its own code may turn ours into another
            spent = time.process_time() - start > 0.9 * PATIENCE_S
            refused = f"over {PATIENCE_S:.0f} s" if spent else type(error).__name__
    assert graph is not None
    assert analysis is not None
    return {
        "parameters": analysis.model.parameters,
        "nodes": len(graph.program.graph.nodes),
        "groups": len(analysis.groups),
        "refused": refused,
        **{
            name: statistics.median(taken[1:] or taken) if taken else None
            for name, taken in seconds.items()
        },
    }


def write_weights(spec: str, path: str) -> Row:
    torch.save(network_of(spec).state_dict(), path)
    return {}


def prove_from_file(spec: str, path: str) -> Row:
    """Load to proof at half the parameters; seconds by stage, and the process's peak in GiB."""
    library, _, name = spec.partition(":")
    watch, start = Stopwatch(time.process_time), time.perf_counter()
    with watch.timed("load"):
        if library == "transformers":
            factory = f"{analysis_speed_networks.__file__}:bert"
            teacher = load(path, factory, inputs_of(spec))
        else:
            teacher = load(path, f"{library}:{name}")
    with watch.timed("capture"):
        graph = capture_teacher(teacher)
    with watch.timed("analysis"):
        analysis = analyze(graph)
    with watch.timed("score"):
        scores = score(graph, analysis)
    with watch.timed("plan"):
        chosen = plan(analysis, scores, Budget(0.5))
    with watch.timed("removal"):
        student = remove(graph, analysis, chosen)
    with watch.timed("proof"):
        proof = prove(graph, student, analysis, chosen)
    return {
        "parameters": analysis.model.parameters,
        "macs": analysis.model.macs,
        "input": list(graph.example_inputs[0].shape[1:]),
        "seconds": watch.seconds,
        "wall": time.perf_counter() - start,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "achieved": chosen.achieved,
        "passed": proof.passed,
        "error": proof.max_relative_error,
    }


def grow(chain: str, size: int, repeats: int) -> Row:
    """Median seconds of the analysis of one chain, with what it was made of."""
    module, inputs = chain_of(chain, size)
    graph = capture(module, inputs)
    seconds = [_timed(partial(analyze, graph))[0] for _ in range(repeats + 1)]
    rows = sum(sum(tensor.shape) for tensor in graph.tensors.values())
    return {
        "chain": chain,
        "size": size,
        "per": CHAINS[chain].per,
        "nodes": len(graph.program.graph.nodes),
        "rows": rows,
        "seconds": statistics.median(seconds[1:]),
    }


# -- processes and rows ------------------------------------------------------------------------


def answer(pipe: Any, measure: Callable[..., Row], arguments: tuple[Any, ...]) -> None:
    """In the child: measure, and send the row."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        pipe.send(measure(*arguments))
    except Exception as error:  # said in the row, the study goes on
        text = f"{type(error).__name__}: {error}"
        pipe.send({"failed": text.splitlines()[0]})


def in_child(measure: Callable[..., Row], *arguments: Any) -> Row:
    """Run a measurement in a fresh process, so that peaks and caches are its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(there, measure, arguments))
    child.start()
    there.close()
    try:
        row: Row = here.recv()
    except EOFError:
        row = {"failed": "the process died"}
    child.join()
    return row


def _proved(spec: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.pt")
        written = in_child(write_weights, spec, path)
        return written or in_child(prove_from_file, spec, path)


def _wanted(parts: Sequence[str], repeats: int) -> Iterator[tuple[str, str, Callable[[], Row]]]:
    """(part, subject, how to measure it)."""
    for spec in COMPARED if "compared" in parts else ():
        yield "compared", spec, partial(in_child, compare, spec, repeats)
    for spec in PROVED if "proved" in parts else ():
        yield "proved", spec, partial(_proved, spec)
    for name, chain in CHAINS.items() if "grown" in parts else ():
        for size in chain.sizes:
            yield "grown", f"{name} {size}", partial(in_child, grow, name, size, repeats)


def _stored_rows(path: Path | None) -> dict[tuple[str, str], Row]:
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["part"], row["subject"]): row for row in rows}


def measured(parts: Sequence[str], repeats: int, results: Path | None) -> list[Row]:
    """All rows of these parts, those the results file lacks measured now and added to it."""
    stored = _stored_rows(results)
    rows = []
    for part, subject, measure in _wanted(parts, repeats):
        row = stored.get((part, subject))
        if row is None:
            row = {"part": part, "subject": subject, **measure()}
            if results is not None:
                results.parent.mkdir(parents=True, exist_ok=True)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=sorted(PAGES), action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, help="JSON lines, kept between runs")
    parser.add_argument("--page", type=Path, default=Path("docs/analysis-speed.md"))
    options = parser.parse_args()
    parts = options.only or list(PAGES)
    rows = measured(parts, options.repeats, options.results)
    lines = heading(options.repeats)
    for part in parts:
        lines += PAGES[part]([row for row in rows if row["part"] == part])
    failed = [f"{row['subject']}: {row['failed']}" for row in rows if "failed" in row]
    lines += ["## Not measured", "", *failed, ""] if failed else []
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if set(parts) == set(PAGES):
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
