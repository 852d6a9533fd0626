"""The README's code, as it stands there but for the files that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


def run_block(number: int, names: Mapping[str, str]) -> dict[str, Any]:
    """Run a Python block with each of ``names`` for what stands there; returns what it defined."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    code: str = blocks[number]
    for told, real in names.items():
        assert told in code, told
        code = code.replace(told, real)
    found: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), found)
    return found
