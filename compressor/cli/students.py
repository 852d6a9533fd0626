"""``build`` and ``plan``: from a teacher and a budget to a student, or to what it would be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressor.cli.opening import load_given, load_or_start
from compressor.cli.showing import json_text, show_result
from compressor.errors import OptionError
from compressor.options import (
    AllocationName,
    Arch,
    AsJson,
    CalibrationName,
    CriterionName,
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
    KeepAtLeast,
    KeepWhole,
    Lookahead,
    MaxDrop,
    Mean,
    Minutes,
    MultipleOf,
    Of,
    Opset,
    PrecisionNames,
    ProbeMinutes,
    PruningSteps,
    RecipeName,
    RepairImages,
    RepairName,
    ScheduleName,
    Seed,
    SelfDistillation,
    SignKey,
    Similarity,
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
    Threads,
    Triton,
    TrustPickle,
    UnitsForm,
    Unpruned,
    budget_of,
    device_of,
    length,
    require_minutes,
    require_seconds,
    sample_of,
    set_threads,
)

if TYPE_CHECKING:
    from compressor.scoring import Batch


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
    repair: RepairName = None,
    repair_images: RepairImages = None,
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
    from compressor.processes import is_first, leave
    from compressor.recipes.wishes import Wishes, find_recipe
    from compressor.stopping import Stop
    from compressor.types import Packaging
    from compressor.watching import Stopwatch
    from export.onnx_files import check_opset
    from export.precisions import wanted_of

    precisions = wanted_of(precision, calibration, max_drop)
    budget = budget_of(sparsity, of, multiple_of, keep_at_least, smallest_group, keep_whole)
    wishes = Wishes(
        seed=seed,
        criterion=criterion,
        allocation=allocation,
        repair=repair,
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
    if teacher is None and data == "synthetic":
        raise OptionError(
            f"--recipe {recipe} learns from labels: give --data a folder of classes, or digits"
        )
    _check_target(target, probe_minutes)
    require_seconds("--bench-seconds", bench_seconds)
    check_opset(opset)
    lasting = length(minutes, epochs, chosen.full_schedule if full_schedule else None)
    sample = sample_of(repair_images)
    place = device_of(device)
    set_threads(threads)
    watch = Stopwatch()
    console = Console(silent=not is_first())
    loaded = load_or_start(
        teacher, arch, data, mean, std, image_size, trust_pickle, watch, fold, seed
    )
    for note in (*loaded.notes, f"preprocessing: {loaded.preprocessing.origin}"):
        console.note(note)
    with console.watching(), Stop().listening() as stop:
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
            stop=stop,
        )
    leave()
    if is_first():
        show_result(console, folder)


def plan(
    teacher: TeacherFile,
    sparsity: Sparsity,
    arch: Arch = None,
    data: Data = "synthetic",
    of: Of = "params",
    recipe: RecipeName = "prune-then-distill",
    criterion: CriterionName = None,
    allocation: AllocationName = None,
    repair_images: RepairImages = None,
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
    device: Device = None,
    threads: Threads = 0,
    everything: Everything = False,
    as_json: AsJson = False,
    fold: Fold = False,
    trust_pickle: TrustPickle = False,
) -> None:
    """Dry run: widths and costs before and after; no weight is touched, nothing is written.

    With --target, what has to be measured first is kept in the cache.
    """
    import msgspec

    from compressor import narrowing
    from compressor.building import for_target
    from compressor.choosing import choose, needs_batches
    from compressor.console import Console
    from compressor.evaluation import placed
    from compressor.execution import first_ways, require_reachable
    from compressor.preparing import prepare, study
    from compressor.recipes.wishes import Wishes, find_recipe
    from compressor.samples import placed_batches
    from compressor.watching import Stopwatch

    wishes = Wishes(seed=seed, criterion=criterion, allocation=allocation)
    chosen = find_recipe(recipe, "structured", sparsity, wishes)
    ways = first_ways(chosen.phases)
    budget = budget_of(sparsity, of, multiple_of, keep_at_least, smallest_group, keep_whole)
    _check_target(target, probe_minutes)
    sample, place = sample_of(repair_images), device_of(device)
    set_threads(threads)
    watch = Stopwatch()
    loaded = load_given(teacher, arch, data, mean, std, image_size, trust_pickle, watch, fold)
    console = Console(silent=as_json)
    with console.watching():
        studied = study(loaded, listener=console, watch=watch)
        require_reachable(chosen.phases, studied.graph, studied.analysis, budget)
        batches: Sequence[Batch] = ()
        if needs_batches(ways):
            ready = prepare(
                loaded, studied, data, None, sample=sample, seed=seed, device=place,
                listener=console, watch=watch,
            )  # fmt: skip
            batches = placed_batches(ready.sample, place)
        aim = for_target(target, budget, studied, threads, probe_minutes, place, console, watch)
        console.stage("score and plan")
        graph = placed(studied.graph, place)
        made = choose(graph, studied.analysis, aim.budget, ways, batches, aim.expectation).plan
    told = narrowing.narrow(studied.graph, studied.analysis, made)
    if as_json:
        typer.echo(json_text({**msgspec.to_builtins(told), **msgspec.to_builtins(made)}))
    else:
        console.plan(told, made, everything=everything)
        if aim.expectation is not None:
            faster = aim.expectation.speedup(made)
            console.note(f"on {target} its layers are expected to be {faster:.2f} times as fast")


def _check_target(target: str | None, minutes: float) -> None:
    """Refused before anything is loaded.  Raises OptionError."""
    from benchmarks.probe.opening import require_available
    from benchmarks.probe.targets import parse_target

    if target is not None:
        require_available(parse_target(target, threads=1))
    require_minutes("--probe-minutes", minutes)
