"""Notes, the command to repeat, the environment and the time it took."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from benchmarks.blocks import Block, Code, Items, Section, Settings, Text
from benchmarks.entries import Entry
from benchmarks.figures import Phrase, cite, joined, phrase, show
from benchmarks.formatting import seconds, size, whole


def notes(report: Entry) -> Section | None:
    """Warnings and notes; None without any."""
    found = (*report.get("warnings").each(), *report.get("notes").each())
    if not found:
        return None
    return Section(title="Notes", blocks=(Items(items=tuple(map(cite, found))),))


def repeating(report: Entry) -> Section:
    blocks: list[Block] = []
    told = command(report)
    if told:
        blocks.append(Code(said=told))
    sha = report.get("teacher", "sha256")
    if sha.known:
        blocks.append(Text(said=phrase("teacher sha256 ", cite(sha)), tone="sha code"))
    if report.get("seed").known:
        said = phrase("Seed ", show(report.get("seed"), whole), ".")
        blocks.append(Text(said=said, tone="small"))
    settings = environment(report.get("environment"))
    if settings:
        blocks.append(Settings(pairs=settings))
    spent = [
        phrase(f"{name} ", show(one, seconds))
        for name, one in report.get("seconds").items()
        if isinstance(one.value, int | float)
    ]
    if spent:
        blocks.append(Text(said=phrase("Time: ", joined(spent), "."), tone="small"))
    return Section(title="To repeat this", blocks=tuple(blocks))


def command(report: Entry) -> Phrase:
    """The command to repeat, as one line that a shell takes apart in the same way."""
    found = report.get("command")
    if isinstance(found.value, str):
        return phrase(cite(found))
    return joined([argument(one) for one in found.each()], " ")


def argument(one: Entry) -> Phrase:
    """In quotes where a shell would see more in it than a text."""
    value = str(one.value)
    quoted = shlex.quote(value)
    if quoted == f"'{value}'":
        return phrase("'", cite(one), "'")
    return phrase(cite(one) if quoted == value else quoted)


def environment(found: Entry) -> tuple[tuple[str, Phrase], ...]:
    """Names and values; what is empty is left out."""
    told = ((name, value(name, one)) for name, one in found.items())
    return tuple((name.replace("_", " "), one) for name, one in told if one)


def value(name: str, one: Entry) -> Phrase:
    if one.value in ("", None):
        return phrase()
    if isinstance(one.value, bool):
        return phrase("yes" if one.value else "no")
    if isinstance(one.value, Mapping):
        return joined([phrase(f"{key} ", cite(inner)) for key, inner in one.items()])
    if isinstance(one.value, list | tuple):
        return joined([cite(inner) for inner in one.each()])
    if name.endswith("_bytes"):
        return phrase(show(one, size))
    return phrase(cite(one))
