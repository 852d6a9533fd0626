"""From the origin that stands beside a number of a page to the value it must have.

Written apart from ``benchmarks.figures``, so that a page and its test do not share a mistake.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from benchmarks import formatting


def look_up(reference: str, files: Mapping[str, Any]) -> Any:
    """``report.json#/benchmarks/0/speedup`` in the files of a run."""
    file, _, pointer = reference.partition("#")
    value = files[file]
    for part in pointer.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def spans(found: list[list[int]]) -> int:
    return len([unit for start, stop in found for unit in range(start, stop)])


def compute(by: str, values: list[Any]) -> float:
    """What ``data-by`` stands for."""
    first, second = (*values, None, None)[:2]
    found: dict[str, Any] = {
        "value": lambda: first,
        "inverse": lambda: 1.0 / first,
        "quotient": lambda: first / second,
        "difference": lambda: first - second,
        "fewer": lambda: (second - first) / second,
        "more": lambda: (first - second) / second,
        "sum": lambda: sum(values),
        "mean": lambda: sum(values) / len(values),
        "length": lambda: len(first),
        "width": lambda: spans(first),
        "widths": lambda: sum(spans(one) for one in values),
        "gone": lambda: first - spans(second),
    }
    return float(found[by]())


def write(form: str, value: float) -> str:
    """What ``data-form`` stands for."""
    return str(getattr(formatting, form)(value))


def quote(by: str, value: Any) -> str:
    """What ``data-by`` stands for beside a text: the words of a command, as a shell reads them."""
    wanted = {"words": str, "shell": lambda words: shlex.join(words)}
    return wanted[by](value)
