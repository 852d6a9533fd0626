"""The command line: options become values, errors become one line and an exit status.

Names of criteria, recipes and data become functions and values here and nowhere else.  Knows
nothing of how any stage works.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from compressor.errors import (
    CompressorError,
    FolderError,
    LoadError,
    OptionError,
    SurroundingsError,
)

if TYPE_CHECKING:
    from compressor.console import Console
    from compressor.loading import Teacher
    from compressor.pacing import Deadline, Epochs
    from compressor.watching import Stopwatch

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A trained network goes in, a physically smaller trained network comes out.",
)

TeacherFile = Annotated[str, typer.Option("--teacher", help="weights, checkpoint or .pt2 program")]
Arch = Annotated[
    str | None,
    typer.Option(help="torchvision:NAME, timm:NAME or FILE.py:factory; else it is recognised"),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", help="side of the input in pixels")]
Mean = Annotated[str | None, typer.Option(help="of the channels, as .485,.456,.406")]
Std = Annotated[str | None, typer.Option(help="of the channels, as .229,.224,.225")]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="load a pickled module: RUNS CODE from the file; only files you trust",
    ),
]
Data = Annotated[str, typer.Option(help="a folder of images, digits or synthetic")]
TestFolder = Annotated[str | None, typer.Option("--test", help="a folder of test images")]
Sparsity = Annotated[float, typer.Option(help="share that goes, between 0 and 1")]
Of = Annotated[str, typer.Option(help="params, macs or channels")]
MultipleOf = Annotated[int, typer.Option(help="wanted divisor of widths, relaxed where needed")]
KeepAtLeast = Annotated[float, typer.Option(help="share of every group that stays")]
RecipeName = Annotated[str, typer.Option("--recipe", help="prune-then-distill")]
CriterionName = Annotated[
    str | None,
    typer.Option("--criterion", help="magnitude or taylor; taylor where images are given"),
]
AllocationName = Annotated[str, typer.Option("--allocation", help="global or uniform")]
Seed = Annotated[int, typer.Option(help="of splits, order, augmentation and measurement")]
Threads = Annotated[int, typer.Option(help="processor threads; 0 leaves the library's own number")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
def build(
    teacher: TeacherFile,
    sparsity: Sparsity,
    arch: Arch = None,
    data: Data = "synthetic",
    test: TestFolder = None,
    of: Of = "params",
    recipe: RecipeName = "prune-then-distill",
    criterion: CriterionName = None,
    allocation: AllocationName = "global",
    feature_weight: Annotated[
        float, typer.Option(help="of the distance on kept units in the training loss")
    ] = 0.0,
    minutes: Annotated[float | None, typer.Option(help="of training; 10 by default")] = None,
    epochs: Annotated[int | None, typer.Option(help="of training, in place of --minutes")] = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    multiple_of: MultipleOf = 8,
    keep_at_least: KeepAtLeast = 0.1,
    precision: Annotated[str, typer.Option(help="of the deployables: fp32")] = "fp32",
    opset: Annotated[int | None, typer.Option(help="of the ONNX files")] = None,
    seed: Seed = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; cuda where there is one")] = None,
    threads: Threads = 0,
    bench_seconds: Annotated[float, typer.Option(help="per benchmark setting")] = 5.0,
    out: Annotated[str | None, typer.Option(help="run folder; runs/TEACHER-OF-SPARSITY")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="begin anew in a run's folder")
    ] = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Build the student: prune, prove, train, export, verify, measure, report."""
    from compressor import building
    from compressor.console import Console
    from compressor.recipes import find_recipe
    from compressor.types import Budget
    from compressor.watching import Stopwatch

    if precision != "fp32":
        raise OptionError(f"--precision {precision}: only fp32 is built so far")
    budget = Budget(sparsity, _measure(of), multiple_of=multiple_of, keep_at_least=keep_at_least)
    _check_sparsity(sparsity)
    length = _length(minutes, epochs)
    scored = criterion or _fitting_criterion(data)
    chosen = find_recipe(recipe, scored, allocation, feature_weight)
    place = _device(device)
    _set_threads(threads)
    watch = Stopwatch()
    console = Console()
    loaded = _load(teacher, arch, data, mean, std, image_size, trust_pickle, watch)
    for note in (*loaded.notes, f"preprocessing: {loaded.preprocessing.origin}"):
        console.note(note)
    with console.watching(length):
        folder = building.build(
            loaded,
            data=data,
            test=test,
            recipe=chosen,
            budget=budget,
            out=Path(out) if out is not None else None,
            length=length,
            seed=seed,
            device=place,
            threads=threads,
            opset=opset,
            bench_seconds=bench_seconds,
            restart=restart,
            command=("compressor", *sys.argv[1:]),
            listener=console,
            stopwatch=watch,
        )
    _show_result(console, folder)


