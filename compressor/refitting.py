"""Repair: values refitted after removal, without gradients.

In: a student, its teacher and some inputs.  Out: a new graph of the same structure.  Knows nothing
of losses, labels or plans.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import DataError, DefectError, InputError
from compressor.evaluation import device_of, distance
from compressor.graphs import Graph
from compressor.memory import fitted
from compressor.reconstruction import inputs_within, reconstruct

BATCH = 64
FEWEST = 4  # inputs: one has no spread, to fit to or to measure by
MEMORY = 4 * 2**30  # bytes of values alive at once while layers are refitted

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """``tried``: each way with its held-out error, as a share of the teacher's own variance.
    ``kept_as_they_were``: layers that reconstruction could not improve on.

    ``fitting`` of the ``given`` inputs fitted into the memory that reconstruction may take.
    """

    graph: Graph
    chosen: str
    tried: tuple[tuple[str, float], ...]
    kept_as_they_were: tuple[str, ...]
    fitting: int
    given: int

    @property
    def note(self) -> str:
        """For the report."""
        errors = ", ".join(f"{name} {error:.3g}" for name, error in self.tried)
        told = f"repair by {self.chosen}; distance to the teacher on inputs held out: {errors}"
        if self.chosen == "reconstruction" and self.kept_as_they_were:
            first, *others = self.kept_as_they_were
            more = f" and {len(others)} more layers" if others else ""
            told += f"; no better weights were found for {first}{more}"
        if self.fitting < self.given:
            told += f"; reconstruction saw {self.fitting} of {self.given} inputs, for memory"
        return told


def choose_repair(
    student: Graph,
    teacher: Graph,
    batches: Iterable[Tensor],
    progress: Callable[[float], None] = lambda share: None,
) -> Repaired:
    """Try the ways there are, and take the one nearest to the teacher on inputs held out.

    An eighth of the inputs is held out.  Where reconstruction runs out of memory it sees half of
    them, which the note says.  Raises DataError where there are fewer than ``FEWEST``, InputError
    for a network of several inputs.
    """
    if len(teacher.example_inputs) != 1:
        raise InputError(
            f"{teacher.architecture} takes {len(teacher.example_inputs)} inputs; repair refits "
            "networks of one"
        )
    inputs = torch.cat(tuple(batches) or (torch.zeros(0),))
    if len(inputs) < FEWEST:
        raise DataError(
            f"repair needs at least {FEWEST} inputs and has {len(inputs)}: give more, "
            "or --repair none"
        )
    held = max(FEWEST // 2, len(inputs) // 8)
    used, held_out = inputs[:-held], inputs[-held:].split(BATCH)
    fitting = inputs_within(MEMORY, student, teacher, used)
    refitted, count = fitted(
        lambda size: reconstruct(student, teacher, fitting[:size], progress=progress),
        len(fitting),
        "repair",
        smallest=2,
    )
    even = used.tensor_split(math.ceil(len(used) / BATCH))  # one value alone has no variance
    ways = {
        "nothing": student,
        "batch-norm statistics": reestimate_batch_norm(student, even),
        "reconstruction": refitted.graph,
    }
    tried = tuple((name, distance(graph, teacher, held_out)) for name, graph in ways.items())
    chosen = min(tried, key=lambda entry: entry[1] if math.isfinite(entry[1]) else math.inf)[0]
    return Repaired(
        graph=ways[chosen],
        chosen=chosen,
        tried=tried,
        kept_as_they_were=refitted.kept_as_they_were,
        fitting=count,
        given=len(used),
    )


def repair(student: Graph, teacher: Graph, batches: Iterable[Tensor]) -> Graph:
    """Refit the student's values to what its teacher does, without labels or gradients.

    ``batches`` hold at least ``FEWEST`` inputs, no labels.  Values change, never shapes.
    """
    return choose_repair(student, teacher, batches).graph
