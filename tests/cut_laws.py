"""The laws that a network and its student obey, whatever was cut.

Comes in: a ``Cut``.  Goes out: whether a law holds.  Knows nothing of mutants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from compressor.analysis import analyze
from compressor.errors import PlanError
from compressor.graphs import Graph
from compressor.removal import mask, remove
from compressor.types import Analysis, Plan
from tests import subjects, zoo


@dataclass(frozen=True, slots=True)
class Cut:
    """A network cut by a plan."""

    name: str
    analysis: Analysis
    plan: Plan
    student: Graph

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        return subjects.subject(self.name).inputs(batch)


def parameters_as_predicted(cut: Cut) -> bool:
    counted = sum(parameter.numel() for parameter in cut.student.parameters())
    return cut.plan.after.params == counted


def _work_as_predicted(cut: Cut) -> bool:
    return analyze(cut.student).model.macs == cut.plan.after.macs


def _work_as_torch_counts(cut: Cut) -> bool:
    if cut.analysis.costs == subjects.analysis(cut.name).costs:
        return True  # it was right before
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cut.student(*cut.inputs(3))
    return bool(counter.get_total_flops() == 2 * 3 * cut.plan.after.macs)


def _shapes_as_predicted(cut: Cut) -> bool:
    nodes = [
        node
        for node in cut.student.program.graph.nodes
        if node.op in ("call_function", "get_attr", "placeholder")
        and isinstance(node.meta.get("shape"), tuple)
        and all(isinstance(size, int) for size in node.meta["shape"])
    ]
    inputs = zoo.at_hints(cut.student, cut.inputs(2))
    with torch.no_grad():
        _, values = cut.student.observe([node.name for node in nodes])(*inputs)
    return all(n.meta["shape"] == tuple(v.shape) for n, v in zip(nodes, values, strict=True))


def _batches_agree(cut: Cut) -> bool:
    inputs = cut.inputs(5)
    with torch.no_grad():
        whole = cut.student(*inputs)
        parts = [(batch, cut.student(*(x[:batch] for x in inputs))) for batch in (1, 3)]
    return all(torch.allclose(part, whole[:n], rtol=1e-4, atol=1e-5) for n, part in parts)


def _kept_rows_lead_there(cut: Cut) -> bool:
    """What a student says it kept of a parameter leads from the teacher's tensor to its own."""
    teacher = subjects.subject(cut.name).graph.tensors
    for node in cut.student.program.graph.find_nodes(op="get_attr"):
        if node.target not in teacher:
            continue  # a table written anew
        tensor = teacher[node.target].detach()
        for dim, rows in cut.student.kept.get(node.name, {}).items():
            tensor = tensor.index_select(dim, torch.tensor(rows))
        if not torch.equal(tensor, cut.student.tensors[node.target]):
            return False
    return True


def _zeroing_is_removing(cut: Cut) -> bool:
    if not all(group.exact for group in subjects.analysis(cut.name).groups):
        return True
    inputs = tuple(x.double() if x.is_floating_point() else x for x in cut.inputs(2))
    teacher = subjects.subject(cut.name).graph
    with torch.no_grad():
        masked = zoo.in_double(mask(teacher, cut.analysis, cut.plan))(*inputs)
        removed = zoo.in_double(cut.student)(*inputs)
    return float((masked - removed).abs().max()) <= 1e-12 * max(1.0, float(masked.abs().max()))


def _masked_gives_numbers(cut: Cut) -> bool:
    """Zeroes do not make the answer infinite, or no number."""
    teacher = subjects.subject(cut.name).graph
    inputs = cut.inputs(2)
    with torch.no_grad():
        before, after = teacher(*inputs), mask(teacher, cut.analysis, cut.plan)(*inputs)
    return bool((after.isfinite() | ~before.isfinite()).all())


def _teacher_stands_alone(cut: Cut) -> bool:
    """The student shares no memory with it, so may be trained."""
    tensors = (subjects.subject(cut.name).graph.tensors, cut.student.tensors)
    teacher, student = ({t.untyped_storage().data_ptr() for t in of.values()} for of in tensors)
    return teacher.isdisjoint(student)


def foreign_plans_are_refused(cut: Cut) -> bool:
    """One that was made for the analysis given, which is of another network."""
    plan = dataclasses.replace(cut.plan, fingerprint="another")
    analysis = dataclasses.replace(cut.analysis, fingerprint="another")
    try:
        remove(subjects.subject(cut.name).graph, analysis, plan)
    except PlanError:
        return True
    return False


LAWS: Mapping[str, Callable[[Cut], bool]] = {
    "the student has the parameters predicted": parameters_as_predicted,
    "the student's own analysis counts the work predicted": _work_as_predicted,
    "torch counts the work predicted": _work_as_torch_counts,
    "every node has the shape predicted": _shapes_as_predicted,
    "a sample's answer does not depend on the batch": _batches_agree,
    "the rows said to be kept are those that were": _kept_rows_lead_there,
    "zeroing is removing": _zeroing_is_removing,
    "the masked network gives numbers": _masked_gives_numbers,
    "the student shares no memory with the teacher": _teacher_stands_alone,
    "a plan for another structure is refused": foreign_plans_are_refused,
}
