"""Losses as pure functions of what student and teacher say about one batch.

In: logits, labels and, where asked for, values inside both networks.  Out: one differentiable
number.  Knows nothing of loops, optimisers, devices or where the teacher comes from.

An *objective* is any function ``Signals -> Tensor`` (a scalar); the functions ending in
``_objective`` make one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What the two networks say about one batch of n samples.

    ``student_logits``, ``teacher_logits``: (n, ..., classes); no teacher, no teacher's logits.
    ``labels``: int64 (n, ...) or None.
    ``student_features[i]`` and ``teacher_features[i]`` have equal shapes: the teacher's are already
    cut to the rows that the student kept.
    """

    student_logits: Tensor
    teacher_logits: Tensor | None = None
    labels: Tensor | None = None
    student_features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()


Objective = Callable[[Signals], Tensor]


def logit_divergence(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0
) -> Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, the mean over samples.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    The factor ``T^2`` keeps the gradient's size when T changes.  Computed in float32 or wider.
    """
    wide = torch.promote_types(student_logits.dtype, torch.float32)
    student = functional.log_softmax(student_logits.to(wide) / temperature, dim=-1)
    teacher = functional.log_softmax(teacher_logits.to(wide) / temperature, dim=-1)
    per_sample = (teacher.exp() * (teacher - student)).sum(dim=-1)
    return per_sample.mean() * temperature**2


def label_loss(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy against int64 labels, the mean over samples, in float32 or wider."""
    wide = torch.promote_types(student_logits.dtype, torch.float32)
    classes = student_logits.shape[-1]
    return functional.cross_entropy(
        student_logits.to(wide).reshape(-1, classes), labels.reshape(-1)
    )


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """``mean((student - teacher)^2) / mean(teacher^2)``: 1 for a student that says nothing.

    The same whatever the scale of the node, so nodes can be averaged.  A teacher node that is zero
    everywhere gives 0 when the student agrees with it.
    """
    if student.shape != teacher.shape:
        raise OptionError(
            f"features differ in shape: student {tuple(student.shape)}, teacher's kept rows "
            f"{tuple(teacher.shape)}; observe nodes that both networks have"
        )
    wide = torch.promote_types(student.dtype, torch.float32)
    reference = teacher.to(wide)
    second_moment = reference.square().mean().clamp_min(torch.finfo(wide).tiny)
    return (student.to(wide) - reference).square().mean() / second_moment


def kept_rows(value: Tensor, kept: Mapping[int, Sequence[int]]) -> Tensor:
    """The teacher's value of a node, cut to the rows the student kept (dimension -> rows)."""
    for dim, rows in kept.items():
        value = value.index_select(dim, torch.as_tensor(rows, device=value.device))
    return value


def logit_objective(*, alpha: float = 0.9, temperature: float = 4.0) -> Objective:
    """``alpha * logit_divergence + (1 - alpha) * label_loss``; without labels use ``alpha=1``.

    Raises OptionError where alpha is outside [0, 1], the temperature is not above 0, or (when the
    objective is called) labels are needed and absent.
    """
    if not 0.0 <= alpha <= 1.0:
        raise OptionError(f"alpha is {alpha}: it weighs teacher against labels, choose 0 to 1")
    if not temperature > 0.0:
        raise OptionError(f"the temperature is {temperature}: choose a number above 0")

    def objective(signals: Signals) -> Tensor:
        loss = torch.zeros((), device=signals.student_logits.device)
        if alpha > 0.0:
            if signals.teacher_logits is None:
                raise OptionError(f"alpha is {alpha}, which needs a teacher: give one or use 0")
            divergence = logit_divergence(
                signals.student_logits, signals.teacher_logits, temperature
            )
            loss = loss + alpha * divergence
        if alpha < 1.0:
            if signals.labels is None:
                raise OptionError(
                    f"alpha is {alpha}, which needs labels, and the images have none: use alpha 1"
                )
            loss = loss + (1.0 - alpha) * label_loss(signals.student_logits, signals.labels)
        return loss

    return objective


def with_features(objective: Objective, *, weight: float = 1.0) -> Objective:
    """Adds ``weight`` times the mean ``feature_distance`` over the observed nodes."""

    def with_distance(signals: Signals) -> Tensor:
        pairs = zip(signals.student_features, signals.teacher_features, strict=True)
        distances = [feature_distance(student, teacher) for student, teacher in pairs]
        if not distances:
            raise OptionError(
                "a feature objective compares nodes, and none are observed: name at least one"
            )
        return objective(signals) + weight * torch.stack(distances).mean()

    return with_distance
