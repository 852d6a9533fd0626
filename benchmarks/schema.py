"""The JSON Schema of ``report.json``, as it is published with the package, and what breaks it.

``benchmarks/schemas/report-1.json`` describes every key in words.  It admits keys that it does not
know: keys are added freely within a format.  Checked are the words of JSON Schema that it uses, and
``tests/benchmarks/test_schema.py`` compares with the library that knows them all.  Knows nothing of
how a report is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

FORMAT = 1
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
Rule = Mapping[str, Any]


@cache
def report_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    file = resources.files("benchmarks") / "schemas" / f"report-{FORMAT}.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def mistakes(value: Any) -> Iterator[str]:
    """What the schema does not admit, as ``student/macs: 0.5 is no integer``, one by one."""
    yield from _mistakes(value, report_schema(), "")


def _mistakes(value: Any, rule: Rule, at: str) -> Iterator[str]:
    if "$ref" in rule:
        rule = report_schema()["$defs"][rule["$ref"].rpartition("/")[2]]
    place = at.lstrip("/") or "the whole"
    choices = rule.get("anyOf")
    if choices and all(any(True for _ in _mistakes(value, one, at)) for one in choices):
        yield f"{place}: {_shown(value)} is none of what it may be"
    kinds = rule.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{place}: {_shown(value)} is no {' or '.join(kinds)}"
        return
    if "const" in rule and not _same(value, rule["const"]):
        yield f"{place}: {_shown(value)} is not {rule['const']}"
    if "enum" in rule and not any(_same(value, one) for one in rule["enum"]):
        yield f"{place}: {_shown(value)} is none of {', '.join(map(str, rule['enum']))}"
    if isinstance(value, dict):
        yield from _in_table(value, rule, at)
    elif isinstance(value, list):
        yield from _in_list(value, rule, at)
    elif _is(value, "number"):
        yield from _of_number(value, rule, place)


def _in_table(table: Mapping[str, Any], rule: Rule, at: str) -> Iterator[str]:
    known = rule.get("properties", {})
    for name in rule.get("required", ()):
        if name not in table:
            yield f"{at.lstrip('/') or 'the whole'}: no {name}"
    for name, value in table.items():
        if name in known:
            yield from _mistakes(value, known[name], f"{at}/{name}")
        elif isinstance(rule.get("additionalProperties"), dict):
            yield from _mistakes(value, rule["additionalProperties"], f"{at}/{name[:40]}")


def _in_list(values: list[Any], rule: Rule, at: str) -> Iterator[str]:
    if not rule.get("minItems", 0) <= len(values) <= rule.get("maxItems", len(values)):
        yield f"{at.lstrip('/')}: {len(values)} entries are too few or too many"
    if "items" in rule:
        for place, value in enumerate(values):
            yield from _mistakes(value, rule["items"], f"{at}/{place}")


def _of_number(value: float, rule: Rule, place: str) -> Iterator[str]:
    low, high = rule.get("minimum"), rule.get("maximum")
    above = rule.get("exclusiveMinimum")
    if (low is not None and value < low) or (above is not None and value <= above):
        yield f"{place}: {_shown(value)} is too small"
    if high is not None and value > high:
        yield f"{place}: {_shown(value)} is too large"


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON is: true is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()  # 1.0 is one to JSON Schema
    return isinstance(value, _KINDS[kind])


def _shown(value: Any) -> str:
    return repr(value)[:40] if not isinstance(value, dict | list) else f"a {type(value).__name__}"
