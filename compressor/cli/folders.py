"""``export``, ``verify`` and ``report``: what is done with a finished run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from compressor.cli.opening import load_given
from compressor.cli.showing import json_text, say, show_result, write_text
from compressor.errors import LoadError, OptionError
from compressor.options import (
    Arch,
    AsJson,
    AsMarkdown,
    CsvFile,
    ImageSize,
    Mean,
    Opset,
    PageFile,
    RunFolders,
    SignKey,
    StaticBatch,
    Std,
    Threads,
    Triton,
    TrustPickle,
    set_threads,
)


def export(
    source: Annotated[str, typer.Argument(help="a run folder, a .pt2 program or weights")],
    out: Annotated[str, typer.Option(help="the new folder of deployables")],
    arch: Arch = None,
    opset: Opset = None,
    static_batch: StaticBatch = False,
    triton: Triton = False,
    sign_key: SignKey = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    threads: Threads = 0,
    trust_pickle: TrustPickle = False,
) -> None:
    """Write the folder that ships, from a finished run or a network of its own."""
    from compressor.types import Packaging
    from compressor.watching import Stopwatch
    from export.delivery import export_network, export_run

    if not Path(source).exists():
        raise LoadError(f"{source}: not there; give a run folder, a .pt2 program or weights")
    set_threads(threads)
    wanted = Packaging(static_batch=static_batch, triton=triton, sign_key=sign_key)
    command = ("compressor", *sys.argv[1:])
    if Path(source).is_dir():
        if arch or mean or std or image_size is not None:
            raise OptionError(
                f"{source} is a run folder, which says what its network is; leave --arch, --mean, "
                "--std and --image-size out"
            )
        found = export_run(
            Path(source), Path(out), opset=opset, packaging=wanted, command=command, threads=threads
        )
    else:
        loaded = load_given(
            source, arch, "synthetic", mean, std, image_size, trust_pickle, Stopwatch(), False
        )
        found = export_network(
            loaded, Path(out), opset=opset, packaging=wanted, command=command, threads=threads
        )
    for line in found:
        say(line)
    say(f"exported: {out}; check it with: compressor verify {shlex.quote(out)}")


def verify(
    folder: Annotated[str, typer.Argument(help="a run folder, or one that export wrote")],
    public_key: Annotated[
        str | None, typer.Option(help="PEM file of the key that the signature must be of")
    ] = None,
    skip_signature: Annotated[
        bool, typer.Option("--skip-signature", help="check all but the signature")
    ] = False,
) -> None:
    """Check hashes and signature, and replay golden samples in every runtime here; no torch."""
    from export.verification import verify as check

    key = Path(public_key) if public_key is not None else None
    found = check(Path(folder), public_key=key, skip_signature=skip_signature)
    for one in found.replays:
        say(
            f"{one.file} in {one.runtime}: {one.samples} samples differ by at most "
            f"{one.max_relative_error:.1e}, tolerance {one.tolerance:.0e}"
        )
    for line in found.skipped:
        say(f"skipped: {line}")
    for line in found.differences:
        say(line)
    signed = ", signature holds" if found.signed and found.passed else ""
    verdict = "verified" if found.passed else "NOT verified"
    say(f"{verdict}: {found.files} files, {len(found.replays)} replays{signed}")
    if not found.passed:
        raise typer.Exit(1)


def report(
    folders: RunFolders,
    html: PageFile = None,
    csv: CsvFile = None,
    markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Print the verdict of a finished run; of several, what differs."""
    from compressor.console import Console

    if markdown and as_json:
        raise OptionError("--markdown and --json: choose one")
    if len(folders) == 1:
        _report_one(Path(folders[0]), html, csv, markdown=markdown, as_json=as_json)
        return
    if csv is not None:
        raise OptionError("--csv is for the timed calls of one run: name one folder")
    from benchmarks import lineup, text_tables
    from benchmarks import markdown as markdowns
    from benchmarks.entries import Entry
    from benchmarks.report import open_run, render_lineup
    from benchmarks.sections.contest import contest

    names = lineup.names_of([Path(one) for one in folders])
    runs = [
        lineup.Contestant(name=name, report=open_run(Path(one)).report)
        for name, one in zip(names, folders, strict=True)
    ]
    document = lineup.line_up(runs)
    compared = Entry(document, lineup.FILE)
    if html is not None:
        write_text(html, render_lineup(document))
    if as_json:
        typer.echo(json_text(document))
    elif markdown:
        typer.echo(markdowns.render_sections(contest(compared)), nl=False)
    else:
        Console().sections([text_tables.lines_of(one) for one in contest(compared)])
        if html is not None:
            say(f"page: {html}")


def _report_one(
    folder: Path, html: str | None, csv: str | None, *, markdown: bool, as_json: bool
) -> None:
    from benchmarks import markdown as markdowns
    from benchmarks import raw_samples
    from benchmarks.report import open_run, render
    from compressor.console import Console

    run = open_run(folder)
    if html is not None:
        write_text(html, render(run))
    if csv is not None:
        write_text(csv, raw_samples.to_csv(run.samples))
    if as_json:
        typer.echo(json_text(run.report))
    elif markdown:
        typer.echo(markdowns.render(run.report), nl=False)
    else:
        show_result(Console(), folder)
        if html is not None:
            say(f"page: {html}")
        if csv is not None:
            say(f"timed calls: {csv}" if run.samples else f"{csv}: a heading, as no call was timed")
