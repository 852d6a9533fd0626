"""Networks measured on the same images, and what is said of a teacher that knows nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.data import ImageData, Images
from compressor.graphs import Graph, capture
from compressor.judging import Judge
from compressor.types import Preprocessing
from compressor.watching import Stopwatch

CLASSES, COUNT = 10, 200


class Reading(nn.Module):
    """Answers with the picture's first pixels, each ``off`` classes further."""

    def __init__(self, off: int) -> None:
        super().__init__()
        self.off, self.gain = off, nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x.flatten(1)[:, :CLASSES].roll(self.off, dims=1)


def judge(off: int, *, labels: bool = True, trained: bool = True) -> Judge:
    drawn = torch.randint(CLASSES, (COUNT,), generator=torch.Generator().manual_seed(0))
    pixels = nn.functional.one_hot(drawn, 16).to(torch.uint8).mul(255).reshape(COUNT, 1, 4, 4)
    images = Images(pixels=pixels, labels=drawn if labels else None)
    data = ImageData(
        train=images,
        validation=images,
        test=images,
        classes=tuple(map(str, range(CLASSES))),
        preprocessing=Preprocessing(crop=(4, 4), mean=(0.5,), std=(0.5,)),
        name="made",
        train_with_labels=labels,
        seen_test_share=0.0,
        notes=(),
    )
    graph: Graph = capture(Reading(off).eval(), (torch.zeros(2, 1, 4, 4),))
    return Judge(graph, data, "cpu", Stopwatch(), trained=trained)


def test_a_teacher_that_guesses_is_told_with_what_to_look_at() -> None:
    (doubt,) = judge(3).doubts
    assert doubt.startswith("the teacher is right on 0.0% of 200 images, with 10 classes hardly")
    assert "--mean" in doubt


@pytest.mark.parametrize(
    ("off", "labels", "trained"), [(0, True, True), (3, False, True), (3, True, False)]
)
def test_others_are_not_doubted(off: int, labels: bool, trained: bool) -> None:
    assert judge(off, labels=labels, trained=trained).doubts == ()
