"""What a network is taken for by the sizes of its outputs."""

from __future__ import annotations

import pytest

from export.outputs import Output, Sizes, Task, task_of


@pytest.mark.parametrize(
    ("sizes", "classes", "task"),
    [
        ([(10,)], None, "image-classification"),
        ([(10,)], 3, "image-classification"),
        ([(4, 32, 32)], None, "image-segmentation"),
        ([(4, None, None)], None, "image-segmentation"),
        ([(10,), (64,)], None, None),  # which of them is the answer?
        ([(10,), (64,)], 10, "image-classification"),
        ([(64,), (10,)], 10, None),
        ([(1,)], None, None),  # one number, of which nothing is the largest
        ([(1, 32, 32)], None, None),
        ([()], None, None),
        ([(None,)], None, None),
        ([(240, 4)], None, None),
        ([], None, None),
    ],
)
def test_a_task_is_told_by_the_first_output(
    sizes: list[Sizes], classes: int | None, task: Task | None
) -> None:
    labels = None if classes is None else tuple(map(str, range(classes)))
    assert task_of(sizes, labels) == task


def test_a_shape_names_the_batch_and_what_is_free() -> None:
    assert Output(name="x", sizes=(3, None)).shape == "(batch, 3, any)"
    assert Output(name="x", sizes=()).shape == "(batch)"
