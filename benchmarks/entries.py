"""A run's files as values that know where they stand.

In comes what a JSON file holds; out come Entries: a value with its file and its JSON pointer, so
that whoever shows a number can say which one it is.  Knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """``value`` is None where the file has no such key."""

    value: Any
    file: str = REPORT
    path: tuple[str | int, ...] = ()

    @property
    def known(self) -> bool:
        return self.value is not None

    @property
    def reference(self) -> str:
        """``report.json#/benchmarks/0/speedup``: a JSON pointer (RFC 6901) as a URI fragment."""
        parts = (str(part).replace("~", "~0").replace("/", "~1") for part in self.path)
        return f"{self.file}#" + "".join(f"/{quote(part, safe='~')}" for part in parts)

    def get(self, *keys: str | int) -> Entry:
        """The entry below; its value is None where there is none."""
        value = self.value
        for key in keys:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list | tuple) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                value = None
        return Entry(value, self.file, (*self.path, *keys))

    def each(self) -> tuple[Entry, ...]:
        """The entries of a list; none where it is absent."""
        return tuple(self.get(number) for number in range(len(self.value or ())))

    def items(self) -> Iterator[tuple[str, Entry]]:
        """The keys of an object with their entries; none where it is absent."""
        for key in self.value or ():
            yield key, self.get(key)


def entry(value: Any) -> Entry:
    """The root of a report; an Entry is given back as it is."""
    return value if isinstance(value, Entry) else Entry(value)
