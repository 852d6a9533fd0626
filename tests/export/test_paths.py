"""Which text counts as an absolute path."""

from __future__ import annotations

import pytest

from export.paths import find_absolute_paths, reduce_argument, reduce_paths


@pytest.mark.parametrize(
    ("text", "reduced"),
    [
        ('File "/opt/env/lib/torch/nn/linear.py", line 3', 'File "nn/linear.py", line 3'),
        ("/data/my nets/a b/net.py:7 in f", "a b/net.py:7 in f"),
        ('File "C:\\\\code\\\\nets\\\\net.py", line 1', 'File "nets/net.py", line 1'),
        (
            "and/or, ../x/y.py, https://a.org/b/c, 1 / 2 / 3",
            "and/or, ../x/y.py, https://a.org/b/c, 1 / 2 / 3",
        ),
        ("linear.py:3", "linear.py:3"),
    ],
)
def test_absolute_paths_are_cut_to_two_parts_and_nothing_else_is(text: str, reduced: str) -> None:
    assert reduce_paths(text) == reduced
    assert find_absolute_paths(reduced) == ()


@pytest.mark.parametrize(
    ("argument", "stored"),
    [
        ("/data/nets/resnet50.pt", "nets/resnet50.pt"),
        ("--out=/data/runs/x", "--out=runs/x"),
        ("/home/ann/net.pt", "net.pt"),
        ("/root/net.pt", "net.pt"),
        ("../shared/net.py:resnet56", "../shared/net.py:resnet56"),
        ("/data/models/net.py:resnet56", "models/net.py:resnet56"),
        ("timm:resnet18.a1_in1k", "timm:resnet18.a1_in1k"),
        ("0.7", "0.7"),
        ("/net.pt", "net.pt"),
    ],
)
def test_arguments_keep_no_place_of_the_machine(argument: str, stored: str) -> None:
    assert reduce_argument(argument) == stored
