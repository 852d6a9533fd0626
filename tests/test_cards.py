"""Cards beside weight files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compressor.cards import Accuracy, Card, card_path, encode_card, read_card
from compressor.errors import LoadError
from compressor.types import Preprocessing

CARD = Card(
    sha256="ab",
    architecture="torchvision:resnet18",
    classes=("cat", "dog"),
    preprocessing=Preprocessing(crop=(8, 8), mean=(0.5,), std=(0.2,)),
    data="pets",
    images=10,
    seed=0,
    epochs=1.5,
    seconds=2.0,
    validation=Accuracy(images=4, top1=0.5),
    test=None,
)


def test_a_card_survives_its_file(tmp_path: Path) -> None:
    weights = tmp_path / "x.pt"
    assert card_path(weights).name == "x.pt.json"
    assert read_card(weights) is None
    card_path(weights).write_bytes(encode_card(CARD))
    assert read_card(weights) == CARD


def test_json_of_somebody_else_is_no_card(tmp_path: Path) -> None:
    weights = tmp_path / "x.pt"
    for content in (b"{}", b"[1]", b'{"accuracy": 0.9}'):
        card_path(weights).write_bytes(content)
        assert read_card(weights) is None


def test_a_card_that_is_damaged_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "x.pt"
    crop = replace(CARD, preprocessing=replace(CARD.preprocessing, crop=(0, 8)))
    good = encode_card(CARD)
    damaged = (b"", good[:-9], encode_card(replace(CARD, format=2)), encode_card(crop))
    for content in damaged:
        card_path(weights).write_bytes(content)
        with pytest.raises(LoadError, match=r"x\.pt\.json: .*remove it"):
            read_card(weights)
