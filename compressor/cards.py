"""Cards: what is known about a trained teacher's weights, as JSON beside them.

Comes in: a ``Card``, or the path of a weight file.  Goes out: the JSON text, or the card that lies
there: ``resnet18.pt.json`` for ``resnet18.pt``.  Knows nothing of networks or of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from compressor.documents import read
from compressor.errors import LoadError
from compressor.preprocessing import require_sound
from compressor.types import Preprocessing

FORMAT = 1
_OURS = ("architecture", "preprocessing")  # keys that tell a card from other JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Top-1, a share, on this many images."""

    images: int
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A weight file and the run that made it."""

    format: int = FORMAT
    sha256: str  # of the weight file: a card speaks of these very weights only
    architecture: str  # "torchvision:resnet18", "net.py:small"
    classes: tuple[str, ...]  # in the order of the outputs
    preprocessing: Preprocessing
    data: str
    images: int  # trained on
    seed: int
    epochs: float  # passes over the training images, in fractions
    seconds: float
    validation: Accuracy  # on the images that chose the weights
    test: Accuracy | None  # None: no labelled test images


def card_path(weights: Path) -> Path:
    """Where the card of a weight file lies."""
    return weights.with_name(f"{weights.name}.json")


def encode_card(card: Card) -> bytes:
    """The file's content."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"


def read_card(weights: Path) -> Card | None:
    """The card beside ``weights``; None where there is none, or JSON of somebody else's.

    Raises LoadError for a card that is damaged, edited beyond use or of another format.
    """
    path = card_path(weights)
    try:
        found = read(path)
        if not isinstance(found, dict) or found.keys().isdisjoint(_OURS):
            return None
        if found.get("format") != FORMAT:
            raise ValueError(f"its format is {str(found.get('format'))[:20]}, not {FORMAT}")
        card = msgspec.convert(found, Card)
        require_sound(card.preprocessing)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{path}: not a card that can be used ({error}); mend it, or remove it to go without"
        ) from error
    return card
