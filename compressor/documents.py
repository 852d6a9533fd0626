"""JSON that people may have edited, read strictly.

Comes in: a file's bytes.  Goes out: plain values, or a ValueError whose text is the reason.  What
readers of JSON let pass and nobody means is refused: a key twice in one table, NaN and infinite
numbers, a byte order mark, half a character, a nesting that no document of ours has.  Knows nothing
of what the documents say.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

Kind = TypeVar("Kind")

_LONGEST_NUMBER = 20  # characters of the largest that 64 bits hold, with its sign
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(content: bytes) -> Any:
    """The values in ``content``.  Raises ValueError with the reason where it is not strict JSON."""
    if not content:
        raise ValueError("the file is empty")
    if content.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it begins with a byte order mark")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    try:
        found = json.loads(
            text,
            object_pairs_hook=_table,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_no_number,
        )
        if _SURROGATE.search(text) is not None:
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} in line {error.lineno}") from error
    return found


def read(path: Path) -> Any:
    """The values in the file at ``path``.  Raises OSError, and ValueError as ``parse`` does."""
    return parse(path.read_bytes())


def read_as(path: Path, kind: type[Kind]) -> Kind:
    """The file's values as a dataclass or another type, which no number or text is turned into.

    Raises OSError, and ValueError where the file is not strict JSON or not of that type.
    """
    return parse_as(path.read_bytes(), kind)


def parse_as(content: bytes, kind: type[Kind]) -> Kind:
    """``content`` as a dataclass or another type.  Raises ValueError as ``read_as`` does."""
    return msgspec.convert(parse(content), kind)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _whole_number(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"{text[:20]}... is too large a number")
    return int(text)


def _number(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(f"{text[:20]} is too large a number")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
