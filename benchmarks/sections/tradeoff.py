"""Accuracy against latency over runtimes and precisions, the teacher marked.

Latency is a benchmark's median.  Accuracy is that of the file of the same precision, measured in
ONNX Runtime; of torch, that of the networks themselves.  A setting whose accuracy nobody measured
has no place in the picture, and that is said.
"""

from __future__ import annotations

from itertools import count
from string import ascii_uppercase

from benchmarks.blocks import Picture, Section, Stack, Table, Text, subject_keys
from benchmarks.entries import Entry
from benchmarks.figures import Figure, Phrase, phrase, show
from benchmarks.formatting import metric_name, milliseconds, share, whole
from benchmarks.plots.fronts import Spot, accuracy_against_latency
from benchmarks.verdict import status_of
from benchmarks.wording import headline_metric, setting, short_workload

SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
SUBJECTS = (("t", "teacher"), ("s", "student"))


def tradeoff(report: Entry) -> Section | None:
    """None where accuracy or speed is unknown."""
    name = headline_metric(report.get("student", "metrics"))
    rows = [row for row in report.get("benchmarks").each() if status_of(row) != "INVALID"]
    if name is None or not rows:
        return None
    batch = min(row.value["batch"] for row in rows)
    told, spots, left_out = [], [], 0
    marks = (letters(number) for number in count())
    for row in rows:
        if row.value["batch"] != batch:
            continue
        for subject, word in SUBJECTS:
            latency = show(row.get(word, "median_ms"), milliseconds)
            accuracy = show(accuracy_of(report, row, word, name), share)
            if not isinstance(latency, Figure) or not isinstance(accuracy, Figure):
                left_out += word == "student"
                continue
            mark = next(marks)
            spots.append(Spot(mark=mark, subject=subject, latency=latency, accuracy=accuracy))
            place = Stack(lines=(short_workload(row), setting(row)), tone="small")
            told.append((mark, word, place, phrase(latency, " ms"), accuracy))
    if not spots:
        return None
    return Section(
        title="Accuracy against latency",
        blocks=(
            Text(
                said=phrase(
                    "Left is faster, up is better; the line joins what nothing else beats in "
                    "both. ",
                    subject_keys("dot"),
                )
            ),
            Picture(drawing=accuracy_against_latency(spots, metric_name(name))),
            Table(
                columns=("", "model", "setting", "median", metric_name(name)),
                rows=tuple(told),
                words=(1, 2),
            ),
            Text(said=remark(rows, batch, left_out), tone="small"),
        ),
    )


def remark(rows: list[Entry], batch: int, left_out: int) -> Phrase:
    first = next(row for row in rows if row.value["batch"] == batch)
    said = phrase(
        "At batch ",
        show(first.get("batch"), whole),
        ". Accuracy is that of the file of this precision in ONNX Runtime; for torch, that of the "
        "networks.",
    )
    if left_out:
        said = phrase(said, " Settings whose accuracy was not measured are not shown.")
    return said


def accuracy_of(report: Entry, row: Entry, subject: str, name: str) -> Entry:
    """The accuracy that belongs to one subject of a benchmark; None where nobody measured it."""
    precision = SHORT.get(row.value["precision"], row.value["precision"])
    if row.value["runtime"].startswith("torch"):
        usual = report.get(subject, "metrics", name)
        return usual if precision == "fp32" else Entry(None)
    for one in report.get("deployables").each():
        file = one.value["file"].rsplit("/", 1)[-1]
        written = SHORT.get(one.value["precision"], one.value["precision"])
        if file.startswith(subject) and written == precision:
            return one.get("metrics", name)
    return Entry(None)


def letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    first, last = divmod(number, len(ascii_uppercase))
    return (letters(first - 1) if first else "") + ascii_uppercase[last]
