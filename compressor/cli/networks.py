"""``analyze`` and ``train``: what can go of a network, and a network to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.cli.opening import load_given
from compressor.cli.showing import json_text, say
from compressor.errors import OptionError
from compressor.options import (
    LARGEST,
    Arch,
    AsJson,
    Device,
    Everything,
    Fold,
    ImageSize,
    Mean,
    Minutes,
    Seed,
    Std,
    TeacherEpochs,
    TeacherFile,
    TestFolder,
    Threads,
    TrustPickle,
    device_of,
    length,
    numbers,
    set_threads,
)

if TYPE_CHECKING:
    from compressor.explanation import Explanation
    from compressor.graphs import Graph


def analyze(
    teacher: TeacherFile,
    arch: Arch = None,
    layer: Annotated[
        str | None, typer.Option(help="a module or parameter: who moves with it, or why it stays")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    html: Annotated[str | None, typer.Option(help="also write a page with a picture")] = None,
    everything: Everything = False,
    as_json: AsJson = False,
    fold: Fold = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Show what can be pruned, what cannot and why, and which layers move together."""
    from compressor import analysis, explanation, labelling
    from compressor.console import Console
    from compressor.loading import capture_teacher
    from compressor.watching import Stopwatch

    watch = Stopwatch()
    loaded = load_given(
        teacher, arch, "synthetic", mean, std, image_size, trust_pickle, watch, fold
    )
    with watch.timed("capture"):
        graph = capture_teacher(loaded)
    with watch.timed("analysis"):
        labelled = labelling.label(graph)
        found = analysis.summarize(graph, labelled)
    told = explanation.explain(graph, labelled, found)
    asked = explanation.find(told, layer) if layer is not None else ()
    if html is not None:
        _draw(html, graph, told)
    if as_json:
        seconds = {name: round(watch.seconds[name], 3) for name in ("capture", "analysis")}
        typer.echo(json_text({**explanation.document(found, told, asked), "seconds": seconds}))
        return
    console = Console()
    for note in (*loaded.notes, *graph.notes):
        console.note(note)
    console.analysis(told, asked, everything=everything)
    if html is not None:
        typer.echo()
        say(f"picture: {html}")


def train(
    arch: Annotated[str, typer.Option(help="torchvision:NAME, timm:NAME or FILE.py:factory")],
    data: Annotated[str, typer.Option(help="a folder of class folders, or digits")],
    out: Annotated[str, typer.Option(help="weight file: .pt, .pth or .safetensors")],
    test: TestFolder = None,
    minutes: Minutes = None,
    epochs: TeacherEpochs = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    batch_size: Annotated[int | None, typer.Option(max=LARGEST, help="images of one step")] = None,
    seed: Seed = 0,
    device: Device = None,
    threads: Threads = 0,
    restart: Annotated[
        bool, typer.Option("--restart", help="train anew in place of an earlier teacher")
    ] = False,
) -> None:
    """Train a teacher: an architecture learns the classes of an image folder from nothing."""
    from compressor import teaching
    from compressor.console import Console

    lasting = length(minutes, epochs, None)
    if lasting is None:
        raise OptionError("--epochs 0: a teacher from fresh weights needs at least 1")
    place = device_of(device)
    set_threads(threads)
    console = Console()
    with console.watching():
        card = teaching.train(
            arch,
            data,
            Path(out),
            length=lasting,
            test=test,
            seed=seed,
            image_size=image_size,
            mean=numbers("--mean", mean),
            std=numbers("--std", std),
            batch_size=batch_size,
            device=place,
            restart=restart,
            listener=console,
        )
    smaller = ("compressor", "build", "--teacher", out, "--arch", arch, "--data", data)
    console.taught(card, Path(out), shlex.join((*smaller, "--sparsity", "0.7")))


def _draw(path: str, graph: Graph, told: Explanation) -> None:
    from compressor.drawing import render
    from compressor.files import write_bytes
    from compressor.flow import thin

    write_bytes(Path(path), render(told, thin(graph, told.freezers)).encode())
