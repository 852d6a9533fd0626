"""The command line: options become values, errors become one line and an exit status.

Names of criteria, recipes and data become functions and values here and nowhere else.  Knows
nothing of how any stage works.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from compressor.errors import CompressorError, LoadError, OptionError
from compressor.options import (
    Against,
    AllocationName,
    Arch,
    AsJson,
    AsMarkdown,
    Batches,
    BenchFiles,
    BenchSeconds,
    CalibrationName,
    CriterionName,
    CsvFile,
    Data,
    Device,
    DistillFrom,
    Epochs,
    Everything,
    FeatureWeight,
    Fold,
    FormName,
    FullBenchmark,
    FullSchedule,
    Gradient,
    ImageSize,
    Importance,
    JsonFile,
    KeepAtLeast,
    KeepWhole,
    Lookahead,
    MaxDrop,
    Mean,
    Minutes,
    MultipleOf,
    Of,
    Opset,
    PageFile,
    PrecisionNames,
    Precisions,
    ProbeMinutes,
    Processes,
    PruningSteps,
    RecipeName,
    RepairImages,
    RunFolders,
    Runtimes,
    SampleFolder,
    ScheduleName,
    Seed,
    SelfDistillation,
    SignKey,
    Similarity,
    Sizes,
    SloMs,
    SmallestGroup,
    Sparsity,
    StaticBatch,
    Std,
    StudentStart,
    TargetName,
    TeacherFile,
    TeacherOrNone,
    TestFolder,
    ThreadCounts,
    Threads,
    Triton,
    TrustPickle,
    UnitsForm,
    Unpruned,
    Within,
    budget_of,
    device_of,
    length,
    numbers,
    sample_of,
    set_threads,
    whole_numbers,
    words,
)

if TYPE_CHECKING:
    from compressor.console import Console
    from compressor.explanation import Explanation
    from compressor.graphs import Graph
    from compressor.loading import Teacher
    from compressor.watching import Stopwatch

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A trained network goes in, a physically smaller trained network comes out.",
)


@app.command()
def build(
    sparsity: Sparsity,
    teacher: TeacherOrNone = None,
    arch: Arch = None,
    data: Data = "synthetic",
    test: TestFolder = None,
    of: Of = "params",
    recipe: RecipeName = "prune-then-distill",
    form: FormName = "structured",
    criterion: CriterionName = None,
    allocation: AllocationName = None,
    student: StudentStart = None,
    distill_from: DistillFrom = None,
    feature_weight: FeatureWeight = None,
    self_distillation: SelfDistillation = None,
    lookahead: Lookahead = None,
    gradient: Gradient = None,
    similarity: Similarity = None,
    unpruned: Unpruned = None,
    importance: Importance = None,
    schedule: ScheduleName = None,
    pruning_steps: PruningSteps = None,
    units: UnitsForm = None,
    repair_images: RepairImages = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    full_schedule: FullSchedule = False,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    multiple_of: MultipleOf = 8,
    keep_at_least: KeepAtLeast = 0.1,
    smallest_group: SmallestGroup = 8,
    keep_whole: KeepWhole = None,
    target: TargetName = None,
    probe_minutes: ProbeMinutes = 2.0,
    precision: PrecisionNames = "fp32",
    calibration: CalibrationName = None,
    max_drop: MaxDrop = None,
    opset: Opset = None,
    static_batch: StaticBatch = False,
    triton: Triton = False,
    sign_key: SignKey = None,
    seed: Seed = 0,
    device: Device = None,
    threads: Threads = 0,
    bench_seconds: Annotated[
        float, typer.Option(help="per benchmark setting; 0: measure nothing")
    ] = 5.0,
    full_benchmark: FullBenchmark = False,
    slo_ms: SloMs = None,
    out: Annotated[str | None, typer.Option(help="run folder; runs/TEACHER-OF-SPARSITY")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="begin anew in a run's folder")
    ] = False,
    fold: Fold = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Build the student: prune, prove, train, export, verify, measure, report."""
    from compressor import building
    from compressor.console import Console
    from compressor.processes import is_first
    from compressor.recipes.wishes import Wishes, find_recipe
    from compressor.types import Packaging
    from compressor.watching import Stopwatch
    from export.precisions import wanted_of

    precisions = wanted_of(precision, calibration, max_drop)
    budget = budget_of(sparsity, of, multiple_of, keep_at_least, smallest_group, keep_whole)
    wishes = Wishes(
        criterion=criterion,
        allocation=allocation,
        feature_weight=feature_weight,
        student=student,
        distill_from=distill_from,
        self_distillation=self_distillation,
        lookahead=lookahead,
        gradient=gradient,
        similarity=similarity,
        unpruned=unpruned,
        importance=importance,
        schedule=schedule,
        pruning_steps=pruning_steps,
        units=units,
    )
    chosen = find_recipe(recipe, form, sparsity, wishes, of)
    if chosen.trained_teacher != (teacher is not None):
        raise OptionError(
            f"--recipe {recipe} starts from a trained network: give --teacher"
            if chosen.trained_teacher
            else f"--recipe {recipe} starts from fresh weights: give --arch and leave --teacher out"
        )
    _check_target(target, probe_minutes)
    lasting = length(minutes, epochs, chosen.full_schedule if full_schedule else None)
    sample = sample_of(repair_images)
    place = device_of(device)
    set_threads(threads)
    watch = Stopwatch()
    console = Console(silent=not is_first())
    loaded = _load_or_start(
        teacher, arch, data, mean, std, image_size, trust_pickle, watch, fold, seed
    )
    for note in (*loaded.notes, f"preprocessing: {loaded.preprocessing.origin}"):
        console.note(note)
    with console.watching():
        folder = building.build(
            loaded,
            data=data,
            test=test,
            recipe=chosen,
            budget=budget,
            out=Path(out) if out is not None else None,
            length=lasting,
            sample=sample,
            seed=seed,
            device=place,
            threads=threads,
            precisions=precisions,
            opset=opset,
            packaging=Packaging(static_batch=static_batch, triton=triton, sign_key=sign_key),
            target=target,
            probe_minutes=probe_minutes,
            bench_seconds=bench_seconds,
            full_benchmark=full_benchmark,
            slo_ms=slo_ms,
            restart=restart,
            command=("compressor", *sys.argv[1:]),
            listener=console,
            stopwatch=watch,
        )
    if is_first():
        _show_result(console, folder)


