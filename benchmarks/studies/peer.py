"""One network of the list under torch-pruning's default settings.

Default settings: the pruner is given the network, its inputs, the magnitude importance, a share of
one half and the last classifier to leave alone; no head counts, no hints.  What counts is whether
the pruned network's forward runs; its outputs are not compared with anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from benchmarks.studies.networks import Network
from benchmarks.studies.networks.building import build, inputs
from benchmarks.studies.records import PeerTrial, peer_file, row_key, write

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Progress:
    """The record so far, on disk before every stage."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.path = peer_file(folder, network)
        self.record = PeerTrial(name=network.name, key=row_key(network))
        write(self.path, self.record)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.record = msgspec.structs.replace(self.record, stage=name)
        write(self.path, self.record)
        start = time.process_time()
        yield
        spent = self.record.seconds | {name: round(time.process_time() - start, 3)}
        self.record = msgspec.structs.replace(self.record, seconds=spent)


def run(network: Network, folder: Path) -> PeerTrial:
    """Graph, groups, pruning, forward; whatever is raised is written down, never raised."""
    progress = Progress(network, folder)
    try:
        _prune(network, progress)
        progress.record = msgspec.structs.replace(progress.record, stage="done")
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
        progress.record = msgspec.structs.replace(progress.record, reason=reason)
    write(progress.path, progress.record)
    return progress.record


def _prune(network: Network, progress: Progress) -> None:
    import torch_pruning as tp

    with progress.stage("build"):
        module, given = build(network), inputs(network)
    example: Any = given.kwargs or given.args[0]
    last = [layer for layer in module.modules() if isinstance(layer, LAYERS)][-1:]
    before = sum(parameter.numel() for parameter in module.parameters())
    with progress.stage("graph"):
        graph = tp.DependencyGraph().build_dependency(module, example_inputs=example)
    with progress.stage("groups"):
        groups = sum(1 for _ in graph.get_all_groups(ignored_layers=last))
    progress.record = msgspec.structs.replace(progress.record, groups=groups)
    with progress.stage("pruning"):
        pruner = tp.pruner.MagnitudePruner(
            module,
            example_inputs=example,
            importance=tp.importance.MagnitudeImportance(),
            pruning_ratio=0.5,
            ignored_layers=last,
        )
        pruner.step()
    after = sum(parameter.numel() for parameter in module.parameters())
    progress.record = msgspec.structs.replace(progress.record, kept=round(after / before, 4))
    with progress.stage("forward"), torch.no_grad():
        module(*given.args, **given.kwargs)
