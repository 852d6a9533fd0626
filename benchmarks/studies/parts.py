"""Parts of a page that several studies share, each between two marks of its own.

Comes in: Markdown.  Goes out: the page with that part in place of what stood there.  Knows nothing
of what the studies say.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from compressor.files import write_bytes
from export.paths import reduce_argument

TITLE = "# Studies\n"


def marks(name: str) -> tuple[str, str]:
    """What stands before and after the part of that name."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def put_part(page: Path, name: str, text: str) -> None:
    """Put a study's part into ``page``, which may hold others; an older one is replaced."""
    begin, end = marks(name)
    part = f"{begin}\n{text}\n{end}\n"
    old = page.read_text(encoding="utf-8") if page.is_file() else TITLE + "\n"
    before, found, rest = old.partition(begin)
    if found:
        _, _, after = rest.partition(end + "\n")
        whole = before + part + after
    else:
        whole = old.rstrip("\n") + "\n\n" + part
    write_bytes(page, whole.encode())


def typed(module: str, arguments: Sequence[str]) -> str:
    """The command that was typed, without paths of this machine, in ``NAME=FILE`` neither."""
    reduced = (
        "=".join(reduce_argument(part) for part in argument.split("=")) for argument in arguments
    )
    return shlex.join(["python", "-m", module, *reduced])


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *body)] + [""]


def number(count: int, one: str, more: str) -> str:
    """ "1 seed", "3 seeds"."""
    return f"{count:,} {one if count == 1 else more}"
