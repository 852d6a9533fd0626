"""A row of the list: what a network is and what goes into it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Library = Literal["torchvision", "timm", "transformers"]
Option = int | float | str | bool | None | tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of the list.

    ``shape`` is one sample's input: (channels, height, width), (channels, frames, height, width)
    or (tokens,).  ``millions`` is the number of parameters when the row was written; the study
    runs small networks first.
    """

    library: Library
    factory: str  # what the library calls it
    shape: tuple[int, ...]
    millions: float
    options: tuple[tuple[str, Option], ...] = ()  # arguments of the factory
    part: str = ""  # which part is taken, and why not all of it
    vocabulary: int = 0  # inputs are tokens below this; 0 for pictures

    @property
    def name(self) -> str:
        return f"{self.library}:{self.factory}"

    @property
    def is_text(self) -> bool:
        return self.vocabulary > 0
