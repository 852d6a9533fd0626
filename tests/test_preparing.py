"""What a build starts from, and what it refuses before it has cost anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import OptionError
from compressor.loading import load
from compressor.preparing import prepare, study
from compressor.watching import Silent, Stopwatch


class Answering(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.first, self.last = form, nn.Conv2d(3, 8, 3), nn.Linear(8, 1)

    def forward(self, *given: Tensor) -> Any:
        found = self.first(given[0]).relu()
        if self.form == "maps":
            return {"out": found}
        one = self.last(found.mean((2, 3)))
        if self.form == "two inputs":
            return one + given[1]
        return one if self.form == "one column" else one[:, 0]


def written(form: str, folder: Path) -> Path:
    inputs = (torch.rand(2, 3, 16, 16), torch.rand(2, 1))[: 1 + (form == "two inputs")]
    batch = torch.export.Dim("batch", min=2)
    free = tuple({0: batch} for _ in inputs)
    program = torch.export.export(Answering(form).eval(), inputs, dynamic_shapes=(free,))
    torch.export.save(program, folder / "network.pt2")
    return folder / "network.pt2"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("one column", "no choice among classes"),
        ("one number", "no choice among classes"),
        ("two inputs", r"takes \(2, 3, 16, 16\), \(2, 1\), not one batch of pictures"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_refused_at_once(
    form: str, said: str, tmp_path: Path
) -> None:
    teacher = load(written(form, tmp_path))
    watch = Stopwatch()
    with pytest.raises(OptionError, match=said):
        study(teacher, listener=Silent(), watch=watch)
    assert set(watch.seconds) == {"capture"}


def test_classes_of_every_place_will_do(tmp_path: Path) -> None:
    teacher = load(written("maps", tmp_path))
    watch = Stopwatch()
    found = prepare(
        teacher,
        study(teacher, listener=Silent(), watch=watch),
        "synthetic",
        None,
        sample=8,
        seed=0,
        device="cpu",
        listener=Silent(),
        watch=watch,
    )
    assert len(found.data.train) > 0
