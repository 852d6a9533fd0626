"""Losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from compressor.errors import OptionError
from compressor.objectives import (
    Signals,
    feature_distance,
    kept_rows,
    label_loss,
    logit_divergence,
    logit_objective,
    with_features,
)


def test_divergence_of_equal_logits_is_zero() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert float(logit_divergence(logits, logits + 3.0)) == pytest.approx(0.0, abs=1e-6)


def test_divergence_of_two_classes_has_the_closed_form() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2), both at temperature 2.
    teacher = torch.tensor([[2.0 * math.log(3.0), 0.0]])
    student = torch.zeros(1, 2)
    expected = 4.0 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(logit_divergence(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_divergence_gradient_is_the_difference_of_probabilities() -> None:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    temperature = 5.0
    logit_divergence(student, teacher, temperature).backward()
    gap = (student / temperature).softmax(-1) - (teacher / temperature).softmax(-1)
    assert student.grad is not None
    assert torch.allclose(student.grad, (temperature * gap / 4).detach())


def test_half_precision_logits_are_compared_in_float32() -> None:
    logits = torch.tensor([[30.0, -30.0]], dtype=torch.bfloat16)
    assert logit_divergence(logits, logits).dtype == torch.float32


def test_label_loss_of_a_flat_answer_is_log_of_the_classes() -> None:
    loss = label_loss(torch.zeros(3, 10), torch.tensor([0, 4, 9]))
    assert float(loss) == pytest.approx(math.log(10.0))


def test_feature_distance_does_not_depend_on_scale() -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(2, 3, 8, 4, 4, generator=generator)
    plain = float(feature_distance(student, teacher))
    assert float(feature_distance(1e4 * student, 1e4 * teacher)) == pytest.approx(plain, rel=1e-5)
    assert float(feature_distance(torch.zeros_like(teacher), teacher)) == pytest.approx(1.0)


def test_feature_distance_of_a_silent_node_is_zero() -> None:
    assert float(feature_distance(torch.zeros(2, 3), torch.zeros(2, 3))) == 0.0


def test_feature_distance_refuses_different_shapes() -> None:
    with pytest.raises(OptionError, match=r"student \(2, 3\).*\(2, 4\)"):
        feature_distance(torch.zeros(2, 3), torch.zeros(2, 4))


def test_kept_rows_cuts_every_named_dimension() -> None:
    value = torch.arange(24).reshape(2, 3, 4)
    cut = kept_rows(value, {1: (0, 2), 2: (3,)})
    assert cut.tolist() == [[[3], [11]], [[15], [23]]]
    assert kept_rows(value, {}) is value


def test_logit_objective_weighs_teacher_and_labels() -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 6, 4, generator=generator)
    labels = torch.arange(6) % 4
    signals = Signals(student_logits=student, teacher_logits=teacher, labels=labels)
    loss = logit_objective(alpha=0.7, temperature=3.0)(signals)
    expected = 0.7 * logit_divergence(student, teacher, 3.0) + 0.3 * label_loss(student, labels)
    assert torch.allclose(loss, expected)


def test_label_free_objective_needs_no_labels_and_others_say_so() -> None:
    signals = Signals(student_logits=torch.zeros(1, 2), teacher_logits=torch.zeros(1, 2))
    assert float(logit_objective(alpha=1.0)(signals)) == 0.0
    with pytest.raises(OptionError, match="needs labels"):
        logit_objective(alpha=0.5)(signals)


@pytest.mark.parametrize(("alpha", "temperature"), [(1.1, 4.0), (-0.1, 4.0), (0.5, 0.0)])
def test_logit_objective_refuses_senseless_numbers(alpha: float, temperature: float) -> None:
    with pytest.raises(OptionError, match="choose"):
        logit_objective(alpha=alpha, temperature=temperature)


def test_feature_objective_adds_the_mean_over_nodes() -> None:
    logits, ones, zeros = torch.zeros(2, 3), torch.ones(2, 4), torch.zeros(2, 4)
    signals = Signals(
        student_logits=logits,
        teacher_logits=logits,
        student_features=(zeros, ones),
        teacher_features=(ones, ones),
    )
    loss = with_features(logit_objective(alpha=1.0), weight=2.0)(signals)
    assert float(loss) == pytest.approx(2.0 * 0.5)


def test_feature_objective_without_nodes_says_so() -> None:
    signals = Signals(student_logits=torch.zeros(1, 2), teacher_logits=torch.zeros(1, 2))
    with pytest.raises(OptionError, match="none are observed"):
        with_features(logit_objective(alpha=1.0))(signals)
