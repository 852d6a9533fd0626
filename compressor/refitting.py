"""Repair: values refitted after removal, without gradients.

In: a student and some inputs.  Out: a new graph of the same structure.  Knows nothing of losses,
labels or plans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from compressor.errors import DataError, DefectError
from compressor.evaluation import device_of
from compressor.graphs import Graph

_BATCH_NORM = torch.ops.aten.batch_norm.default
# batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn)
_RUNNING, _TRAINING, _MOMENTUM = slice(3, 5), 5, 6


def reestimate_batch_norm(graph: Graph, batches: Iterable[Tensor]) -> Graph:
    """A new graph whose running statistics are the averages over ``batches`` (inputs alone).

    Every batch is normalised by its own statistics, as in training, and weighs as much as it has
    samples; the variance is the mean of the batches' unbiased variances.  Dropout stays off.  A
    graph without batch norm comes back equal, and the batches are not read.  Raises DataError where
    there are no batches, DefectError where the statistics are not finite.
    """
    repaired = graph.copy().eval()
    watching = graph.copy().eval()
    buffers = _record_each_batch(watching)
    if not buffers:
        return repaired
    sums = {name: torch.zeros_like(buffer, dtype=torch.float64) for name, buffer in buffers.items()}
    samples = 0
    with torch.no_grad():
        for inputs in batches:
            watching(inputs.to(device_of(watching)))
            samples += len(inputs)
            for name, buffer in buffers.items():
                sums[name] += len(inputs) * buffer.double()
    if not samples:
        raise DataError("batch norm cannot be re-estimated from no images: give at least one batch")
    targets = repaired.tensors
    for name, total in sums.items():
        if not bool(total.isfinite().all()):
            raise DefectError(
                f"the statistics of {name} over {samples} samples are not finite: the student's "
                "values overflow before it"
            )
        targets[name].copy_(total / samples)
    return repaired.train(graph.training)


def _record_each_batch(graph: Graph) -> dict[str, Tensor]:
    """Make every batch norm overwrite its running statistics with the batch's; returns those.

    A layer that is called k times averages over its calls: call j enters with weight 1 / j.
    """
    calls: Counter[str] = Counter()
    names: set[str] = set()
    for node in graph.program.graph.find_nodes(op="call_function", target=_BATCH_NORM):
        mean, variance = node.args[_RUNNING]
        if mean is None or not node.meta.get("follows_mode"):
            continue  # it has no running statistics, or never uses them
        calls[mean.target] += 1
        names.update((mean.target, variance.target))
        args = list(node.args)
        args[_TRAINING], args[_MOMENTUM] = True, 1.0 / calls[mean.target]
        node.args = tuple(args)
    graph.program.recompile()
    tensors = graph.tensors
    return {name: tensors[name] for name in sorted(names)}


def repair(student: Graph, teacher: Graph, batches: Iterable[Tensor]) -> Graph:
    """Refit the student's values to what is left of its teacher, without gradients.

    So far this re-estimates batch-norm statistics, which needs the student alone; ``teacher`` is
    where closed-form reconstruction will read its targets.
    """
    return reestimate_batch_norm(student, batches)
