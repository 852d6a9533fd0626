"""Sections as plain lines for a terminal.

In come blocks, out come lines.  Knows nothing of what they tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.blocks import Items, Section, Stack, Table
from benchmarks.figures import plain


def lines_of(section: Section) -> tuple[str, ...]:
    """The title, then tables and lists; other blocks have no place on a terminal."""
    found = [section.title.lower()]
    for block in section.blocks:
        if isinstance(block, Table):
            found += table_lines(block)
        elif isinstance(block, Items):
            found += [f"  {plain(one)}" for one in block.items]
    return tuple(found)


def table_lines(block: Table) -> Iterator[str]:
    """Columns as wide as their longest cell, numbers to the right."""
    rows = [[text(one) for one in row] for row in (block.columns, *block.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(block.columns))]
    left = {0, *block.words}
    for row in rows:
        cells = [
            one.ljust(width) if place in left else one.rjust(width)
            for place, (one, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()


def text(cell: object) -> str:
    """A stack on one line: the first, then the others in brackets."""
    if not isinstance(cell, Stack):
        return plain(cell)
    first, *others = (plain(line) for line in cell.lines)
    more: Sequence[str] = [one for one in others if one]
    return f"{first} ({'; '.join(more)})" if more else first
