"""The JSON Schema of ``report.json``, as it is published with the package.

``benchmarks/schemas/report-1.json`` describes every key in words.  It admits keys that it does not
know: keys are added freely within a format.  Knows nothing of how a report is made.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

FORMAT = 1


@cache
def report_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    file = resources.files("benchmarks") / "schemas" / f"report-{FORMAT}.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))
