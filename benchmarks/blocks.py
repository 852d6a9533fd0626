"""What a page is made of: sections of paragraphs, tables, pictures and lists.

Plain values that say what is told and in which shape; templates write them.  Knows nothing of what
a report holds, nor of HTML beyond the pictures' own markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from markupsafe import Markup

from benchmarks.figures import Phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph.  ``pill``: a word before it, and the status whose colour it has."""

    shape: ClassVar[str] = "text"
    said: Phrase
    tone: Literal["", "small", "caveat", "sha code"] = ""
    pill: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A cell of several lines; ``tone`` "pair": teacher above student, else the rest is small."""

    lines: tuple[object, ...]
    tone: Literal["pair", "small"] = "small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``words``: columns of words, to the left; the others hold numbers.  A row begins with its
    name."""

    shape: ClassVar[str] = "table"
    columns: tuple[object, ...]
    rows: tuple[tuple[object, ...], ...]
    words: tuple[int, ...] = ()
    name: str = ""  # a class of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    shape: ClassVar[str] = "picture"
    drawing: Markup
    caption: Phrase | None = None
    small: Phrase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Beside each other where there is room."""

    shape: ClassVar[str] = "pictures"
    heading: str
    said: Phrase
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names with a number each."""

    shape: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Names with a text each, one below the other."""

    shape: ClassVar[str] = "settings"
    pairs: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    shape: ClassVar[str] = "items"
    items: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    shape: ClassVar[str] = "code"
    said: Phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class BarLine:
    """``hint``: what is told where the pointer rests."""

    name: object
    bar: Markup
    said: object
    hint: Phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class BarGroup:
    heading: Phrase
    lines: tuple[BarLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """``dense``: thin bars without names, under headings."""

    shape: ClassVar[str] = "bars"
    groups: tuple[BarGroup, ...]
    dense: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Shown when asked for."""

    shape: ClassVar[str] = "fold"
    summary: Phrase
    blocks: tuple[Block, ...]


Block: TypeAlias = (
    "Text | Table | Picture | Pictures | Facts | Settings | Items | Code | Bars | Fold"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


def folded(summary: Phrase, blocks: Sequence[Block], *, unless: bool) -> tuple[Block, ...]:
    """The blocks as they are, or behind one line."""
    return tuple(blocks) if unless else (Fold(summary=summary, blocks=tuple(blocks)),)


def keys(*pairs: tuple[str, str]) -> Markup:
    """Colours (classes of the style sheet) with their words."""
    one = Markup('<span class="key {}"></span> {}')
    told = Markup(" ").join(one.format(colour, word) for colour, word in pairs)
    return Markup('<i class="keys">{}</i>').format(told)


def subject_keys(drawn: Literal["line", "dot", "bar"]) -> Markup:
    """Teacher's and student's colours, as they are drawn."""
    return keys((f"{drawn}-t", "teacher"), (f"{drawn}-s", "student"))
