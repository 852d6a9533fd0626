"""Our couplings beside torch-pruning's, an independent second opinion, row by row."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning
from torch import nn

from compressor.labelling import label
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from tests import zoo
from tests.zoo import ZOO

Coupling = frozenset[tuple[str, str, tuple[int, ...]]]  # module, side, rows
# Not among them: "split", where torch-pruning 1.6.1 takes the two parts for each other.
SHARED = ["chain", "residual", "concat", "depthwise", "flatten", "sigmoid_gate", "transposed"]


def dependencies(network: nn.Module, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch-pruning's own, about torch's newer interfaces
        graph = torch_pruning.DependencyGraph()
        return graph.build_dependency(network, example_inputs=ZOO[name].inputs()[0])


def depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.out_channels


def theirs(network: nn.Module, name: str, root: str, row: int) -> Coupling:
    """What torch-pruning removes with one output row of a layer."""
    graph, names = dependencies(network, name), {m: n for n, m in network.named_modules()}
    module = network.get_submodule(root)
    function = graph.get_pruner_of_module(module).prune_out_channels
    found: dict[tuple[str, str], set[int]] = {}
    for dependency, rows in graph.get_pruning_group(module, function, [row]):
        target = dependency.target.module
        if target not in names:
            continue  # not a layer: a concatenation, a reshape
        outgoing = graph.is_out_channel_pruning_fn(dependency.handler) or depthwise(target)
        found.setdefault((names[target], "out" if outgoing else "in"), set()).update(rows)
    return frozenset((*key, tuple(sorted(rows))) for key, rows in found.items())


def ours(network: nn.Module, name: str, root: str, row: int) -> Coupling | None:
    """The same from the labels; None where the row may not go."""
    labelling = label(zoo.graph(name))
    weights = {item.name: item for item in labelling.stored if item.name.endswith(".weight")}
    out = 1 if isinstance(network.get_submodule(root), nn.ConvTranspose2d) else 0
    rows = labelling.rows(weights[f"{root}.weight"].dims[out])
    if rows is None:
        return None
    (unit,) = rows[row]
    found = []
    for path, item in weights.items():
        layer = path.removesuffix(".weight")
        module = network.get_submodule(layer)
        for dim, labels in enumerate(item.dims):
            touched = labelling.rows(labels)
            if touched is not None and (touched == unit).any():
                gone = np.flatnonzero((touched == unit).any(axis=1)).tolist()
                outgoing = (dim == 0) != isinstance(module, nn.ConvTranspose2d)
                found.append((layer, "out" if outgoing else "in", tuple(gone)))
    return frozenset(found)


@pytest.mark.parametrize("name", SHARED)
def test_couplings_are_those_of_torch_pruning(name: str) -> None:
    network = ZOO[name].build()
    compared = 0
    for root, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            continue
        own = ours(network, name, root, 3)
        if own is None:
            assert root == "head", "only the output may not be cut in these networks"
            continue
        assert own == theirs(network, name, root, 3)
        compared += 1
    assert compared >= 2


def test_a_padded_shortcut_breaks_under_torch_pruning_and_is_proved_here() -> None:
    network = ZOO["padded_shortcut"].build()
    inputs = ZOO["padded_shortcut"].inputs()
    graph = dependencies(network, "padded_shortcut")
    prune = graph.get_pruner_of_module(network.stem).prune_out_channels
    group = graph.get_pruning_group(network.stem, prune, [3])
    assert graph.check_pruning_group(group)  # it has no complaint
    group.prune()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        network(*inputs)

    teacher, analysis = zoo.graph("padded_shortcut"), zoo.analysis("padded_shortcut")
    keep = np.ones(1 + sum(group.units for group in analysis.groups), dtype=bool)
    keep[4] = False  # the same row of the stem
    chosen = plan_keeping(analysis, keep)
    student = remove(teacher, analysis, chosen)
    assert student.get_parameter("stem.weight").shape[0] == 7
    assert student.get_parameter("conv1.weight").shape[:2] == (15, 7)
    assert prove(teacher, student, analysis, chosen).passed
    with torch.no_grad():
        assert student(*inputs).shape == (2, 5)
