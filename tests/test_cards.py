"""Cards beside weight files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compressor.cards import Accuracy, Card, card_path, encode_card, read_card
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


def test_what_is_no_card_is_none(tmp_path: Path) -> None:
    weights = tmp_path / "x.pt"
    for content in (b"", b"{}", b"[1]", encode_card(replace(CARD, format=2))):
        card_path(weights).write_bytes(content)
        assert read_card(weights) is None
