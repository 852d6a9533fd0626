"""Several runs side by side: who is smaller, more accurate, faster, and by how much for certain.

In come the reports of finished runs; out comes one document of plain values.  Runs that were timed
in unlike environments, or tested on other images, are refused, and what differs is named.

What can be said of a difference between two students.  Runs keep shares, not the answer to each
image, so two accuracies are compared as if they came of separate images: Wilson's interval of each,
and their distances added as squares (Newcombe, Statistics in Medicine 17, 1998, method 10).  Where
both err on the same images, as students of one task do, that interval is too wide, never too
narrow.  Speed-ups against the same teacher were measured at different times, so they are separate:
the same addition, of logarithms (Zou & Donner, Statistics in Medicine 27, 2008).

Knows nothing of pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

from scipy import special

from benchmarks.entries import Entry
from benchmarks.likeness import differences
from benchmarks.sections.networks import float32_file
from benchmarks.verdict import status_of
from benchmarks.wording import headline_metric
from benchmarks.workloads import SETTING
from compressor.errors import OptionError

FORMAT = 1
FILE = "comparison.json"  # what figures of a comparison refer to
Interval = tuple[float, float]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A run and what it is called here."""

    name: str
    report: Mapping[str, Any]


def names_of(folders: Sequence[Path]) -> tuple[str, ...]:
    """What to call runs: their folders' own names, or the paths where those are not enough."""
    own = tuple(folder.resolve().name for folder in folders)
    return own if len(set(own)) == len(own) else tuple(map(str, folders))


def line_up(runs: Sequence[Contestant]) -> Document:
    """Compare with the first.  Raises OptionError where the runs do not compare."""
    require_same_images(runs)
    require_like_environments(runs)
    first = runs[0]
    return {
        "format": FORMAT,
        "runs": [facts(one, first) for one in runs],
        "speeds": list(speeds(runs)),
        "remarks": remarks(runs),
    }


def require_same_images(runs: Sequence[Contestant]) -> None:
    """Accuracy on other images does not compare.  Raises OptionError."""
    first = runs[0].report.get("data") or {}
    for one in runs[1:]:
        data = one.report.get("data") or {}
        told = [
            f"{key.replace('_', ' ')}: {first.get(key)} and {data.get(key)}"
            for key in ("name", "test", "evaluated", "evaluated_sha256")
            if first.get(key) != data.get(key) and (key in first) == (key in data)
        ]
        if told:
            raise OptionError(
                f"{runs[0].name} and {one.name} were measured on other images "
                f"({'; '.join(told)}): their accuracy does not compare; build them with the same "
                "--data and --test"
            )


def require_like_environments(runs: Sequence[Contestant]) -> None:
    """Times of another machine do not compare.  Raises OptionError."""
    timed = [one for one in runs if one.report.get("benchmarks")]
    for one in timed[1:]:
        found = differences(timed[0].report["environment"], one.report["environment"])
        if found:
            raise OptionError(
                f"{timed[0].name} and {one.name} were timed in unlike environments and do not "
                f"compare: {'; '.join(found)}"
            )


def facts(run: Contestant, first: Contestant) -> dict[str, Any]:
    """One run's sizes and accuracy, and how its accuracy differs from the first run's."""
    report = run.report
    teacher, student = report["teacher"], report["student"]
    file = float32_file(Entry(report), "student")
    return {
        "name": run.name,
        "teacher": {key: teacher.get(key) for key in ("name", "sha256", "parameters", "macs",
                                                      "metrics")},
        "recipe": report["recipe"]["name"],
        "form": report["recipe"].get("form"),
        "budget": report["budget"],
        "seed": report.get("seed"),
        "parameters": student["parameters"],
        "macs": student["macs"],
        "bytes": file.get("bytes").value,
        "metrics": student["metrics"],
        "agreement": student["agreement"],
        "images": (report.get("data") or {}).get("evaluated"),
        "proof": report["proof"] and report["proof"]["passed"],
        "difference": None if run is first else difference(run, first),
    }  # fmt: skip


