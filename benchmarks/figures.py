"""Numbers and texts of a page that say which entry of which file they are.

In come Entries and a way to write them; out come Figures, Quotes and the Phrases made of them.
Each is plain text for a terminal and markup for a page, where its origin stands beside it: a test
walks the page in a browser and looks every number up.  Knows nothing of what is told.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from benchmarks import formatting
from benchmarks.entries import Entry

Format = Callable[[Any], str]


def width(spans: Sequence[Sequence[int]]) -> int:
    """How many units are in spans."""
    return sum(stop - start for start, stop in spans)


# How a number that is shown comes of the numbers it refers to.
WAYS: Mapping[str, Callable[..., Any]] = {
    "value": lambda one: one,
    "inverse": lambda one: 1 / one,
    "quotient": lambda one, other: one / other,
    "difference": lambda one, other: one - other,
    "fewer": lambda one, other: 1 - one / other,
    "more": lambda one, other: one / other - 1,
    "sum": lambda *all_of: sum(all_of),
    "mean": lambda *all_of: sum(all_of) / len(all_of),
    "length": len,
    "width": width,
    "widths": lambda *all_of: sum(map(width, all_of)),
    "gone": lambda units, kept: units - width(kept),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number as it is shown.  ``by``: a key of WAYS; ``form``: a name in ``formatting``."""

    value: float
    text: str
    sources: tuple[str, ...]
    by: str
    form: str

    def __str__(self) -> str:
        return self.text

    def __html__(self) -> Markup:
        return self._element("data", "value")

    @property
    def svg(self) -> Markup:
        """For a ``text`` of a picture."""
        return self._element("tspan", "data-value")

    def _element(self, tag: str, attribute: str) -> Markup:
        by = "" if self.by == "value" else f'data-by="{self.by}" '
        return Markup(
            f'<{tag} {attribute}="{self.value!r}" data-key="{escape(" ".join(self.sources))}" '
            f'{by}data-form="{self.form}">{escape(self.text)}</{tag}>'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A text of a file, word for word.  ``by`` "shell": words, as they are typed."""

    text: str
    source: str
    by: str = ""

    def __str__(self) -> str:
        return self.text

    def __html__(self) -> Markup:
        by = Markup(' data-by="{}"').format(self.by) if self.by else ""
        return Markup('<span data-text="{}"{}>{}</span>').format(self.source, by, self.text)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words, figures and quotes in a row."""

    parts: tuple[object, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    def __html__(self) -> Markup:
        return Markup("").join(self.parts)  # type: ignore[arg-type]  # takes all with __html__

    def __bool__(self) -> bool:
        return bool(self.parts)


NOTHING = Phrase(())


def phrase(*parts: object) -> Phrase:
    return Phrase(parts)


def joined(phrases: Sequence[object], between: str = ", ") -> Phrase:
    parts = [part for one in phrases for part in (between, one)]
    return Phrase(tuple(parts[1:]))


def show(found: Entry, form: Format = formatting.significant) -> Figure | str:
    """The number as text; a dash where there is none."""
    return derive("value", found, form=form)


def derive(by: str, *entries: Entry, form: Format) -> Figure | str:
    """What WAYS says of several numbers; a dash where one of them is unknown."""
    if not all(one.known for one in entries):
        return formatting.UNKNOWN
    value = WAYS[by](*(one.value for one in entries))
    return Figure(
        value=value,
        text=form(value),
        sources=tuple(one.reference for one in entries),
        by=by,
        form=form.__name__,
    )


def cite(found: Entry) -> Quote | str:
    """A text as it stands in the file; a dash where there is none."""
    if not found.known:
        return formatting.UNKNOWN
    return Quote(text=str(found.value), source=found.reference)


def typed(words: Entry) -> Quote:
    """A command, given as its words, as a shell takes it."""
    text = shlex.join(map(str, words.value))
    return Quote(text=text, source=words.reference, by="shell")


def plain(told: object) -> str:
    """As a terminal has it."""
    return str(told).replace(formatting.TIMES, "x").replace("→", "->")
