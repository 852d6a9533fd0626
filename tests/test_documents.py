"""JSON that people may have edited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.documents import parse, parse_as, read, read_as

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\N{GRINNING FACE}"), inner),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    first: int
    second: tuple[float, ...]


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_what_was_written_is_read(value: object, escaped: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=escaped).encode()) == value
    assert parse(msgspec.json.encode(value)) == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xe9"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": 1', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "too large"),
        (b"9" * 5000, "too large"),
        (b'["\\ud800"]', "half a character"),
        (b'{"\\udfff": 1}', "half a character"),
    ],
)
def test_what_nobody_means_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(content)


def test_two_halves_are_a_character() -> None:
    assert parse(b'["\\ud83d\\ude00", "\\\\ud800"]') == ["\N{GRINNING FACE}", "\\ud800"]


def test_values_are_of_the_type_that_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "pair.json"
    file.write_text('{"first": 1, "second": [2, 3.5], "third": null}')
    assert read_as(file, Pair) == Pair(first=1, second=(2.0, 3.5))
    assert read(file)["third"] is None
    for wrong in (b'{"first": "1", "second": []}', b'{"first": 1}', b"[]", b'{"first": true}'):
        with pytest.raises(ValueError, match=r"Expected|missing"):
            parse_as(wrong, Pair)