def difference(run: Contestant, first: Contestant) -> dict[str, Any] | None:
    """Of the accuracies, with an interval where the number of images is known."""
    mine, other = (one.report["student"]["metrics"] for one in (run, first))
    name = headline_metric(Entry(mine))
    if not mine or not other or name is None or name not in other:
        return None
    images = (run.report.get("data") or {}).get("evaluated")
    ends = None
    if images:
        intervals = [wilson_interval(share[name], images) for share in (other, mine)]
        ends = add(-other[name], tuple(-end for end in reversed(intervals[0])), mine[name],
                   intervals[1])  # fmt: skip
    return {"metric": name, "value": mine[name] - other[name], "interval": ends and list(ends)}


def wilson_interval(share: float, count: int) -> Interval:
    """95 % interval of a share among ``count`` (Wilson, JASA 22, 1927)."""
    z = float(special.ndtri(0.975))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def add(
    one: float, one_ends: Sequence[float], other: float, other_ends: Sequence[float]
) -> Interval:
    """The interval of a sum of two that are known separately, each with its interval."""
    low = sqrt((one - one_ends[0]) ** 2 + (other - other_ends[0]) ** 2)
    high = sqrt((one_ends[1] - one) ** 2 + (other_ends[1] - other) ** 2)
    return one + other - low, one + other + high


def speeds(runs: Sequence[Contestant]) -> Iterator[dict[str, Any]]:
    """Every setting that at least one run measured, with an entry for each run."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any] | None]] = {}
    for number, run in enumerate(runs):
        for row in run.report.get("benchmarks") or ():
            key = tuple(row[name] for name in SETTING)
            found.setdefault(key, [None] * len(runs))[number] = row
    same = same_teacher(runs)
    for key, rows in found.items():
        yield {
            **dict(zip(SETTING, key, strict=True)),
            "runs": [
                row and speed(row, rows[0] if number and same else None)
                for number, row in enumerate(rows)
            ],
        }


def speed(row: Mapping[str, Any], first: Mapping[str, Any] | None) -> dict[str, Any]:
    """One run in one setting; ``first``: the row to compare with, None where there is none."""
    return {
        "teacher_ms": row["teacher"]["median_ms"],
        "student_ms": row["student"]["median_ms"],
        "speedup": row["speedup"],
        "interval": row["interval"],
        "verdict": row["verdict"],
        "status": status_of(Entry(row)),
        "against_first": against(row, first) if first is not None else None,
    }


def against(row: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any] | None:
    """How many times faster than the first run's student, by way of the same teacher."""
    if not row["interval"] or not first["interval"]:
        return None
    mine, other = log(row["speedup"]), log(first["speedup"])
    ends = add(mine, [log(end) for end in row["interval"]],
               -other, [-log(end) for end in reversed(first["interval"])])  # fmt: skip
    return {"value": exp(mine - other), "interval": [exp(end) for end in ends]}


def same_teacher(runs: Sequence[Contestant]) -> bool:
    """Whether all came of the same weights."""
    hashes = {run.report["teacher"]["sha256"] for run in runs}
    return len(hashes) == 1 and None not in hashes


def remarks(runs: Sequence[Contestant]) -> list[str]:
    """What a reader must know of the comparison."""
    found = []
    if not same_teacher(runs):
        found.append("the teachers differ: each speed-up is against the run's own teacher")
    if any(run.report["student"]["metrics"] for run in runs):
        if all((run.report.get("data") or {}).get("evaluated_sha256") for run in runs):
            found.append(
                "accuracies are of the same images; intervals of differences are as if they were "
                "of separate ones, and so rather too wide"
            )
        else:
            found.append("that the test images are the same is known by name and number alone")
    if len([run for run in runs if run.report.get("benchmarks")]) > 1:
        found.append("the runs were timed one after the other, not interleaved with each other")
    return found
