"""Standings on disk: where a run stopped, and how it goes on from there.

Comes in: a ``Standing`` after a phase, the folder of what is unfinished.  Goes out: its values in
one file, its facts for the journal; and back.  The structure is not stored: the plan and the dense
graph give it again.  Knows nothing of what phases do.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from compressor.errors import FolderError
from compressor.execution import Site, Standing
from compressor.files import replacing
from compressor.graphs import Graph
from compressor.judging import Stage
from compressor.removal import remove
from compressor.saving import save_tensors
from compressor.types import Plan, Proof

PATTERN = "standing-{}.safetensors"
Shape = Literal["dense", "cut"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A standing without its values."""

    done: int
    student: Shape
    pruned: Shape | None
    plan: Plan | None
    proof: Proof | None
    stages: tuple[Stage, ...]
    phases: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def keep_standing(folder: Path, standing: Standing, dense: Graph) -> dict[str, Any]:
    """Write the values into ``folder``; returns the facts for the journal, as plain values.

    What was kept before stays until ``forget_before``: the journal may still speak of it.
    """
    with replacing(folder / file_of(standing.done)) as path:
        save_tensors(_tensors(standing), path)
    facts = Facts(
        done=standing.done,
        student=_shape(standing.student, dense),
        pruned=None if standing.pruned is None else _shape(standing.pruned, dense),
        plan=standing.plan,
        proof=standing.proof,
        stages=standing.stages,
        phases=tuple(dict(phase) for phase in standing.phases),
        notes=standing.notes,
    )
    plain: dict[str, Any] = msgspec.to_builtins(facts)
    return plain


def file_of(done: int) -> str:
    """The name of the file after so many phases."""
    return PATTERN.format(done)


def read_standing(folder: Path, facts: Mapping[str, Any], site: Site) -> Standing:
    """The standing whose facts are these.  Raises FolderError where its values are not there."""
    try:
        found = msgspec.convert(facts, Facts)
        values = load_file(folder / file_of(found.done))
    except (OSError, ValueError, SafetensorError, msgspec.ValidationError) as error:
        raise FolderError(
            f"{folder} cannot be continued: its journal or the values it speaks of are damaged; "
            "begin anew in it with --restart"
        ) from error
    pruned = found.pruned
    return Standing(
        student=_filled("student", found.student, found.plan, site, values),
        pruned=None if pruned is None else _filled("pruned", pruned, found.plan, site, values),
        mask=dict(_part("mask", values)) or None,
        plan=found.plan,
        proof=found.proof,
        done=found.done,
        stages=found.stages,
        phases=found.phases,
        notes=found.notes,
    )


def forget_before(folder: Path, done: int) -> None:
    """Remove what was kept before so many phases were over, and in their midst."""
    for number in range(1, done + 1):
        shutil.rmtree(folder / f"phase-{number}", ignore_errors=True)
    for number in range(1, done):
        (folder / file_of(number)).unlink(missing_ok=True)


def _shape(graph: Graph, dense: Graph) -> Shape:
    return "dense" if graph.fingerprint == dense.fingerprint else "cut"


@torch.no_grad()
def _filled(
    part: str, shape: Shape, plan: Plan | None, site: Site, values: Mapping[str, Tensor]
) -> Graph:
    if shape == "cut" and plan is not None:
        graph = remove(site.graph, site.analysis, plan)
    else:
        graph = site.graph.copy()
    tensors = graph.tensors
    for name, value in _part(part, values):
        tensors[name].copy_(value)
    return graph


def _part(part: str, values: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    prefix = f"{part}/"
    return [(name[len(prefix) :], v) for name, v in values.items() if name.startswith(prefix)]


def _tensors(standing: Standing) -> dict[str, Tensor]:
    parts: dict[str, Mapping[str, Tensor]] = {"student": standing.student.tensors}
    if standing.pruned is not None:
        parts["pruned"] = standing.pruned.tensors
    if standing.mask is not None:
        parts["mask"] = standing.mask
    return {
        f"{part}/{name}": tensor.detach().contiguous().clone()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
