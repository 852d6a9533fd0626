"""``bench`` and ``probe``: any files against the first of them, and widths that a runtime likes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compressor.cli.opening import load_given
from compressor.cli.showing import json_text
from compressor.options import (
    Against,
    Arch,
    AsJson,
    Batches,
    BenchFiles,
    BenchSeconds,
    Everything,
    Fold,
    ImageSize,
    JsonFile,
    Precisions,
    Processes,
    Runtimes,
    SampleFolder,
    Seed,
    Sizes,
    TeacherFile,
    ThreadCounts,
    Threads,
    TrustPickle,
    Within,
    require_minutes,
    set_threads,
    whole_numbers,
    words,
)


def bench(
    files: BenchFiles,
    batch: Batches = "1",
    threads: ThreadCounts = "1",
    precision: Precisions = "fp32",
    runtimes: Runtimes = None,
    size: Sizes = None,
    seconds: BenchSeconds = 10.0,
    within: Within = 0.01,
    processes: Processes = 5,
    seed: Seed = 0,
    json: JsonFile = None,
    samples: SampleFolder = None,
    against: Against = None,
) -> None:
    """Time files against the first of them, ours or not: interleaved, in fresh processes."""
    from benchmarks import bench as benches
    from benchmarks.dispatch import Effort
    from benchmarks.inputs import parse_sizes
    from benchmarks.tables import notes, setting, tables
    from compressor.console import Console
    from compressor.files import check_writable, write_bytes

    paths = [Path(name) for name in files]
    if json is not None:
        check_writable(Path(json))
    if samples is not None:
        check_writable(Path(samples) / "one.json")
    before = None if against is None else benches.read_earlier(Path(against))
    named = benches.runtimes_for(paths) if runtimes is None else words(runtimes)
    counts = (whole_numbers("--batch", batch), whole_numbers("--threads", threads))
    console = Console()
    with console.watching():
        found = benches.bench(
            paths,
            benches.workloads_of(named, *counts, words(precision)),
            effort=Effort(seconds=seconds, processes=processes, within=within, seed=seed),
            sizes=parse_sizes(size or ()),
            samples=None if samples is None else Path(samples),
            progress=lambda workload, process: console.step(
                f"{setting(asdict(workload))}, process {process + 1}"
            ),
        )
    if json is not None:
        write_bytes(Path(json), json_text(found).encode())
    if before is not None:
        found = benches.against(found, before, str(against))
    console.tables(tables(found), notes(found))


def probe(
    teacher: TeacherFile,
    arch: Arch = None,
    runtime: Annotated[str, typer.Option(help="onnxruntime, openvino or torch")] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="fp32, int8 or bf16")] = "fp32",
    threads: Threads = 0,
    batch: Annotated[int, typer.Option(help="images of one call")] = 1,
    minutes: Annotated[float, typer.Option(help="of measuring")] = 2.0,
    anew: Annotated[bool, typer.Option("--anew", help="measure again what is known")] = False,
    image_size: ImageSize = None,
    everything: Everything = False,
    as_json: AsJson = False,
    fold: Fold = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Measure which widths a runtime likes on this machine, for the layers of a network.

    The command build takes them, with --target and the same --threads.
    """
    import torch

    from benchmarks.probe.choices import choose_for
    from benchmarks.probe.targets import target_of
    from benchmarks.probe.telling import document, probe_lines
    from compressor.analysis import analyze as analyse
    from compressor.console import Console
    from compressor.loading import capture_teacher
    from compressor.watching import Silent, Stopwatch

    set_threads(threads)
    target = target_of(runtime, precision, threads=threads or torch.get_num_threads(), batch=batch)
    require_minutes("--minutes", minutes)
    loaded = load_given(
        teacher, arch, "synthetic", None, None, image_size, trust_pickle, Stopwatch(), fold
    )
    graph = capture_teacher(loaded)
    analysis = analyse(graph)
    console = Console()
    speaker = Silent() if as_json else console
    with console.watching():
        found = choose_for(
            graph,
            analysis,
            target,
            minutes=minutes,
            anew=anew,
            announce=speaker.note,
            progress=speaker.working,
        )
    names = [group.name for group in analysis.groups]
    if as_json:
        typer.echo(json_text(document(found, names)))
    else:
        console.widths(probe_lines(found, names, everything=everything))
