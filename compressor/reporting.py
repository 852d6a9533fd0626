"""Reporting: the entries of ``report.json``.

Comes in: what a run knows when its student is built and measured.  Goes out: plain values under the
keys of docs/design.md, section 6.  Knows nothing of pages.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import torch

from compressor.data import ImageData
from compressor.execution import Site, Standing
from compressor.loading import Teacher
from compressor.recipes import Recipe
from compressor.samples import digest, evaluation_images
from compressor.sparsity import density_of
from compressor.types import Source

FORMAT = 1
EVALUATION_ONLY = (
    "the program is the network as it evaluates: what only training has (stochastic depth, dropout "
    "inside attention, auxiliary heads) is not in it"
)


def networks(source: Source, site: Site, standing: Standing) -> dict[str, Any]:
    """Both networks: sizes, and what they can do on the evaluation images."""
    model, plan = site.analysis.model, standing.plan
    after = standing.stages[-1]
    student = {
        "parameters": plan.after.params if plan else model.parameters,
        "macs": plan.after.macs if plan else model.macs,
        "metrics": after.metrics,
        "agreement": after.agreement,
    }
    if plan is None and standing.mask is not None:
        gone = sum(int((~alive).sum()) for alive in standing.mask.values())
        student["nonzero_parameters"] = model.parameters - gone
    return {
        "format": FORMAT,
        "teacher": {
            **plain(source),
            "parameters": model.parameters,
            "macs": model.macs,
            "metrics": site.judge.teacher.metrics,
        },
        "student": student,
    }


def choices(recipe: Recipe, site: Site, standing: Standing) -> dict[str, Any]:
    """What was asked for, and what became of it."""
    budget, plan = site.budget, standing.plan
    reached: dict[str, Any]
    if plan is not None:
        reached = {"of": plan.budget.of, "achieved": plan.achieved}
    else:
        assert standing.mask is not None
        reached = {"of": "weights", "achieved": 1 - density_of(standing.mask)}
    return {
        "budget": {"sparsity": budget.sparsity, **reached},
        "recipe": {
            "name": recipe.name,
            "form": recipe.form,
            "citation": recipe.citation,
            "choices": dict(recipe.choices),
            "phases": list(standing.phases),
        },
    }


def warnings(site: Site, standing: Standing, deployables: Sequence[Any]) -> list[str]:
    """What a reader must know: of the teacher, the plan, and of files that are not advised."""
    from export import advice

    planned = standing.plan.warnings if standing.plan else ()
    return [*site.judge.doubts, *planned, *advice.warnings(deployables)]


def notes(
    teacher: Teacher, site: Site, standing: Standing, deployables: Sequence[Any]
) -> list[str]:
    """What happened on the way that a reader should know."""
    from export import advice

    origin = f"preprocessing: {teacher.preprocessing.origin}"
    captured = (EVALUATION_ONLY, *site.graph.notes)
    shipped = advice.notes(deployables)
    return [*teacher.notes, origin, *captured, *site.data.notes, *standing.notes, *shipped]


def environment(threads: int) -> dict[str, Any]:
    """The machine, the libraries, and what the run took of it."""
    from benchmarks.environment import describe

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **describe(),
        "threads": threads or torch.get_num_threads(),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
    }


def published_command(command: Sequence[str]) -> list[str]:
    """The command to repeat, without paths of this machine."""
    from export.paths import reduce_argument

    return [reduce_argument(argument) for argument in command]


def data_facts(data: ImageData) -> dict[str, Any]:
    """How many images there were, how they were used, and on which accuracy was measured."""
    evaluated = evaluation_images(data)
    return {
        "name": data.name,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test) if data.test is not None else None,
        "evaluated": len(evaluated),
        "evaluated_sha256": digest(evaluated),
        "train_with_labels": data.train_with_labels,
        "seen_test_share": data.seen_test_share,
    }


def plain(value: Any) -> Any:
    """Built-in types alone."""
    return msgspec.to_builtins(value)
