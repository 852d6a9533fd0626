"""The JSON Schema of ``report.json``, as it is published with the package, and what breaks it.

``benchmarks/schemas/report-1.json`` describes every key in words.  It admits keys that it does not
know: keys are added freely within a format.  Knows nothing of how a report is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

FORMAT = 1
_MOST = 160  # characters of what is wrong


@cache
def report_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    file = resources.files("benchmarks") / "schemas" / f"report-{FORMAT}.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def mistakes(value: Any) -> Iterator[str]:
    """What the schema does not admit, as ``student/macs: 0.5 is not of type 'integer'``, one by
    one."""
    for error in Draft202012Validator(report_schema()).iter_errors(value):
        place = "/".join(str(part)[:40] for part in error.absolute_path) or "the whole"
        told = error.message.replace(repr(error.instance), _shown(error.instance), 1)
        yield f"{place}: {told[:_MOST]}"


def _shown(value: Any) -> str:
    return repr(value)[:40] if not isinstance(value, dict | list) else f"a {type(value).__name__}"
