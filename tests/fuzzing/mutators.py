"""Changes to bytes that keep most of their form: text, JSON, zip archives, safetensors files.

Comes in: bytes and a seeded generator.  Goes out: other bytes.  Random bytes end at a parser's
first line; a JSON file with one odd value in it comes as far as the code that uses the value.
"""

from __future__ import annotations

import copy
import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

Mutate = Callable[[bytes, random.Random], bytes]

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 7, 2**31, 2**63, 2**70, -0.0, 0.5, 1e-320, 1e308, float("nan"),
    float("inf"), "", "x", "0", "../x", "/etc/passwd", "\x00", "\ud800", "\u202e", "²", "x" * 400,
    [], [[]], {}, {"": None}, [0], [1, 2], [None], [-3, 5], ["x"], [[0, 10**9]],
)  # fmt: skip
DEPTHS = (3, 300, 800, 100_000)
ODD_PIECES = (
    b"", b"\x00", b"\xff", b"\n", b" ", b",", b":", b"=", b"-", b".", b"..", b"/", b"\\", b"@",
    b"*", b"9" * 40, b"9" * 5000, b"1e999", b"nan", b"inf", b"-1", b"0", b"\xc2\xb2",
    b"\xef\xbc\x91", b"\xe2\x80\xae", b"{", b"[", b"[" * 3000, b'"', b"()", b"**",
)  # fmt: skip


def change_text(data: bytes, generator: random.Random) -> bytes:
    """Cut, doubled, flipped, or with a piece put in, at one to four places."""
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        here = generator.randint(0, len(changed))
        there = min(len(changed), here + generator.choice((1, 1, 2, 5, 40)))
        match generator.randrange(5):
            case 0:
                del changed[here:there]
            case 1:
                changed[here:here] = changed[here:there]
            case 2 if here < len(changed):
                changed[here] ^= 1 << generator.randrange(8)
            case 3:
                changed[here:there] = generator.choice(ODD_PIECES)
            case _:
                changed[here:here] = generator.choice(ODD_PIECES)
    return bytes(changed)


def change_json(data: bytes, generator: random.Random) -> bytes:
    """One to three values replaced, dropped, doubled or swapped; what is no JSON, as text."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return change_text(data, generator)
    if generator.random() < 0.1:
        return change_text(data, generator)
    try:
        for _ in range(generator.choice((1, 1, 2, 3))):
            value = _change_value(value, generator)
        text = json.dumps(value)
    except RecursionError:  # deeper than the interpreter, by now
        return change_text(data, generator)
    for depth in DEPTHS:
        text = text.replace(f'"nested {depth}"', "[" * depth + "]" * depth)
    return text.encode("utf-8", "surrogatepass")


def _change_value(value: Any, generator: random.Random) -> Any:
    places = _places(value)
    odd = copy.deepcopy(generator.choice(ODD_VALUES))
    if not places:
        return odd
    holder, key = generator.choice(places)
    match generator.randrange(7):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 1:
            holder[str(generator.choice(ODD_VALUES))] = holder.pop(key)
        case 2:
            other, name = generator.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
        case 3 if isinstance(holder[key], int | float):
            holder[key] = holder[key] * generator.choice((-1, 2, 0.5, 1000))
        case 4 if isinstance(holder[key], str):
            text = holder[key].encode("utf-8", "surrogatepass")
            holder[key] = change_text(text, generator).decode("utf-8", "replace")
        case 5:
            holder[key] = f"nested {generator.choice(DEPTHS)}"
        case _:
            holder[key] = odd
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key below ``value``; of a long list some."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < 5000:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item) if _is_list(item) else 0)
        for key in keys:
            found.append((item, key))
            if isinstance(item[key], dict | list):
                waiting.append(item[key])
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def change_zip(data: bytes, generator: random.Random) -> bytes:
    """An entry changed, renamed, dropped or doubled; one time in three, the raw bytes."""
    if generator.random() < 1 / 3:
        return change_text(data, generator)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(info, archive.read(info)) for info in archive.infolist()]
    except Exception:  # damaged already: zipfile raises a dozen kinds
        return change_text(data, generator)
    if not entries:
        return change_text(data, generator)
    place = generator.randrange(len(entries))
    info, content = entries[place]
    match generator.randrange(6):
        case 0:
            del entries[place]
        case 1:
            entries.append(entries[place])
        case 2:
            other = zipfile.ZipInfo(
                change_text(info.filename.encode(), generator).decode("utf-8", "replace")
            )
            other.compress_type = info.compress_type
            entries[place] = (other, content)
        case _:
            change = change_json if content[:1] in b"{[" else change_text
            entries[place] = (info, change(content, generator))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # doubled names
        with zipfile.ZipFile(stream, "w") as archive:
            for info, content in entries:
                try:
                    archive.writestr(info, content)
                except (ValueError, OverflowError):
                    continue
    return stream.getvalue()


def change_safetensors(data: bytes, generator: random.Random) -> bytes:
    """The JSON header changed, with a length that fits; one time in three, the raw bytes."""
    if generator.random() < 1 / 3:
        return change_text(data, generator)
    length = int.from_bytes(data[:8], "little")
    header = change_json(data[8 : 8 + length], generator)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def series(seeds: Sequence[bytes], change: Mutate, count: int, seed: int) -> list[bytes]:
    """The seeds, then ``count`` changed ones; equal arguments, equal bytes."""
    generator = random.Random(seed)
    found = list(seeds)
    for _ in range(count):
        data = change(generator.choice(seeds), generator)
        while generator.random() < 0.3:
            data = change(data, generator)
        found.append(data)
    return found
