"""Validation while training."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import nn

from compressor.data import Images
from compressor.errors import DataError
from compressor.graphs import Graph, capture
from compressor.types import Preprocessing
from compressor.validation import Validation, Validator, make_validator

PREPROCESSING = Preprocessing(crop=(4, 4), mean=(0.5,), std=(0.25,))


def small_graph() -> Graph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return capture(network.eval(), (torch.zeros(2, 1, 4, 4),))


def some_images(samples: int) -> Images:
    pixels = torch.randint(0, 256, (samples, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    return Images(pixels=pixels.to(torch.uint8), labels=torch.arange(samples) // (samples // 3 + 1))


def validator(samples: int, teacher: Graph | None, seconds: float | None = None) -> Validator:
    ticks = count()
    return make_validator(
        some_images(samples),
        PREPROCESSING,
        teacher,
        use_labels=teacher is None,
        batch_size=8,
        seconds=seconds,
        clock=lambda: float(next(ticks)),
    )


def outcome(metric: float, loss: float) -> Validation:
    return Validation(done_share=0.5, seconds=1.0, loss=loss, accuracy=metric, agreement=None)


def test_a_teacher_agrees_with_itself() -> None:
    found = validator(20, small_graph()).validate(small_graph(), done_share=0.0, seconds=2.0)
    assert (found.agreement, found.accuracy, found.metric) == (1.0, None, 1.0)
    assert found.loss == pytest.approx(0.0, abs=1e-6)


def test_labels_judge_where_there_is_no_teacher() -> None:
    found = validator(21, None).validate(small_graph(), done_share=0.0, seconds=2.0)
    assert found.agreement is None
    assert found.accuracy is not None
    assert found.metric == found.accuracy
    assert found.loss > 0


def test_the_sample_is_mixed_and_no_larger_than_the_time_allows() -> None:
    everything = validator(1200, None)
    assert len(everything.images.pixels) == 1000
    assert everything.images.labels is not None
    assert everything.images.labels[:32].unique().numel() == 3
    hurried = validator(100, small_graph(), seconds=2.5)
    assert len(hurried.images.pixels) == 16
    assert hurried.teacher_logits is not None
    assert len(hurried.teacher_logits) == 16


def test_nothing_to_judge_by_is_an_error() -> None:
    with pytest.raises(DataError, match="labels or a teacher"):
        make_validator(
            some_images(9),
            PREPROCESSING,
            None,
            use_labels=False,
            batch_size=8,
            clock=lambda: 0.0,
        )


def test_a_tie_is_decided_by_the_loss() -> None:
    assert outcome(0.5, 1.0).better_than(outcome(0.5, 2.0))
    assert outcome(0.6, 9.0).better_than(outcome(0.5, 2.0))
    assert not outcome(0.5, 1.0).better_than(outcome(0.5, 1.0))


def test_worse_is_what_chance_does_not_explain() -> None:
    best = replace(outcome(0.9, 1.0), images=1000)  # a standard error of 0.95 points
    assert not outcome(0.89, 1.0).worse_than(best)
    assert outcome(0.88, 1.0).worse_than(best)
    assert not outcome(0.88, 1.0).worse_than(replace(best, images=100))
    assert outcome(0.99, 1.0).worse_than(replace(outcome(1.0, 1.0), images=1000))


@pytest.mark.parametrize(
    ("latest", "word"),
    [
        (outcome(0.9, math.nan), "not finite"),
        (outcome(0.3, 1.0), "fell from 0.800 to 0.300"),
        (outcome(0.7, 50.0), "rose from 0.5 to 50"),
    ],
)
def test_a_lost_run_is_recognised(latest: Validation, word: str) -> None:
    reason = latest.diverged_from(outcome(0.8, 0.5))
    assert reason is not None
    assert word in reason
    assert outcome(0.6, 0.9).diverged_from(outcome(0.8, 0.5)) is None
