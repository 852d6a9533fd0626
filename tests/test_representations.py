"""Distances of representations against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from compressor.errors import OptionError
from compressor.objectives import Signals, label_loss, logit_divergence
from compressor.representations import (
    as_rows,
    cosine_distance,
    cross_correlation_loss,
    divergence_objective,
    representation_objective,
)


def features(samples: int = 64, width: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, width, generator=generator, dtype=torch.float64)


def whitened(samples: int = 64, width: int = 8) -> Tensor:
    """Means 0, variances 1, correlations 0."""
    values = features(samples, width)
    return torch.linalg.qr(values - values.mean(0)).Q * math.sqrt(samples)


def test_whitened_features_that_agree_lose_nothing() -> None:
    assert float(cross_correlation_loss(whitened(), whitened())) < 1e-9


def test_turned_signs_cost_four_each() -> None:
    assert float(cross_correlation_loss(-whitened(), whitened())) == pytest.approx(4.0, abs=1e-3)


def test_permuted_features_lose_the_diagonal_and_pay_for_the_rest() -> None:
    moved = whitened().roll(1, dims=1)
    assert float(cross_correlation_loss(moved, whitened(), 0.0)) == pytest.approx(1.0, abs=1e-3)
    assert float(cross_correlation_loss(moved, whitened(), 0.5)) == pytest.approx(1.5, abs=1e-3)
    assert float(cross_correlation_loss(moved, whitened())) == pytest.approx(1 + 1 / 8, abs=1e-3)


def test_equal_features_pay_for_their_correlations_alone() -> None:
    values = features()
    correlations = torch.corrcoef(values.T)
    others = float((correlations - torch.eye(8)).square().sum())
    found = float(cross_correlation_loss(values, values, 0.3))
    assert found == pytest.approx(0.3 * others / 8, rel=1e-3)


def test_correlation_does_not_depend_on_scale_or_shift() -> None:
    student, teacher = features(seed=1), features(seed=2)
    plain = float(cross_correlation_loss(student, teacher))
    other = float(cross_correlation_loss(5.0 * student + 3.0, 0.5 * teacher - 7.0))
    assert other == pytest.approx(plain, rel=1e-3)


def test_a_constant_feature_has_a_finite_loss_and_no_gradient() -> None:
    values = features()
    values[:, 3] = 2.0
    student = values.clone().requires_grad_()
    loss = cross_correlation_loss(student, features(seed=1))
    loss.backward()
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    still = torch.zeros(64, 8, requires_grad=True)
    cross_correlation_loss(still, torch.zeros(64, 8)).backward()
    assert still.grad is not None
    assert not still.grad.any()


def test_a_step_down_the_slope_correlates_more() -> None:
    student, teacher = features(seed=1).requires_grad_(), features(seed=2)
    before = cross_correlation_loss(student, teacher)
    before.backward()
    assert student.grad is not None
    after = cross_correlation_loss(student.detach() - student.grad, teacher)
    assert float(after) < float(before.detach())


def test_half_precision_and_autocast_are_computed_in_float32() -> None:
    student, teacher = features(seed=1).float(), features(seed=2).float()
    expected = cross_correlation_loss(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cross_correlation_loss(student, teacher), expected)
    assert cross_correlation_loss(student.bfloat16(), teacher).dtype == torch.float32
    assert cosine_distance(student.bfloat16(), teacher).dtype == torch.float32


def test_cosine_distance_looks_at_directions() -> None:
    values = features()
    assert float(cosine_distance(3.0 * values, values)) == pytest.approx(0.0, abs=1e-9)
    assert float(cosine_distance(-values, values)) == pytest.approx(2.0)
    apart = cosine_distance(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0]] * 2))
    assert float(apart) == pytest.approx((1.0 + 1.0 - math.sqrt(0.5)) / 2)


@pytest.mark.parametrize("distance", [cross_correlation_loss, cosine_distance])
def test_different_shapes_are_refused(distance: object) -> None:
    assert callable(distance)
    with pytest.raises(OptionError, match=r"student \(4, 3\), teacher \(4, 2\)"):
        distance(torch.zeros(4, 3), torch.zeros(4, 2))


def test_every_place_counts_as_a_sample() -> None:
    assert as_rows(torch.zeros(4)).shape == (4, 1)
    assert as_rows(torch.zeros(4, 3)).shape == (4, 3)
    tokens = torch.arange(24).reshape(2, 4, 3)
    assert torch.equal(as_rows(tokens)[4], tokens[1, 0])
    pictures = torch.arange(48).reshape(2, 3, 2, 4)
    assert torch.equal(as_rows(pictures)[9], pictures[1, :, 0, 1])


def signals(labels: bool, teacher: bool) -> Signals:
    student_logits, teacher_logits = features(6, 4, 3), features(6, 4, 4)
    return Signals(
        student_logits=student_logits,
        teacher_logits=teacher_logits if teacher else None,
        labels=torch.arange(6) % 4 if labels else None,
        student_features=(features(6, 5, 5),),
        teacher_features=(features(6, 5, 6),) if teacher else (),
    )


def test_representation_objective_adds_the_distance_to_the_labels() -> None:
    given = signals(labels=True, teacher=True)
    assert given.labels is not None
    apart = cosine_distance(given.student_features[0], given.teacher_features[0])
    expected = label_loss(given.student_logits, given.labels) + 0.7 * apart
    assert torch.allclose(representation_objective(cosine_distance, 0.7)(given), expected)


def test_without_labels_the_teachers_answers_take_their_place() -> None:
    given = signals(labels=False, teacher=True)
    assert given.teacher_logits is not None
    divergence = logit_divergence(given.student_logits, given.teacher_logits, 2.0)
    apart = cosine_distance(given.student_features[0], given.teacher_features[0])
    found = representation_objective(cosine_distance, 0.7, temperature=2.0)(given)
    assert torch.allclose(found, divergence + 0.7 * apart)
    alone = divergence_objective(0.3, temperature=2.0)(given)
    assert torch.allclose(alone, divergence)


def test_divergence_objective_adds_the_divergence_to_the_labels() -> None:
    given = signals(labels=True, teacher=True)
    assert given.labels is not None
    assert given.teacher_logits is not None
    divergence = logit_divergence(given.student_logits, given.teacher_logits, 3.0)
    expected = label_loss(given.student_logits, given.labels) + 0.3 * divergence
    assert torch.allclose(divergence_objective(0.3, temperature=3.0)(given), expected)


def test_where_nothing_can_be_learned_the_objectives_say_so() -> None:
    with pytest.raises(OptionError, match="none is observed"):
        representation_objective(cosine_distance)(signals(labels=True, teacher=False))
    with pytest.raises(OptionError, match="give a teacher"):
        divergence_objective()(signals(labels=True, teacher=False))
    for make in (divergence_objective, lambda w: representation_objective(cosine_distance, w)):
        with pytest.raises(OptionError, match="choose 0 or more"):
            make(-1.0)
