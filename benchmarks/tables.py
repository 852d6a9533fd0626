"""A document of `benchmarks.bench` as a table for the terminal, and the lines below it.

Knows nothing of how anything was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.formatting import TIMES, interval, milliseconds, runtime, significant
from compressor.tables.text import visible

Document = Mapping[str, Any]
SAME = "the same again"  # where a file is compared with itself


def tables(document: Document) -> tuple[Table, ...]:
    """A table for each setting: a line for the reference and one for every other file."""
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for one in document["rows"]:
        settings.setdefault(setting(one), []).append(one)
    names = [visible(entry["file"]) for entry in document["files"]]
    width = min(max(map(len, [*names, SAME])), 30)
    return tuple(
        _table(place, document["reference"], rows, width) for place, rows in settings.items()
    )


def _table(place: str, reference: str, rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    found = Table(
        title=place,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    found.add_column("file", overflow="fold", width=width)
    for name in ("median ms", "p90", "p99"):
        found.add_column(name, justify="right", no_wrap=True, min_width=5)
    for name in ("speed-up (95 %)", "verdict"):
        found.add_column(name)
    found.add_row(visible(reference), *_times(rows[0]["teacher"]))
    for one in rows:
        name = SAME if one["file"] == reference else visible(one["file"])
        found.add_row(
            name, *_times(one["student"]), gain(one), f"{one['verdict']}, {one['status']}"
        )
    return found


def notes(document: Document) -> tuple[str, ...]:
    """Reasons for doubt, what was skipped, which files changed since earlier results, and how many
    settings were looked at."""
    rows, skipped = document["rows"], document["skipped"]
    lines = _merged((reason, _place(one)) for one in rows for reason in one["reasons"])
    lines += _merged(
        (
            f"differences under {one['noise_floor']:.1%} mean nothing on this machine just now",
            _place(one),
        )
        for one in rows
        if one["noise_floor"] is not None and one["verdict"] == "no measurable difference"
    )
    lines += _merged((f"skipped, {one['reason']}", runtime(one)) for one in skipped)
    changed = document.get("changed") or ()
    if changed:
        lines.append(f"{', '.join(changed)}: other content than when the earlier results were made")
    if len(rows) > 1:
        lines.append(f"{len(rows)} comparisons were made and all are shown")
    return tuple(lines)


def setting(one: Mapping[str, Any]) -> str:
    """ "ONNX Runtime, batch 1, 2 threads"."""
    words = [runtime(one), f"batch {one['batch']}"]
    words.append(f"{one['threads']} thread{'s' if one['threads'] != 1 else ''}")
    if one["precision"] != "float32":
        words.append(one["precision"])
    return ", ".join(words)


def gain(one: Mapping[str, Any]) -> str:
    """The speed-up with its interval, and what it was before where that is known."""
    text = f"{significant(one['speedup'])}{TIMES} ({interval(one['interval'])})"
    before = one.get("before")
    if before:
        text += f"; was {significant(before['speedup'])}{TIMES} ({interval(before['interval'])})"
    return text


def _place(one: Mapping[str, Any]) -> str:
    return f"{setting(one)}, {one['file']}"


def _merged(said: Iterable[tuple[str, str]]) -> list[str]:
    """One line for a text, with all places that it is said of."""
    places: dict[str, list[str]] = {}
    for text, place in said:
        held = places.setdefault(text, [])
        if place not in held:
            held.append(place)
    return [f"{'; '.join(held)}: {text}" for text, held in places.items()]


def _times(latency: Mapping[str, Any]) -> tuple[str, str, str]:
    median, p90, p99 = (milliseconds(latency[name]) for name in ("median_ms", "p90_ms", "p99_ms"))
    return median, p90, p99
