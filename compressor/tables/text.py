"""Names and columns as text.  Knows nothing of what the names stand for."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

COLUMNS = 80
INDENT = " " * 6
NAME = 26  # columns for a name
MOST_NAMES = 6
COUNTING = re.compile(r"(?<![A-Za-z\d])\d+(?=\.|$)")


def visible(text: str) -> str:
    """``text`` as one line that a terminal shows as it was typed.

    Names from files may hold line breaks and codes that move the cursor, colour, or turn the
    direction of writing; each becomes its escape (``\\x1b``).
    """
    return "".join(
        one if one.isprintable() or unicodedata.category(one) == "Zs" else escape(one)
        for one in text
    )


def escape(character: str) -> str:
    """A character as Python spells it in a string."""
    return character.encode("unicode_escape").decode()


def percent(share: float) -> str:
    """Rounded down, so that only what is whole is called 100 %."""
    return f"{math.floor(1e4 * share + 1e-9) / 100:.2f} %"


def columns(name: str, row: str) -> list[str]:
    """A name and its row, on two lines where the name is long."""
    if len(name) <= NAME:
        return [f"  {name:{NAME}} {row}"]
    return [f"  {name}", f"  {'':{NAME}} {row}"]


def few(names: Iterable[str], everything: bool, most: int = MOST_NAMES) -> str:
    """Names between commas; unless all are asked for, alike ones merged and long lists cut."""
    told = list(dict.fromkeys(names))
    if everything:
        return ", ".join(told)
    alike: dict[str, list[str]] = {}
    for name in told:
        alike.setdefault(starred(name), []).append(name)
    parts = [[name] for name in told if len(alike[starred(name)]) < 3]
    parts += [same for same in alike.values() if len(same) >= 3]
    parts.sort(key=lambda same: told.index(same[0]))
    shown = [f"{merged(same)} ({len(same)})" if len(same) > 1 else same[0] for same in parts]
    if len(shown) <= most:
        return ", ".join(shown)
    rest = sum(len(same) for same in parts[most:])
    return f"{', '.join(shown[:most])} and {rest} more"


def wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def starred(path: str) -> str:
    """Numbers that count modules become a star: ``layers.3.mlp.0`` -> ``layers.*.mlp.0``.

    The last piece keeps its number, which tells neighbours apart.
    """
    head, dot, tail = path.rpartition(".")
    return COUNTING.sub("*", head) + dot + tail


def merged(paths: Sequence[str]) -> str:
    """Paths alike but for numbers as one, with a star where they differ."""
    pieces = zip(*(re.split(r"(\d+)", path) for path in paths), strict=True)
    return "".join(same[0] if len(set(same)) == 1 else "*" for same in pieces)
