"""Small phrases that several parts of a report use: a workload, an interval, metrics.

In come Entries, out come Phrases.  Knows nothing of where they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import formatting
from benchmarks.entries import Entry
from benchmarks.figures import NOTHING, Format, Phrase, cite, derive, joined, phrase, show
from benchmarks.formatting import whole

COUNTED = {
    "params": "the parameters",
    "macs": "the MACs",
    "channels": "the removable units",
    "weights": "the weights of convolutions and linear layers",
}


def workload(row: Entry) -> Phrase:
    """ "ONNX Runtime, batch 1"; with the precision where it is not the usual one."""
    precision = row.value.get("precision", "float32")
    return phrase(short_workload(row), "" if precision == "float32" else f", {precision}")


def short_workload(row: Entry) -> Phrase:
    return phrase(formatting.runtime(row.value), ", batch ", show(row.get("batch"), whole))


def setting(row: Entry) -> Phrase:
    """ "int8, 2 threads": what a workload's short name leaves out."""
    threads = row.get("threads")
    word = "thread" if threads.value == 1 else "threads"
    return phrase(str(row.get("precision").value), ", ", show(threads, whole), f" {word}")


def full_workload(row: Entry) -> Phrase:
    """ "ONNX Runtime, batch 1, float32, 2 threads"."""
    return phrase(short_workload(row), ", ", setting(row))


def is_by_processor_time(row: Entry) -> bool:
    """Whether a benchmark's ratio, interval and verdict are not those of the clock."""
    return bool(row.value.get("decided_by") == "cpu")


def judged(row: Entry) -> str:
    """ "faster, by processor time"."""
    by = ", by processor time" if is_by_processor_time(row) else ""
    return f"{row.value['verdict']}{by}"


def interval(ends: Entry, form: Format = formatting.significant, word: str = "to") -> Phrase:
    """ "2.30 to 2.50"; a dash where there is none."""
    if not ends.known:
        return phrase(formatting.UNKNOWN)
    return phrase(show(ends.get(0), form), f" {word} ", show(ends.get(1), form))


def inverse_interval(ends: Entry) -> Phrase:
    """That of how many times slower."""
    form = formatting.significant
    low, high = (derive("inverse", ends.get(place), form=form) for place in (1, 0))
    return phrase(low, " to ", high)


def metrics(values: Entry) -> Phrase:
    """ "top-1 93.0 %"; a dash where there are none."""
    told = [
        phrase(formatting.metric_name(name), " ", show(one, formatting.share))
        for name, one in values.items()
    ]
    return joined(told) if told else phrase(formatting.UNKNOWN)


def headline_metric(values: Entry) -> str | None:
    """Top-1 where it is known, else the first."""
    names = list(values.value or ())
    return "top1" if "top1" in names else next(iter(names), None)


def cited(texts: Sequence[Entry], between: str = "; ") -> Phrase:
    return joined([cite(one) for one in texts], between) if texts else NOTHING


def counted(of: str) -> str:
    """What a budget is of, in words."""
    return COUNTED.get(of, of)
