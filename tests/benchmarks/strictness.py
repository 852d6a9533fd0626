"""The published schema, closed: in tests a key that it does not describe is a mistake.

The schema itself admits unknown keys, so that files of later versions stay readable.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from benchmarks.schema import report_schema


def closed(schema: Any) -> Any:
    """The same with no other keys wherever keys are listed."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(one) for key, one in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        found.setdefault("additionalProperties", False)
    return found


def mistakes(report: Any) -> list[str]:
    """What is wrong with a report, one line each; unknown keys among it."""
    validator = Draft202012Validator(closed(report_schema()))
    return [f"{one.json_path}: {one.message}" for one in validator.iter_errors(report)]
