"""The files that ship, each with the accuracy measured on it."""

from __future__ import annotations

from benchmarks.blocks import Block, Section, Stack, Table, Text, folded
from benchmarks.entries import Entry
from benchmarks.figures import Phrase, cite, joined, phrase, show
from benchmarks.formatting import error, grouped, share, significant, size, whole
from benchmarks.wording import metrics


def files(report: Entry) -> Section | None:
    """None where nothing ships."""
    found = report.get("deployables").each()
    if not found:
        return None
    blocks: list[Block] = [
        Table(
            columns=("file", "size", "accuracy of the file", "against torch"),
            rows=tuple(row(one) for one in found),
            words=(2,),
            name="files",
        )
    ]
    for one in found:
        blocks += doubts(one)
    hashes = tuple(
        Text(said=phrase(cite(one.get("sha256")), " ", cite(one.get("file"))), tone="sha code")
        for one in found
    )
    return Section(
        title="Files that ship",
        blocks=(*blocks, *folded(phrase("sha256 of each"), hashes, unless=False)),
    )


def row(one: Entry) -> tuple[object, ...]:
    kind: list[object] = [one.value["precision"]]
    if one.get("opset").known:
        kind += [", opset ", show(one.get("opset"), whole)]
    return (
        Stack(lines=(cite(one.get("file")), phrase(*kind))),
        show(one.get("bytes"), size),
        Stack(lines=(metrics(one.get("metrics")), advice(one))),
        parity(one.get("parity")),
    )


def parity(found: Entry) -> Stack | str:
    if not found.value:
        return ""
    least = phrase("differs by ", show(found.get("max_abs_error"), error))
    same = show(found.get("agreement"), share)
    inputs = show(found.get("samples"), grouped)
    return Stack(lines=(least, phrase("agrees on ", same, " of ", inputs, " inputs")))


def advice(one: Entry) -> Phrase:
    """Whether the file is advised, and what it loses against the float32 one."""
    said = ["not advised"] if one.value.get("advised") is False else []
    drop = one.get("drop")
    told: list[object] = [*said]
    if drop.value:
        lost = phrase(
            "loses ", show(drop.get("points"), significant), f" points of {drop.value['of']}"
        )
        told.append(lost)
    return joined(told, ": ")


def doubts(one: Entry) -> list[Block]:
    """Why a file is not advised, why it could not be run, how it was calibrated, what lost most."""
    found: list[Block] = []
    name = cite(one.get("file"))
    for key, words in (("reason", "not advised"), ("not_runnable", "not run here")):
        if one.get(key).known:
            said = phrase(name, f": {words}, ", cite(one.get(key)))
            found.append(Text(said=said, tone="caveat" if key == "reason" else "small"))
    calibration = one.get("calibration")
    if calibration.value:
        said = phrase(
            name,
            ": calibrated by ",
            cite(calibration.get("method")),
            " on ",
            show(calibration.get("images"), grouped),
            " images (",
            cite(calibration.get("source")),
            ")",
        )
        found.append(Text(said=said, tone="small"))
    if one.get("kept_float32").value:
        kept = show(one.get("kept_float32"), grouped)
        found.append(Text(said=phrase(name, ": ", kept, " nodes stay in float32"), tone="small"))
    worst = one.get("worst_tensors").each()
    if worst:
        summary = phrase(name, ": tensors that lost most")
        found += folded(summary, (tensors(worst),), unless=False)
    return found


def tensors(worst: tuple[Entry, ...]) -> Table:
    return Table(
        columns=("tensor", "operator", "error it adds", "with all before it"),
        rows=tuple(
            (
                cite(one.get("tensor")),
                cite(one.get("operator")),
                show(one.get("added"), error),
                show(one.get("relative_error"), error)
                if one.value.get("finite", True)
                else "not finite",
            )
            for one in worst
        ),
        words=(1,),
    )
