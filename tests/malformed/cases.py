"""What a malformed input is here: files, a command that reads them, and what must be said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Write = Callable[[Path], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One input and its end.

    ``write`` puts the files into the working folder, where ``material.place`` has been.  Status 2:
    refused, in one line that holds ``names`` (the file or the option) and ``says`` (what to do, or
    enough to know it), and the folder stays as it was.  Status 0: usable, and standard output says
    so with both.  Status 1: ``verify`` finds a difference and says which on standard output.
    ``alone``: in a fresh process with little memory, as it would fill that of the tests.
    """

    name: str
    command: tuple[str, ...]
    names: str
    says: str
    write: Write = lambda folder: None
    status: int = 2
    alone: bool = False


def nothing(folder: Path) -> None:
    """A case of options alone."""


def put(name: str, content: bytes) -> Write:
    """Writes one file."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return write


def later(name: str, make: Callable[[], bytes]) -> Write:
    """Writes one file whose content is made when it is wanted: collecting the tests stays quick."""
    return lambda folder: put(name, make())(folder)


# -- JSON by hand ----------------------------------------------------------------------------------

DEEP = b"[" * 200_000 + b"]" * 200_000


def spelled(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def spoiled(good: bytes) -> Iterator[tuple[str, bytes]]:
    """What hands, editors and disks do to a JSON file, whatever is in it; ``good`` is an object."""
    held = json.loads(good)
    first = next(iter(held))
    twice = good.replace(b"{", b"{" + json.dumps(first).encode() + b": 0, ", 1)
    yield "empty", b""
    yield "truncated", good[: len(good) // 2]
    yield "no JSON", b"format: 1\n"
    yield "UTF-16", good.decode().encode("utf-16")
    yield "byte order mark", b"\xef\xbb\xbf" + good
    yield "Latin-1", good.replace(b"{", b'{"remark": "caf\xe9", ', 1)
    yield "lone surrogate", good.replace(b"{", b'{"\\ud800": 1, ', 1)
    yield "nested deeply", b'{"remark": ' + DEEP + b"}"
    yield "a key twice", twice
    yield "NaN", good.replace(b"{", b'{"remark": NaN, ', 1)
    yield "infinite", good.replace(b"{", b'{"remark": 1e999, ', 1)
    yield "endless digits", good.replace(b"{", b'{"remark": ' + b"9" * 100_000 + b", ", 1)
    yield "a list", b"[]"
    yield "a number", b"7"
    yield "null", b"null"


def changed(document: Mapping[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at ``path``; ``GONE`` takes the key away."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    place: Any = copy
    for part in path[:-1]:
        place = place[part]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


GONE = object()

SPOILS = tuple(name for name, _ in spoiled(b'{"a": 1}'))


def spoil(name: str, good: bytes) -> bytes:
    """One of ``spoiled``, for what is made late."""
    return dict(spoiled(good))[name]
