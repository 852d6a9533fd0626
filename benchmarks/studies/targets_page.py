"""The page of the study: a table per network, and sentences that say who is faster.

Comes in: what a study folder holds.  Goes out: Markdown between two marks of a page that other
studies share.  Who is faster is worked out here, from the figures, whoever it is.  Knows nothing of
networks, torch or clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.formatting import interval, share, significant
from benchmarks.studies.parts import number, put_part, table
from benchmarks.studies.peers_records import Latency
from benchmarks.studies.targets_records import (
    DENSE,
    WAYS,
    Network,
    Settings,
    Student,
    Timing,
    WayName,
)
from compressor.expectations import MOST_LOST

PART = "targets"
RIVALS: tuple[WayName, ...] = ("multiples", "torch-pruning")
EQUAL = 0.005  # of the MACs: "at equal MACs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that a study folder holds of one study."""

    networks: tuple[Network, ...]
    targets: tuple[str, ...]
    settings: Settings
    students: tuple[Student, ...]
    timings: tuple[Timing, ...]

    def student(self, network: str, target: str, way: str) -> Student | None:
        wanted = (network, target, way)
        return next(
            (s for s in self.students if (s.network, s.target, s.way) == wanted and not s.failed),
            None,
        )

    def latency(self, network: str, target: str, first: str, second: str) -> Latency | None:
        wanted = (network, target, first, second)
        return next(
            (t.latency for t in self.timings if (t.network, t.target, t.first, t.second) == wanted),
            None,
        )


def write_page(results: Results, page: Path, command: str, facts: dict[str, Any]) -> None:
    """Put the study's part into ``page``, which may hold others."""
    put_part(page, PART, render(results, command, facts))


def render(results: Results, command: str, facts: dict[str, Any]) -> str:
    """The study's part of the page.  ``facts`` are those of ``benchmarks.environment``."""
    lines = ["## Widths that the runtime likes", "", *_setting(results, command, facts)]
    lines += [*who_is_faster(results), ""]
    for network in results.networks:
        rows = list(_rows(results, network))
        if rows:
            head = ("target", *WAYS.values(), "over multiples of 8", "over torch-pruning")
            lines += [f"### {network.title}", "", *table(head, rows)]
    failed = [
        *(
            f"- {one.network}, {one.target}, {WAYS[one.way]}: {one.failed}"
            for one in results.students
            if one.failed
        ),
        *(
            f"- {one.network}, {one.target}, {one.first} beside {one.second}: {one.failed}"
            for one in results.timings
            if one.failed
        ),
    ]
    lines += ["### Not measured", "", *failed, ""] if failed else []
    return "\n".join(lines).rstrip()


def who_is_faster(results: Results) -> Iterator[str]:
    """For each rival, how often the planned student is faster, slower, or neither can be said."""
    for way in RIVALS:
        counts: Counter[str] = Counter()
        for network in results.networks:
            for target in results.targets:
                found = results.latency(network.name, target, "target", way)
                if found is not None:
                    counts[found.verdict] += 1
        if not counts:
            yield f"- Beside {WAYS[way]} nothing has been measured yet."
            continue
        slower = f"slower in {counts['slower']}"
        others = counts.total() - counts["faster"] - counts["slower"]
        yield (
            f"- Beside {WAYS[way]}, the student planned for its target is faster in "
            f"{counts['faster']} of {counts.total()} cases, "
            f"{f'**{slower}**' if counts['slower'] else slower}"
            f"{f'; in {others} no difference could be measured' if others else ''}."
        )


def _rows(results: Results, network: Network) -> Iterator[tuple[str, ...]]:
    for target in results.targets:
        cells = [_way(results, network.name, target, way) for way in WAYS]
        direct = [_told(results.latency(network.name, target, "target", way)) for way in RIVALS]
        if any((*cells, *direct)):
            yield (target, *cells, *direct)


def _way(results: Results, network: str, target: str, way: str) -> str:
    """ "1.49 (1.47 to 1.51), by its widths 1.50; 50.2 % gone"."""
    student = results.student(network, target, way)
    latency = results.latency(network, target, way, DENSE)
    if student is None or latency is None:
        return ""
    expected = f", by its widths {significant(student.expected)}" if student.expected else ""
    gone = f"{share(student.gone)} gone"
    unequal = abs(student.gone - results.settings.sparsity) > EQUAL
    return f"{_told(latency)}{expected}; {f'**{gone}**' if unequal else gone}"


def _told(latency: Latency | None) -> str:
    if latency is None:
        return ""
    doubt = "" if latency.status == "VALID" else f", {latency.status}"
    return f"{significant(latency.speedup)} ({interval(latency.interval)}{doubt})"


def _setting(results: Results, command: str, facts: dict[str, Any]) -> list[str]:
    settings, packages = results.settings, facts["packages"]
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    padded = [network.title for network in results.networks if network.ignored]
    paragraphs = [
        f"Written by `{command}`.",
        f"Every student has {share(1 - settings.sparsity, 0)} of the network's MACs, as near as "
        "its widths allow (a share in bold is more than half a point off). Weights are random and "
        "were not trained, and groups are cut by the same share, by magnitude, as far as nothing "
        "else is said: speed hangs on widths alone, and nothing here says what a student answers. "
        "Planned for the target means `--target`: staircases of the network's layers are measured "
        f"first, {settings.probe_minutes:g} minutes for each network and target, and of many ways "
        "to meet the budget the one is taken that is worth most, some groups left whole and others "
        f"cut by more (it may lose {MOST_LOST:g} times as much as the even way by the keys, if the "
        "time pays for it). torch-pruning cuts with "
        "`global_pruning=False` and `round_to=8`, by the share whose MACs are nearest.",
        "Figures are how many times faster than the dense network, with the interval of 95 % over "
        f"fresh processes, batch 1, {number(settings.threads, 'thread', 'threads')}; 'by its "
        "widths' is what the staircases alone let expect. The last two columns time the planned "
        "student and its rival in turn. int8 files are calibrated on random inputs.",
        *(
            [
                f"Shortcuts of {' and '.join(padded)} are padded with zeros; torch-pruning is kept "
                "to the widths inside blocks, as it cuts the others into a network whose forward "
                "fails."
            ]
            if padded
            else []
        ),
        f"{facts['cpu']} ({' '.join(facts['flags'])}); Python {facts['python']}, {versions}.",
    ]
    return [line for paragraph in paragraphs for line in (paragraph, "")]