@app.command()
def analyze(
    teacher: TeacherFile,
    arch: Arch = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    as_json: AsJson = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Show the groups, what is frozen and why, and how much can be pruned."""
    import msgspec

    from compressor import analysis, building
    from compressor.console import Console
    from compressor.watching import Stopwatch

    watch = Stopwatch()
    loaded = _load(teacher, arch, "synthetic", mean, std, image_size, trust_pickle, watch)
    with watch.timed("capture"):
        graph = building.capture_teacher(loaded)
    with watch.timed("analysis"):
        found = analysis.analyze(graph)
    if as_json:
        seconds = {name: round(watch.seconds[name], 3) for name in ("capture", "analysis")}
        document = {**msgspec.to_builtins(found), "seconds": seconds}
        typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())
    else:
        Console().analysis(found)


@app.command()
def plan(
    teacher: TeacherFile,
    sparsity: Sparsity,
    arch: Arch = None,
    data: Data = "synthetic",
    of: Of = "params",
    recipe: RecipeName = "prune-then-distill",
    criterion: CriterionName = None,
    allocation: AllocationName = "global",
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    multiple_of: MultipleOf = 8,
    keep_at_least: KeepAtLeast = 0.1,
    seed: Seed = 0,
    as_json: AsJson = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Dry run: widths and costs before and after; no weight is touched, nothing is written."""
    import msgspec

    from compressor import building
    from compressor.console import Console
    from compressor.recipes import find_recipe
    from compressor.types import Budget
    from compressor.watching import Silent, Stopwatch

    _check_sparsity(sparsity)
    chosen = find_recipe(recipe, criterion or _fitting_criterion(data), allocation)
    budget = Budget(sparsity, _measure(of), multiple_of=multiple_of, keep_at_least=keep_at_least)
    watch = Stopwatch()
    loaded = _load(teacher, arch, data, mean, std, image_size, trust_pickle, watch)
    prepared = building.prepare(
        loaded, data, None, chosen, budget, seed=seed, listener=Silent(), watch=watch
    )
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(prepared.plan), indent=1).decode())
    else:
        Console().plan(prepared.plan)


@app.command()
def verify(folder: Annotated[str, typer.Argument(help="a run folder")]) -> None:
    """Check every hash of a run folder and replay its golden samples in ONNX Runtime."""
    from export.verification import verify as check

    found = check(Path(folder))
    for line in found.differences:
        typer.echo(line)
    replayed = ", ".join(
        f"{replay.file} differs by at most {replay.max_relative_error:.1e}"
        for replay in found.replays
    )
    verdict = "verified" if found.passed else "NOT verified"
    typer.echo(f"{verdict}: {found.files} files{'; ' + replayed if replayed else ''}")
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def report(folder: Annotated[str, typer.Argument(help="a run folder")]) -> None:
    """Print the verdict of a finished run and where its page is."""
    from compressor.console import Console

    _show_result(Console(), Path(folder))


def _show_result(console: Console, folder: Path) -> None:
    import msgspec

    from benchmarks.verdict import caveats, judge, verdict

    try:
        found = msgspec.json.decode((folder / "report.json").read_bytes())
        judgement = judge(found)
        lines = (*judgement.reasons, *caveats(found), *found.get("warnings", ()))
        console.result(verdict(found), judgement.status, lines, folder / "report.html")
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise FolderError(f"{folder} holds no finished run; build into it first") from error


# -- options -----------------------------------------------------------------------------------


def _load(
    teacher: str,
    arch: str | None,
    data: str,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    trust_pickle: bool,
    watch: Stopwatch,
) -> Teacher:
    if not Path(teacher).is_file():  # told before torch is imported
        raise LoadError(f"{teacher}: no such file; give --teacher a weight file")
    from compressor.data import first_size, own_size
    from compressor.loading import load

    own = own_size(data)
    with watch.timed("load"):
        return load(
            teacher,
            arch,
            image_size=image_size if image_size is not None else own,
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
            trust_pickle=trust_pickle,
            data_size=first_size(data),
        )


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{option} {text}: give numbers between commas, as .5,.5,.5") from None


def _fitting_criterion(data: str) -> str:
    """Gradients on pictures made up say little; on real ones they rank best (docs/design.md)."""
    return "magnitude" if data == "synthetic" else "taylor"


def _measure(of: str) -> Any:
    if of not in ("params", "macs", "channels"):
        raise OptionError(f"--of {of}: not one of params, macs, channels")
    return of


def _check_sparsity(sparsity: float) -> None:
    if not 0.0 < sparsity < 1.0:
        raise OptionError(
            f"--sparsity {sparsity:g}: it is the share that goes; give a number between 0 and 1"
        )


def _length(minutes: float | None, epochs: int | None) -> Deadline | Epochs:
    from compressor.pacing import Deadline, Epochs

    if minutes is not None and epochs is not None:
        raise OptionError("--minutes and --epochs exclude each other; give one")
    if epochs is not None:
        return Epochs(epochs)
    chosen = 10.0 if minutes is None else minutes
    if not (math.isfinite(chosen) and chosen > 0):
        raise OptionError(f"--minutes {chosen:g}: give a number above 0")
    return Deadline(60.0 * chosen)


def _device(device: str | None) -> str:
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise OptionError(f"--device {device}: not one of cpu, cuda")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SurroundingsError(f"--device {device}: torch sees no CUDA device here")
    return device


def _set_threads(threads: int) -> None:
    import torch

    if threads < 0:
        raise OptionError(f"--threads {threads}: give 0 or more")
    if threads:
        torch.set_num_threads(threads)


STOPPED = "stopped; the same command continues after the last finished stage"

# -- errors ------------------------------------------------------------------------------------


def main() -> None:
    """Entry point: run a command; an expected error is one line on stderr and its status."""
    signal.signal(signal.SIGTERM, lambda *_: _end(STOPPED, 143))
    with _exit_statuses():
        status = app(standalone_mode=False)  # a number where a command ended early
        if status == 130:
            _end(STOPPED, 130)
        if status:
            sys.exit(status)


@contextmanager
def _exit_statuses() -> Iterator[None]:
    try:
        yield
    except CompressorError as error:
        _end(str(error), error.status)
    except TyperException as error:
        _end(error.format_message() if hasattr(error, "format_message") else str(error), 2)
    except MemoryError:
        _end("out of memory; use smaller images, or a machine with more", 3)
    except OSError as error:
        _end(f"{error.filename or ''} {error.strerror or error}".strip(), 3)


def _end(message: str, status: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
