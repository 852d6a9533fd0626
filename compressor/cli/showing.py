"""What commands print and write at their end.

Comes in: a run folder, a document.  Goes out: lines, JSON, files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from compressor.tables.text import visible

if TYPE_CHECKING:
    from compressor.console import Console


def say(line: str) -> None:
    """A line on standard output; names from files may hold anything."""
    typer.echo(visible(line))


def show_result(console: Console, folder: Path) -> None:
    from benchmarks.figures import plain
    from benchmarks.report import open_run
    from benchmarks.verdict import caveats, judge, verdict

    found = open_run(folder).report
    judgement = judge(found)
    lines = (*judgement.short, *caveats(found), *found.get("warnings", ()))
    told = [plain(one) for one in lines]
    console.result(verdict(found), judgement.status, told, folder / "report.html")


def json_text(document: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode()


def write_text(path: str, text: str) -> None:
    from compressor.files import write_bytes

    write_bytes(Path(path), text.encode())
