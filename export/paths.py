"""Absolute paths, reduced to what may be published, or found where none may be.

Comes in: text.  Goes out: text without the places of this machine.  Knows nothing of files.
"""

from __future__ import annotations

import re

# A slash that follows neither a word, a dot, a colon nor a slash ("and/or", "../x", "https://x").
_ABSOLUTE = re.compile(
    r"(?<![\w.:/~-])(?:/|(?<!\w)[A-Za-z]:[\\/]+)(?:[\w.+@~-][\w.+@~ -]*[\\/]+)+[\w.+@~-]*"
)
_HOME = re.compile(r"^(?:/(?:home|Users)/[^/]+|/root|[A-Za-z]:[\\/]+Users[\\/]+[^\\/]+)[\\/]+")
_SEPARATOR = re.compile(r"[\\/]+")


def find_absolute_paths(text: str) -> tuple[str, ...]:
    """Every absolute path of at least two parts in ``text``, in order."""
    return tuple(match.group() for match in _ABSOLUTE.finditer(text))


def reduce_paths(text: str) -> str:
    """``text`` with every absolute path cut to its last two parts."""
    while True:  # what is left of a drive in a drive is a path again
        reduced = _ABSOLUTE.sub(lambda match: _last_parts(match.group()), text)
        if reduced == text:
            return text
        text = reduced


def reduce_argument(argument: str) -> str:
    """A command-line argument with an absolute path cut to its last two parts.

    ``--out=/data/runs/x`` becomes ``--out=runs/x``; what is relative stays as it was given.
    """
    option, equals, value = argument.partition("=")
    if not equals or not option.startswith("-"):
        option, equals, value = "", "", argument
    if re.match(r"/|[A-Za-z]:[\\/]", value):
        value = _last_parts(value)
    return option + equals + value


def _last_parts(path: str) -> str:
    # The name of a home folder is a person's; it never counts as one of the two parts.
    parts = [part for part in _SEPARATOR.split(_HOME.sub("", path)) if part]
    return "/".join(parts[-2:])
