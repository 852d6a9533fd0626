"""torch-pruning with ``round_to``, all layers cut by the same share, at the budget's MACs.

Comes in: a module, its graph and analysis, a share of the MACs.  Goes out: its pruned module and
the plan that keeps the same units.  The share that its layers are cut by is bisected; with widths
rounded, the MACs that go do not meet the budget to the point, and what is nearest is taken.  Knows
nothing of files and clocks.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from benchmarks.studies.peers_torch_pruning import Widths, left_alone, lost_outputs
from compressor.graphs import Graph
from compressor.planning import plan_keeping
from compressor.types import Analysis, Plan

ROUND_TO = 8
HALVINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedCut:
    """``gone``: share of the MACs, counted by our analysis."""

    module: nn.Module
    plan: Plan
    gone: float


def cut_rounded(
    module: nn.Module,
    graph: Graph,
    analysis: Analysis,
    sparsity: float,
    *,
    ignored: Sequence[str] = (),
    round_to: int = ROUND_TO,
) -> RoundedCut:
    """Prune copies of ``module``, each by another share; the one nearest to ``sparsity``."""
    low, high = 0.0, 1.0
    best: RoundedCut | None = None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        made = _cut(module, graph, analysis, middle, ignored, round_to)
        if best is None or abs(made.gone - sparsity) < abs(best.gone - sparsity):
            best = made
        low, high = (middle, high) if made.gone < sparsity else (low, middle)
    assert best is not None
    return best


def _cut(
    module: nn.Module,
    graph: Graph,
    analysis: Analysis,
    share: float,
    ignored: Sequence[str],
    round_to: int,
) -> RoundedCut:
    pruned = copy.deepcopy(module).eval().requires_grad_(True)
    widths = Widths(graph, analysis, "macs")
    names = {part: name for name, part in pruned.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about torch's newer interfaces
        pruner = _pruner(pruned, graph.example_inputs[0][:1], share, ignored, round_to)
        for group in pruner.step(interactive=True):
            widths.take(lost_outputs(pruner, group, names))
            group.prune()
    plan = plan_keeping(analysis, widths.keep)
    return RoundedCut(module=pruned, plan=plan, gone=widths.gone)


def _pruner(
    module: nn.Module, example: Tensor, share: float, ignored: Sequence[str], round_to: int
) -> Any:
    import torch_pruning as tp

    return tp.pruner.BasePruner(
        module,
        example_inputs=example,
        importance=tp.importance.GroupMagnitudeImportance(),
        global_pruning=False,
        pruning_ratio=share,
        round_to=round_to,
        ignored_layers=left_alone(module, ignored),
        in_channel_groups={},  # its defaults are shared between pruners
        out_channel_groups={},
        num_heads={},
    )
