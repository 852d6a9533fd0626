"""Teacher and student side by side, and how accuracy came back on the way."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.blocks import Section, Table, Text
from benchmarks.entries import Entry
from benchmarks.figures import Format, Phrase, cite, derive, joined, phrase, show
from benchmarks.formatting import (
    count,
    fine_share,
    grouped,
    metric_name,
    points,
    seconds,
    share,
    significant,
    size,
)
from benchmarks.plots.bars import part_bar
from benchmarks.wording import counted, metrics
from compressor.types import Plan

FP32 = ("fp32", "float32")
Row = tuple[object, ...]


def networks(report: Entry, plan: Plan | None) -> Section:
    rows = [*sizes(report), *accuracies(report)]
    nonzero = report.get("student", "nonzero_parameters")
    if nonzero.known:
        whole = report.get("teacher", "parameters")
        rows.append(difference("parameters that are not zero", whole, nonzero, grouped))
    agreement = report.get("student", "agreement")
    if agreement.known:
        rows.append(("agreement", "", show(agreement, share), "same class chosen"))
    return Section(
        title="Teacher and student",
        blocks=(
            Table(columns=("", "teacher", "student", ""), rows=tuple(rows)),
            Text(said=asked_for(report, plan), tone="small"),
        ),
    )


def sizes(report: Entry) -> Iterator[Row]:
    teacher, student = report.get("teacher"), report.get("student")
    yield difference("parameters", teacher.get("parameters"), student.get("parameters"), grouped)
    yield difference("MACs, one input", teacher.get("macs"), student.get("macs"), count)
    before, after = (float32_file(report, name).get("bytes") for name in ("teacher", "student"))
    if before.known or after.known:
        yield difference("ONNX file", before, after, size, less="smaller")


def accuracies(report: Entry) -> Iterator[Row]:
    before, after = (report.get(name, "metrics") for name in ("teacher", "student"))
    names = list(after.value or before.value or ())
    if not names:
        yield "accuracy", "unknown", "unknown", "no labelled images"
    for name in names:
        one, other = before.get(name), after.get(name)
        gain: object = ""
        if one.known and other.known:
            gain = phrase(derive("difference", other, one, form=points), " points")
        yield metric_name(name), show(one, share), show(other, share), gain


def difference(name: str, before: Entry, after: Entry, form: Format, *, less: str = "fewer") -> Row:
    """What it was, what it is, and by how much it fell."""
    gain: object = ""
    if before.value and after.known:
        if after.value <= before.value:
            gain = phrase(derive("fewer", after, before, form=share), f" {less}")
        else:
            gain = phrase(derive("more", after, before, form=share), " more")
    return name, show(before, form), show(after, form), gain


def float32_file(report: Entry, subject: str) -> Entry:
    """The first float32 file of a subject, for its size."""
    for one in report.get("deployables").each():
        name = one.value["file"].rsplit("/", 1)[-1]
        if name.startswith(subject) and one.value.get("precision", "fp32") in FP32:
            return one
    return Entry(None)


def asked_for(report: Entry, plan: Plan | None) -> Phrase:
    """The budget, the recipe and the data."""
    budget, recipe, data = (report.get(name) for name in ("budget", "recipe", "data"))
    said: list[object] = [
        "Budget: ",
        show(budget.get("sparsity"), share),
        f" of {counted(budget.value['of'])}, achieved ",
        show(budget.get("achieved"), fine_share),
    ]
    if plan is not None:
        multiple = Entry(plan.multiple_of, "plan.json", ("multiple_of",))
        said += [", width multiple ", show(multiple, grouped), f", by {plan.criterion} scores"]
    said.append(f". Recipe: {recipe.value['name']}")
    if recipe.value.get("form"):
        said.append(f" ({recipe.value['form']})")
    said.append(".")
    target = report.get("target")
    if target.value:
        said += [" Widths chosen for ", cite(target.get("name"))]
        if target.get("expected_speedup").known:
            expected = show(target.get("expected_speedup"), significant)
            said += [", where its layers are expected to be ", expected, " times as fast"]
        said.append(".")
    if data.known:
        said.append(f" Data: {data.value['name']}")
        for key in ("train", "validation", "test"):
            if data.get(key).known:
                said += [", ", show(data.get(key), grouped), f" {key}"]
        said.append(".")
    return phrase(*said)


def stages(report: Entry) -> Section | None:
    """None where the run had none."""
    found = report.get("stages").each()
    if not found:
        return None
    rows = tuple(
        (
            one.value["name"],
            metrics(one.get("metrics")) if one.value.get("metrics") else "unknown",
            show(one.get("agreement"), share),
            level(one),
        )
        for one in found
    )
    blocks: list[Table | Text] = [
        Table(columns=("stage", "accuracy", "agreement", ""), rows=rows, name="meters")
    ]
    phases = [phase(one) for one in report.get("recipe", "phases").each()]
    if phases:
        told = phrase("Phases: ", joined(phases), ".")
        blocks.append(Text(said=told, tone="small"))
    return Section(title="How accuracy came back", blocks=tuple(blocks))


def level(stage: Entry) -> object:
    """A bar as long as the accuracy, else as the agreement."""
    height = (stage.value.get("metrics") or {}).get("top1", stage.value.get("agreement"))
    return "" if height is None else part_bar(height, 1, 1)


def phase(one: Entry) -> Phrase:
    said: list[object] = [one.value["name"]]
    if one.get("seconds").known:
        said += [" ", show(one.get("seconds"), seconds)]
    if one.value.get("metrics"):
        said += [" (", metrics(one.get("metrics")), ")"]
    return phrase(*said)
