"""Which cells a study has, how one is run, and what its folder holds of them.

Comes in: settings, seeds, a folder.  Goes out: cells.  What is there is not run again; a cell that
failed is.  Knows nothing of pages.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from benchmarks.studies.recipes.arms import RECIPES, Arm, Recipe
from benchmarks.studies.recipes.bench import Bench, Ground, open_bench
from benchmarks.studies.recipes.pacing import measure, passes_within
from benchmarks.studies.recipes.records import (
    Cell,
    Chosen,
    Settings,
    cell_file,
    chosen_file,
    network_file,
)
from benchmarks.studies.records import read_keyed, sources_of_compressor, write

SOURCES = sources_of_compressor()  # when they were imported, whatever becomes of the files


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A recipe with its settings; ``data`` is the folder of images."""

    settings: Settings
    seeds: int
    data: Path
    folder: Path

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.settings.recipe]


def study(plan: Study) -> tuple[Cell, ...]:
    """Run what has no result yet; returns all cells of the study."""

    @cache
    def bench() -> Bench:  # data are opened only where something is to be done
        return open_bench(plan.settings, plan.data, plan.folder)

    for seed in range(plan.seeds):
        for arm in plan.recipe.arms:
            if _due(plan, seed, arm):
                cell = _attempt(bench, seed, arm, plan.settings)
                write(cell_file(plan.folder, plan.settings, seed, arm.name), cell)
                print(_told(cell), file=sys.stderr, flush=True)
    return cells_of(plan)


def cells_of(plan: Study) -> tuple[Cell, ...]:
    """The cells that are there, failed ones among them."""
    found = (
        read_keyed(cell_file(plan.folder, plan.settings, seed, arm.name), Cell, plan.settings.key)
        for seed in range(plan.seeds)
        for arm in plan.recipe.arms
    )
    return tuple(cell for cell in found if cell is not None)


def fill_minutes(plan: Study, minutes: float) -> Study:
    """The study with the passes that fill the minutes: measured once, then as written down."""
    asked = msgspec.structs.replace(plan.settings, epochs=0)
    path, key = chosen_file(plan.folder, asked), f"{asked.key}-{plan.seeds}-{minutes:g}"
    known = read_keyed(path, Chosen, key)
    if known is None:
        train, score = measure(open_bench(asked, plan.data, plan.folder))
        epochs = passes_within(plan.recipe, asked, plan.seeds, 60 * minutes, train, score)
        known = Chosen(key=key, minutes=minutes, epochs=epochs, seconds_per_image=train)
        write(path, known)
    settings = msgspec.structs.replace(asked, epochs=known.epochs)
    return Study(settings=settings, seeds=plan.seeds, data=plan.data, folder=plan.folder)


def _due(plan: Study, seed: int, arm: Arm) -> bool:
    """Whether a cell is to be run: it is not there, or a teacher's values are gone too early."""
    if not _known(plan, seed, arm):
        return True
    if not arm.teacher or network_file(plan.folder, plan.settings, seed, arm.name).is_file():
        return False
    return not all(_known(plan, seed, other) for other in plan.recipe.arms)


def _known(plan: Study, seed: int, arm: Arm) -> bool:
    cell = read_keyed(
        cell_file(plan.folder, plan.settings, seed, arm.name), Cell, plan.settings.key
    )
    return cell is not None and not cell.failed


def _attempt(bench: Callable[[], Bench], seed: int, arm: Arm, settings: Settings) -> Cell:
    """A cell; one that fails says why, and the study goes on."""
    opened = bench()  # what is wrong with the images is wrong for all cells
    blank = Cell(
        recipe=settings.recipe,
        network=settings.network,
        sparsity=settings.sparsity,
        seed=seed,
        arm=arm.name,
        key=settings.key,
        sources=SOURCES,
        dense_params=opened.analysis.model.parameters,
    )
    begin = time.perf_counter()
    try:
        made = arm.run(Ground(bench=opened, seed=seed))
    except Exception as error:
        lines = str(error).strip().splitlines()
        words = f"{type(error).__name__}: {lines[0] if lines else ''}"
        return msgspec.structs.replace(blank, failed=words)
    costs = made.plan.after if made.plan else None
    return msgspec.structs.replace(
        blank,
        params=costs.params if costs else opened.analysis.model.parameters,
        macs=costs.macs if costs else opened.analysis.model.macs,
        passes=round(made.passes, 3),
        seconds=round(time.perf_counter() - begin, 3),
        stages=made.judge.stages,
        curve=made.curve,
        facts=made.facts,
    )


def _told(cell: Cell) -> str:
    subject = f"{cell.recipe} {cell.network} {cell.sparsity:g} seed {cell.seed} {cell.arm}"
    if cell.failed:
        return f"{subject}: {cell.failed}"
    return (
        f"{subject}: {cell.last.top1:.1%}, {cell.params:,} parameters, {cell.passes:g} passes, "
        f"{cell.seconds:.1f} s"
    )