@app.command()
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
    loaded = _load(teacher, arch, "synthetic", mean, std, image_size, trust_pickle, watch, fold)
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
        typer.echo(_json({**explanation.document(found, told, asked), "seconds": seconds}))
        return
    console = Console()
    for note in (*loaded.notes, *graph.notes):
        console.note(note)
    console.analysis(told, asked, everything=everything)
    if html is not None:
        typer.echo(f"\npicture: {html}")


@app.command()
def plan(
    teacher: TeacherFile,
    sparsity: Sparsity,
    arch: Arch = None,
    data: Data = "synthetic",
    of: Of = "params",
    recipe: RecipeName = "prune-then-distill",
    criterion: CriterionName = None,
    allocation: AllocationName = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    multiple_of: MultipleOf = 8,
    keep_at_least: KeepAtLeast = 0.1,
    smallest_group: SmallestGroup = 8,
    keep_whole: KeepWhole = None,
    target: TargetName = None,
    probe_minutes: ProbeMinutes = 2.0,
    seed: Seed = 0,
    threads: Threads = 0,
    everything: Everything = False,
    as_json: AsJson = False,
    fold: Fold = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Dry run: widths and costs before and after; no weight is touched, nothing is written."""
    import msgspec

    from compressor import narrowing
    from compressor.building import for_target
    from compressor.console import Console
    from compressor.execution import first_plan
    from compressor.preparing import prepare
    from compressor.recipes.wishes import Wishes, find_recipe
    from compressor.watching import Silent, Stopwatch

    wishes = Wishes(criterion=criterion, allocation=allocation)
    chosen = find_recipe(recipe, "structured", sparsity, wishes)
    budget = budget_of(sparsity, of, multiple_of, keep_at_least, smallest_group, keep_whole)
    _check_target(target, probe_minutes)
    set_threads(threads)
    watch = Stopwatch()
    loaded = _load(teacher, arch, data, mean, std, image_size, trust_pickle, watch, fold)
    ready = prepare(
        loaded, data, None, sample=None, seed=seed, device="cpu", listener=Silent(), watch=watch
    )
    speaker = Silent() if as_json else Console()
    aim = for_target(target, budget, ready, threads, probe_minutes, "cpu", speaker, watch)
    budget = aim.budget
    made = first_plan(chosen.phases[0], ready.graph, ready.analysis, budget, ready.sample)
    told = narrowing.narrow(ready.graph, ready.analysis, made)
    if as_json:
        typer.echo(_json({**msgspec.to_builtins(told), **msgspec.to_builtins(made)}))
    else:
        Console().plan(told, made, everything=everything)


@app.command()
def train(
    arch: Annotated[str, typer.Option(help="torchvision:NAME, timm:NAME or FILE.py:factory")],
    data: Annotated[str, typer.Option(help="a folder of class folders, or digits")],
    out: Annotated[str, typer.Option(help="weight file: .pt, .pth or .safetensors")],
    test: TestFolder = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    mean: Mean = None,
    std: Std = None,
    image_size: ImageSize = None,
    batch_size: Annotated[int | None, typer.Option(help="images of one step")] = None,
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
    command = f"compressor build --teacher {out} --arch {arch} --data {data} --sparsity 0.7"
    console.taught(card, Path(out), command)


@app.command()
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
    for target in (json, samples):
        if target is not None:
            check_writable(Path(target))
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
        write_bytes(Path(json), _json(found).encode())
    if before is not None:
        found = benches.against(found, before, str(against))
    console.tables(tables(found), notes(found))


@app.command()
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
        loaded = _load(
            source, arch, "synthetic", mean, std, image_size, trust_pickle, Stopwatch(), False
        )
        found = export_network(
            loaded, Path(out), opset=opset, packaging=wanted, command=command, threads=threads
        )
    for line in found:
        typer.echo(line)
    typer.echo(f"exported: {out}; check it with: compressor verify {out}")


@app.command()
def probe(
    teacher: TeacherFile,
    arch: Arch = None,
    runtime: Annotated[str, typer.Option(help="onnxruntime, openvino or torch")] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="fp32, int8 or bf16")] = "fp32",
    threads: Annotated[int, typer.Option(help="of the runtime")] = 1,
    batch: Annotated[int, typer.Option(help="images of one call")] = 1,
    minutes: Annotated[float, typer.Option(help="of measuring")] = 2.0,
    anew: Annotated[bool, typer.Option("--anew", help="measure again what is known")] = False,
    image_size: ImageSize = None,
    everything: Everything = False,
    as_json: AsJson = False,
    fold: Fold = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Measure which widths a runtime likes on this machine, for the layers of a network."""
    from benchmarks.probe.choices import choose_for
    from benchmarks.probe.targets import target_of
    from benchmarks.probe.telling import document, probe_lines
    from compressor.analysis import analyze as analyse
    from compressor.console import Console
    from compressor.loading import capture_teacher
    from compressor.watching import Silent, Stopwatch

    target = target_of(runtime, precision, threads=threads, batch=batch)
    if not minutes > 0:
        raise OptionError(f"--minutes {minutes:g}: give a number above 0")
    loaded = _load(
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
        typer.echo(_json(document(found, names)))
    else:
        console.widths(probe_lines(found, names, everything=everything))


@app.command()
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
        typer.echo(
            f"{one.file} in {one.runtime}: {one.samples} samples differ by at most "
            f"{one.max_relative_error:.1e}, tolerance {one.tolerance:.0e}"
        )
    for line in found.skipped:
        typer.echo(f"skipped: {line}")
    for line in found.differences:
        typer.echo(line)
    signed = ", signature holds" if found.signed and found.passed else ""
    verdict = "verified" if found.passed else "NOT verified"
    typer.echo(f"{verdict}: {found.files} files, {len(found.replays)} replays{signed}")
    if not found.passed:
        raise typer.Exit(1)


@app.command()
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
        _write_text(html, render_lineup(document))
    if as_json:
        typer.echo(_json(document))
    elif markdown:
        typer.echo(markdowns.render_sections(contest(compared)), nl=False)
    else:
        Console().sections([text_tables.lines_of(one) for one in contest(compared)])


def _check_target(target: str | None, minutes: float) -> None:
    """Refused before anything is loaded.  Raises OptionError."""
    from benchmarks.probe.opening import require_available
    from benchmarks.probe.targets import parse_target

    if target is not None:
        require_available(parse_target(target, threads=1))
    if not minutes > 0:
        raise OptionError(f"--probe-minutes {minutes:g}: give a number above 0")


def _report_one(
    folder: Path, html: str | None, csv: str | None, *, markdown: bool, as_json: bool
) -> None:
    from benchmarks import markdown as markdowns
    from benchmarks import raw_samples
    from benchmarks.report import open_run, render
    from compressor.console import Console

    run = open_run(folder)
    if html is not None:
        _write_text(html, render(run))
    if csv is not None:
        _write_text(csv, raw_samples.to_csv(run.samples))
    if as_json:
        typer.echo(_json(run.report))
    elif markdown:
        typer.echo(markdowns.render(run.report), nl=False)
    else:
        _show_result(Console(), folder)


def _write_text(path: str, text: str) -> None:
    from compressor.files import write_bytes

    write_bytes(Path(path), text.encode())


def _show_result(console: Console, folder: Path) -> None:
    from benchmarks.figures import plain
    from benchmarks.report import open_run
    from benchmarks.verdict import caveats, judge, verdict

    found = open_run(folder).report
    judgement = judge(found)
    lines = (*judgement.reasons, *caveats(found), *found.get("warnings", ()))
    told = [plain(one) for one in lines]
    console.result(verdict(found), judgement.status, told, folder / "report.html")


def _draw(path: str, graph: Graph, told: Explanation) -> None:
    from compressor.drawing import render
    from compressor.files import write_bytes
    from compressor.flow import thin

    write_bytes(Path(path), render(told, thin(graph, told.freezers)).encode())


def _json(document: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode()


def _load_or_start(
    teacher: str | None,
    arch: str | None,
    data: str,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    trust_pickle: bool,
    watch: Stopwatch,
    fold: bool,
    seed: int,
) -> Teacher:
    """A trained teacher, or without a file the architecture as its code initialises it."""
    if teacher is not None:
        return _load(teacher, arch, data, mean, std, image_size, trust_pickle, watch, fold)
    if arch is None:
        raise OptionError("there is nothing to build from: give --teacher, or --arch alone")
    if fold:
        raise OptionError("--fold is for trained weights: what it folds would not be trained")
    from compressor.data import class_names, first_size, own_size
    from compressor.loading import untrained

    own = own_size(data)
    with watch.timed("load"):
        return untrained(
            arch,
            classes=len(class_names(data)),
            seed=seed,
            image_size=image_size if image_size is not None else own,
            mean=numbers("--mean", mean),
            std=numbers("--std", std),
            data_size=first_size(data),
        )


def _load(
    teacher: str,
    arch: str | None,
    data: str,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    trust_pickle: bool,
    watch: Stopwatch,
    fold: bool,
) -> Teacher:
    if not Path(teacher).is_file():  # told before torch is imported
        raise LoadError(f"{teacher}: no such file; give --teacher a weight file")
    from compressor.data import first_size, own_size
    from compressor.loading import fold_teacher, load

    own = own_size(data)
    with watch.timed("load"):
        loaded = load(
            teacher,
            arch,
            image_size=image_size if image_size is not None else own,
            mean=numbers("--mean", mean),
            std=numbers("--std", std),
            trust_pickle=trust_pickle,
            data_size=first_size(data),
        )
    if not fold:
        return loaded
    with watch.timed("fold"):
        return fold_teacher(loaded)


STOPPED = "stopped; for a build, the same command continues after the last finished stage"

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
