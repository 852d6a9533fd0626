"""Keeping: how far a piece of work is, so that it can go on from there in another process.

In: what a training, or other long work, knows at one moment.  Out: a ``Snapshot`` of it, and the
``Keeper`` that puts snapshots by and finds them again.  Knows nothing of files (``snapshots`` does)
nor of what the work is.

All that training draws from is a generator of its own or torch's (dropout): Python's and numpy's
generators have no part in it, and none in what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import torch
from torch import Tensor

from compressor.graphs import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """``tensors`` may be those that the work goes on with: a keeper copies or writes them at once.
    ``facts`` survive JSON, whose numbers may be infinite here, or none."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Due(IntEnum):
    """Whether a snapshot is wanted, and whether it is the last one before the work stops."""

    NO = 0
    YES = 1
    LAST = 2


class Keeper(Protocol):
    """Where work writes down how far it is, and finds it again."""

    def at(self, part: str) -> Keeper:
        """The keeper of a part of the work, which has snapshots of its own."""

    def find(self) -> Snapshot | None:
        """The last one that was kept.  Raises FolderError where it is damaged."""

    def due(self, *, resting: bool = False) -> Due:
        """Asked again and again.  ``resting``: the work has just come to a place that is good to go
        on from."""

    def keep(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """In place of the one before.  Raises Stopped afterwards where it is the ``last``."""

    def patient(self) -> AbstractContextManager[None]:
        """A wish to stop waits for ``due`` while it is entered: by work that asks often."""


class KeepNothing:
    """For callers whose work begins anew when it was stopped."""

    def at(self, part: str) -> Keeper:
        return self

    def find(self) -> Snapshot | None:
        return None

    def due(self, *, resting: bool = False) -> Due:
        return Due.NO

    def keep(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """It is gone."""

    def patient(self) -> AbstractContextManager[None]:
        return nullcontext()


KEEP_NOTHING: Keeper = KeepNothing()


def joined(parts: Mapping[str, Snapshot]) -> Snapshot:
    """One snapshot of several, each under its name."""
    return Snapshot(
        tensors={f"{n}/{key}": t for n, part in parts.items() for key, t in part.tensors.items()},
        facts={name: dict(part.facts) for name, part in parts.items()},
    )


def part_of(whole: Snapshot, name: str) -> Snapshot:
    """What was joined under this name."""
    prefix = f"{name}/"
    named = {k[len(prefix) :]: t for k, t in whole.tensors.items() if k.startswith(prefix)}
    return Snapshot(tensors=named, facts=whole.facts[name])


def values_of(graph: Graph) -> Snapshot:
    """Parameters and buffers; tied ones once."""
    return Snapshot(tensors=_values(graph))


@torch.no_grad()
def put_values(kept: Snapshot, graph: Graph) -> None:
    """What ``values_of`` gave, in place; layouts and devices stay the graph's."""
    for name, tensor in _values(graph).items():
        tensor.copy_(kept.tensors[name])


def _values(graph: Graph) -> dict[str, Tensor]:
    return {
        **{name: value.detach() for name, value in graph.program.named_parameters()},
        **dict(graph.program.named_buffers()),
    }


def noise(device: torch.device) -> Snapshot:
    """Torch's own generators: the CPU's, and that of ``device`` where it is another one."""
    tensors = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    return Snapshot(tensors=tensors)


def restore_noise(kept: Snapshot, device: torch.device) -> None:
    """The next numbers drawn are those that would have come."""
    torch.set_rng_state(kept.tensors["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(kept.tensors["cuda"], device)
