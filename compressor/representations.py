"""How alike two networks represent one batch: losses on their features, and objectives of them.

In: representations (n, d), logits, labels.  Out: one differentiable number.  Knows nothing of
loops, nodes or where the teacher comes from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import OptionError
from compressor.objectives import Objective, Signals, label_loss, logit_divergence
from compressor.processes import batch_mean

# Two representations (n, d) of the same samples -> how far apart, a scalar.
Distance = Callable[[Tensor, Tensor], Tensor]

_EPSILON = 1e-5  # added to a feature's variance over the batch


def cross_correlation_loss(
    student: Tensor, teacher: Tensor, off_diagonal: float | None = None
) -> Tensor:
    """``(sum_i (1 - C_ii)^2 + off_diagonal * sum_{i != j} C_ij^2) / d``, C their correlations.

    ``C = Zs^T Zt / n`` of features standardised over the batch: student's feature i against the
    teacher's feature j (the form of Zbontar et al., "Barlow Twins", 2021, which does not divide by
    the d features; divided, a weight means the same in narrow and wide networks).  A feature that
    is constant correlates with nothing and has no gradient.  Of several processes each brings its
    share of the samples.

    ``off_diagonal``: None is 1 / d.  C is estimated from n samples, so that off the diagonal its
    noise alone sums to about d^2 / n; 1 / d keeps that at 1 / n after the division, beside a
    diagonal of up to 1.  Float32 or wider, under autocast too.
    """
    _require_alike(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        features = student.shape[1]
        weight = 1.0 / features if off_diagonal is None else off_diagonal
        pairs = batch_mean(_standardised(student).T @ _standardised(teacher) / len(student))
        own = pairs.diagonal()
        others = pairs.square().sum() - own.square().sum()
        return ((1.0 - own).square().sum() + weight * others) / features


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """``1 - cos`` of each sample's two representations, the mean over samples."""
    _require_alike(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        similar = functional.cosine_similarity(_wide(student), _wide(teacher), dim=1)
        return (1.0 - similar).mean()


def as_rows(value: Tensor) -> Tensor:
    """A node's value as (n, d): every place of a map or of a sequence counts as a sample.

    Two dimensions stay as they are.  Of three the last holds the features (tokens), of more the
    second (channels of a map).
    """
    if value.ndim == 1:
        return value[:, None]
    if value.ndim > 3:
        value = value.movedim(1, -1)
    return value.reshape(-1, value.shape[-1])


def representation_objective(
    distance: Distance, weight: float = 1.0, *, temperature: float = 4.0
) -> Objective:
    """``label_loss + weight * distance`` of the observed representations, their mean over nodes.

    Without labels the teacher's answers take their place (``logit_divergence`` at
    ``temperature``), because a representation alone teaches the classifier nothing.  Raises
    OptionError for a weight below 0 and, when called, where no node is observed or there is
    neither a label nor a teacher.
    """
    _require_weight(weight)

    def objective(signals: Signals) -> Tensor:
        pairs = list(zip(signals.student_features, signals.teacher_features, strict=False))
        if not pairs:
            raise OptionError(
                "a representation is compared with a teacher's, and none is observed: name the "
                "node that the classifier reads and give a teacher"
            )
        found = [distance(as_rows(student), as_rows(teacher)) for student, teacher in pairs]
        return _answers(signals, temperature) + weight * torch.stack(found).mean()

    return objective


def divergence_objective(weight: float = 1.0, *, temperature: float = 4.0) -> Objective:
    """``label_loss + weight * logit_divergence``; without labels the divergence alone.

    Raises OptionError for a weight below 0 and, when called, where there is no teacher.
    """
    _require_weight(weight)

    def objective(signals: Signals) -> Tensor:
        if signals.teacher_logits is None:
            raise OptionError("a divergence is from a teacher's answers: give a teacher")
        if signals.labels is None:
            return _answers(signals, temperature)
        apart = logit_divergence(signals.student_logits, signals.teacher_logits, temperature)
        return label_loss(signals.student_logits, signals.labels) + weight * apart

    return objective


def _answers(signals: Signals, temperature: float) -> Tensor:
    """The loss of the logits: against the labels, else against the teacher's logits."""
    if signals.labels is not None:
        return label_loss(signals.student_logits, signals.labels)
    if signals.teacher_logits is None:
        raise OptionError("there is neither a teacher nor labels to learn from: give one of them")
    return logit_divergence(signals.student_logits, signals.teacher_logits, temperature)


def _standardised(value: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the batch, feature by feature."""
    centred = _wide(value) - batch_mean(_wide(value).mean(dim=0))
    return centred / (batch_mean(centred.square().mean(dim=0)) + _EPSILON).sqrt()


def _wide(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _require_alike(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise OptionError(
            f"representations differ: student {tuple(student.shape)}, teacher "
            f"{tuple(teacher.shape)}; both must be (samples, features), cut to the kept rows"
        )


def _require_weight(weight: float) -> None:
    if not weight >= 0.0:
        raise OptionError(f"the weight of a distance is {weight}: choose 0 or more")
