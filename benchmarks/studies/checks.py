"""What a student of the list must do beside being proved, and the plans that cut it.

Comes in: an analysis, or a student and the row it is of.  Goes out: plans, and what was seen; a
student that fails a check raises ``CheckError``.  Knows nothing of files or processes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import Tensor

from benchmarks.studies.networks import Network
from benchmarks.studies.networks.building import Inputs, inputs
from benchmarks.studies.records import Factors
from compressor.costs import Integers, cost_table, decode
from compressor.errors import BudgetError
from compressor.graphs import Graph
from compressor.planning import keep_mask, plan, plan_keeping
from compressor.types import Analysis, Budget, Plan, Scores

FLOOR = 0.02  # of every group stays, where half of the parameters is asked for
AGREES = 1e-2  # largest relative difference between a sample alone and in a batch, in float32
BATCH = 3


class CheckError(Exception):
    """The student does not do what a network of its kind does; the message says what."""


def half_plan(analysis: Analysis, scores: Scores) -> tuple[Plan, str]:
    """A plan, and what it is: half of the parameters, small factors too where that needs it.

    Where half is out of reach, the largest share that the floors leave.
    """
    for smallest in (8, 2):
        budget = Budget(sparsity=0.5, multiple_of=1, keep_at_least=FLOOR, smallest_group=smallest)
        try:
            return plan(analysis, scores, budget), "half"
        except BudgetError:
            continue
    return floor_plan(analysis, scores, FLOOR), "largest"


def floor_plan(analysis: Analysis, scores: Scores, share: float) -> Plan:
    """The dearest ``share`` of every group, at least one unit, and nothing else."""
    keep = [np.ones(1, dtype=np.bool_)]
    for group, values in zip(analysis.groups, scores.values, strict=True):
        floor = max(1, int(np.ceil(share * group.units - 1e-9)))
        part = np.zeros(group.units, dtype=np.bool_)
        part[np.argsort(-np.array(values), kind="stable")[:floor]] = True
        keep.append(part)
    return plan_keeping(analysis, np.concatenate(keep))


def factors(analysis: Analysis, chosen: Plan) -> Factors | None:
    """What the plan kept of the outer and the inner factor of dimensions that have both."""
    keep = keep_mask(analysis, chosen)
    starts = cost_table(analysis).offsets
    seen: dict[tuple[int, int], tuple[float, float]] = {}
    for axis in analysis.axes:
        if len(axis.columns) < 2:
            continue
        columns = decode(axis)
        order = np.argsort((np.diff(columns, axis=1) != 0).sum(axis=1), kind="stable")
        outer, inner = (np.unique(columns[place]) for place in (order[0], order[-1]))
        homes = _home(starts, outer), _home(starts, inner)
        if homes[0] != homes[1]:
            seen[homes] = (float(keep[outer].mean()), float(keep[inner].mean()))
    if not seen:
        return None
    shares = np.array(list(seen.values())).mean(axis=0)
    return Factors(
        dimensions=len(seen), outer=round(float(shares[0]), 3), inner=round(float(shares[1]), 3)
    )


def _home(starts: Integers, units: Integers) -> int:
    """Place of the group that units belong to, from 1."""
    return int(np.searchsorted(starts, units[-1], "right"))


def run_at_other_batches(student: Graph, network: Network) -> tuple[int, ...]:
    """Run a batch of 3, and each sample of it alone; returns the batch sizes.

    Raises CheckError where the answers differ in form or value, or are not finite.
    """
    given = inputs(network, batch=BATCH, seed=1)
    with torch.no_grad():
        whole = _answers(student(*given.args, **given.kwargs))
        alone = [_answers(student(*part.args, **part.kwargs)) for part in _samples(given)]
    for place, together in enumerate(whole):
        if together.ndim == 0 or together.shape[0] % BATCH:
            continue  # a table that is the same for every sample
        apart = torch.cat([answers[place] for answers in alone])
        if apart.shape != together.shape:
            raise CheckError(
                f"answer {place} is {tuple(together.shape)} for a batch of {BATCH}, but "
                f"{tuple(apart.shape)} for its samples one by one"
            )
        if not torch.isfinite(together).all():
            raise CheckError(f"answer {place} is not finite")
        scale = max(float(together.abs().max()), 1e-30)
        difference = float((apart - together).abs().max()) / scale
        if difference > AGREES:
            raise CheckError(f"a sample alone and in a batch differ by {difference:.1g}")
    return (1, BATCH)


def run_at_another_length(student: Graph, network: Network) -> tuple[int, ...]:
    """Run with every free length halved; returns the lengths, none where only the batch is free.

    Raises CheckError where the answers are not finite.
    """
    given = inputs(network, batch=BATCH, seed=3)
    named = dict(zip(student.input_names, given.args, strict=False)) | given.kwargs
    lengths: list[int] = []
    for node in student.program.graph.find_nodes(op="placeholder"):
        for dim in node.meta.get("free", ())[1:]:  # the batch is the first
            length = max(2, named[node.name].shape[dim] // 2)
            named[node.name] = named[node.name].narrow(dim, 0, length)
            lengths.append(length)
    if not lengths:
        return ()
    with torch.no_grad():
        answers = _answers(student(**named))
    if not all(bool(torch.isfinite(answer).all()) for answer in answers):
        raise CheckError(f"an answer at length {lengths[0]} is not finite")
    return tuple(dict.fromkeys(lengths))


def _samples(given: Inputs) -> list[Inputs]:
    return [
        Inputs(
            args=tuple(x[i : i + 1] for x in given.args),
            kwargs={name: x[i : i + 1] for name, x in given.kwargs.items()},
        )
        for i in range(BATCH)
    ]


def train_a_step(student: Graph, network: Network) -> int:
    """One step of gradient descent in train mode, which changes the student.

    Returns how many trainable tensors the gradient did not reach.  Raises CheckError where
    nothing moves or something is not finite afterwards.
    """
    given = inputs(network, batch=BATCH, seed=2)
    student.train()
    answers = _answers(student(*given.args, **given.kwargs))
    # Each answer on its own scale: random weights may make them large.
    parts = [(x / x.detach().abs().max().clamp_min(1e-6)).square().mean() for x in answers]
    torch.stack(parts).sum().backward()
    trained = [p for p in student.parameters() if p.requires_grad]
    reached = [p for p in trained if p.grad is not None]
    before = [p.detach().clone() for p in reached]
    torch.optim.SGD(reached, lr=0.01).step()
    if not all(torch.isfinite(p).all() for p in reached):
        raise CheckError("one training step leaves parameters that are not finite")
    if all(torch.equal(a, b) for a, b in zip(reached, before, strict=True)):
        raise CheckError("one training step moves nothing")
    return len(trained) - len(reached)


def _answers(result: object) -> list[Tensor]:
    """The real tensors among a result, in order."""
    leaves = pytree.tree_leaves(result)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
