"""torch-pruning at its own best settings, stopped at a budget that is counted our way.

Comes in: a module, its graph and analysis, a budget, labelled images.  Goes out: its pruned module
and the plan that keeps the same units.  The settings are those of its CIFAR reproduction without
sparse training: ranking over all layers, 400 small steps up to everything, importance computed anew
at each, stopped when the budget is met.  Knows nothing of repair, training or files.
"""

from __future__ import annotations

import copy
import fnmatch
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from compressor.costs import KeepMask, cost_table
from compressor.errors import BudgetError
from compressor.graphs import Graph
from compressor.labelling import label
from compressor.labels import Matrix
from compressor.planning import plan_keeping
from compressor.scoring import Batch, answer_objective
from compressor.types import Analysis, Budget, Costs, Plan
from compressor.watching import Stopwatch

STEPS = 400  # of its reproduction script
GRADIENTS_EVERY = 40  # steps; in between they are cut with their weights, as it does itself


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCut:
    """``plan`` keeps the units that ``module`` still has."""

    module: nn.Module
    plan: Plan
    steps: int
    seconds: float


def cut(
    module: nn.Module,
    graph: Graph,
    analysis: Analysis,
    budget: Budget,
    importance: Literal["magnitude", "taylor"],
    batches: Sequence[Batch],
    *,
    ignored: Sequence[str] = (),
    clock: Callable[[], float] = time.process_time,
) -> PeerCut:
    """Prune a copy of ``module`` to the step nearest to ``budget``; what is given stays as it is.

    ``ignored``: modules, as shell patterns, whose outputs stay; the classifier's always do.
    ``batches`` are on the module's device, for "taylor".  Raises BudgetError where its steps end
    before the budget is met.
    """
    watch = Stopwatch(clock)
    pruned = copy.deepcopy(module).eval().requires_grad_(True)
    widths = Widths(graph, analysis, budget.of)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about torch's newer interfaces
        with watch.timed("prune"):
            pruner = _pruner(pruned, batches[0][0][:1], importance, ignored)
        names = {part: name for name, part in pruned.named_modules()}
        steps, before = 0, 0.0
        while steps < STEPS:
            with watch.timed("prune"):
                if importance == "taylor" and steps % GRADIENTS_EVERY == 0:
                    accumulate_gradients(pruned, batches)
                for group in pruner.step(interactive=True):
                    widths.take(lost_outputs(pruner, group, names))
                    group.prune()
            steps, gone = steps + 1, widths.gone
            if gone >= budget.sparsity - (gone - before) / 2:  # the next step leads further away
                return PeerCut(
                    module=pruned.requires_grad_(True),
                    plan=plan_keeping(analysis, widths.keep),
                    steps=steps,
                    seconds=watch.seconds["prune"],
                )
            before = gone
    raise BudgetError(
        f"torch-pruning's {STEPS} steps end at {before:.1%} of the {budget.of}; "
        f"{budget.sparsity:.1%} were asked for"
    )


def accumulate_gradients(module: nn.Module, batches: Sequence[Batch]) -> None:
    """Gradients of the cross-entropy summed over the batches, in evaluation mode."""
    module.zero_grad()
    for inputs, labels in batches:
        answer_objective(module(inputs), labels).backward()


class Widths:
    """Which units are left while outputs of modules go, and what share of the budget went."""

    def __init__(
        self, graph: Graph, analysis: Analysis, of: Literal["params", "macs", "channels"]
    ) -> None:
        labelling = label(graph)
        self._rows: dict[str, Matrix | None] = {}
        for item in labelling.stored:
            if item.dims:
                for name in (item.name, *item.aliases):
                    self._rows[name] = labelling.rows(item.dims[0])
        self._left = {
            name: np.arange(len(rows)) for name, rows in self._rows.items() if rows is not None
        }
        self._table, self._of = cost_table(analysis), of
        self.keep: KeepMask = np.ones(1 + sum(g.units for g in analysis.groups), dtype=np.bool_)
        self._whole = self._table.price(self.keep)

    def take(self, outputs: dict[str, set[int]]) -> None:
        """Take outputs away, by module, numbered as the modules are now."""
        for module, places in outputs.items():
            weight = f"{module}.weight"
            rows = self._rows[weight]
            if rows is None:
                raise BudgetError(f"torch-pruning cuts {module}, whose outputs may not go")
            gone = sorted(places)
            self.keep[rows[self._left[weight][gone]].ravel()] = False
            self._left[weight] = np.delete(self._left[weight], gone)
        self.keep[0] = True

    @property
    def gone(self) -> float:
        """The share that went, in the budget's own measure."""
        return 1.0 - _measure(self._table.price(self.keep), self._of) / _measure(
            self._whole, self._of
        )


def _measure(costs: Costs, of: Literal["params", "macs", "channels"]) -> int:
    return {"params": costs.params, "macs": costs.macs, "channels": costs.channels}[of]


def lost_outputs(pruner: Any, group: Any, names: dict[nn.Module, str]) -> dict[str, set[int]]:
    """Outputs of convolutions and linear layers that go with a group of torch-pruning's."""
    found: dict[str, set[int]] = {}
    for dependency, places in group:
        part = dependency.target.module
        if isinstance(part, nn.modules.conv._ConvNd | nn.Linear) and (
            pruner.DG.is_out_channel_pruning_fn(dependency.handler)
        ):
            found.setdefault(names[part], set()).update(places)
    return found


def left_alone(module: nn.Module, ignored: Sequence[str]) -> list[nn.Module]:
    """The last linear layer, the classifier, and every module whose name fits a pattern."""
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)][-1:]
    named = [
        part
        for name, part in module.named_modules()
        if any(fnmatch.fnmatch(name, pattern) for pattern in ignored)
    ]
    return [*linear, *named]


def _pruner(module: nn.Module, example: Tensor, importance: str, ignored: Sequence[str]) -> Any:
    import torch_pruning as tp

    kinds = {
        "magnitude": tp.importance.GroupMagnitudeImportance,
        "taylor": tp.importance.GroupTaylorImportance,
    }
    return tp.pruner.BasePruner(
        module,
        example_inputs=example,
        importance=kinds[importance](),
        global_pruning=True,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=left_alone(module, ignored),
        in_channel_groups={},  # its defaults are shared between pruners
        out_channel_groups={},
        num_heads={},
    )
