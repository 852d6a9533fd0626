"""A report in one sentence, with a status and what must be said beside it.

In comes ``report.json``, as a dictionary or an Entry; out come Phrases, which are text or markup.
Keys beyond the agreed ones are optional.  Knows nothing of pages, files or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.entries import Entry, entry
from benchmarks.figures import Phrase, derive, joined, phrase, plain, show
from benchmarks.formatting import TIMES, metric_name, rough, runtime, share, significant, whole
from benchmarks.wording import cited, headline_metric, interval, inverse_interval, workload

Report = Mapping[str, Any] | Entry
SHOWN = 2  # reasons; the rest on request


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """VALID: take the figures as they are.  NOISY: with care.  INVALID: do not take them."""

    status: Literal["VALID", "NOISY", "INVALID"]
    reasons: tuple[Phrase, ...]

    @property
    def short(self) -> tuple[Phrase, ...]:
        """The first reasons, and how many more there are: not all settings' in a row."""
        more = len(self.reasons) - SHOWN
        if more <= 1:
            return self.reasons
        told = f"{more} further settings are not VALID either; report.html says why"
        return (*self.reasons[:SHOWN], phrase(told))


def verdict(report: Report) -> str:
    """The line a command prints: size, speed, accuracy, proof."""
    return plain(sentence(report))


def sentence(report: Report) -> Phrase:
    """The same for a page."""
    report = entry(report)
    parts = (describe_size(report), describe_speed(report), describe_accuracy(report))
    return joined([*parts, describe_proof(report)])


def headline_row(report: Report) -> Entry | None:
    """The benchmark the verdict speaks of: ONNX Runtime at batch 1 in float32, else the first
    measured."""
    rows = entry(report).get("benchmarks").each()
    usual = [
        row
        for row in rows
        if (row.value["runtime"], row.value["batch"], row.value["precision"])
        == ("onnxruntime", 1, "float32")
    ]
    return next(iter([*usual, *rows]), None)


def describe_size(report: Report) -> Phrase:
    report = entry(report)
    if report.value["budget"]["of"] == "weights":
        return phrase(show(report.get("budget", "achieved"), share), " of the weights zero")
    before, after = (report.get(name, "parameters") for name in ("teacher", "student"))
    if not before.value or not after.value or before.value <= after.value:
        return phrase("no fewer parameters")
    return phrase(derive("quotient", before, after, form=rough), f"{TIMES} fewer parameters")


def describe_speed(report: Report) -> Phrase:
    report = entry(report)
    row = headline_row(report)
    if row is None:
        proof = report.value.get("proof")
        return phrase("no speed-up claimed" if proof is None else "speed not measured")
    precision = row.value["precision"]
    other = "" if precision == "float32" else f" in {precision}"
    place = phrase("at batch ", show(row.get("batch"), whole), f" in {runtime(row.value)}{other}")
    said, ends, speedup = row.value["verdict"], row.get("interval"), row.get("speedup")
    if said == "invalid" or not ends.known:
        return phrase("no valid speed ", place)
    if said == "slower":
        slower = derive("inverse", speedup, form=significant)
        told = inverse_interval(ends)
        return phrase(slower, f"{TIMES} slower ", place, " (95 % interval ", told, ")")
    about = phrase(place, " (95 % interval ", interval(ends), ")")
    if said == "no measurable difference":
        return phrase("no measurable difference in speed ", about)
    return phrase(show(speedup, significant), f"{TIMES} faster ", about)


def describe_accuracy(report: Report) -> Phrase:
    report = entry(report)
    before, after = (report.get(name, "metrics") for name in ("teacher", "student"))
    agreement = report.get("student", "agreement")
    name = headline_metric(after)
    if name is None:
        if not agreement.known:
            return phrase("accuracy unknown")
        told = show(agreement, share)
        return phrase("accuracy unknown (agrees with the teacher on ", told, ")")
    now = show(after.get(name), share)
    if before.get(name).known:
        return phrase(metric_name(name), " ", show(before.get(name), share), " → ", now)
    return phrase(metric_name(name), " ", now)


def describe_proof(report: Report) -> Phrase:
    report = entry(report)
    proof = report.value.get("proof")
    if proof is None:
        return phrase("no proof (nothing was removed physically)")
    return phrase("proof passed" if proof["passed"] else "PROOF FAILED")


def status_of(row: Entry) -> str:
    """A benchmark's own word, or what its verdict comes to."""
    usual = "INVALID" if row.value["verdict"] == "invalid" else "VALID"
    return str(row.value.get("status") or usual)


def judge(report: Report) -> Judgement:
    """Whether the figures can be taken as they are, and why not."""
    report = entry(report)
    proof, headline = report.value.get("proof"), headline_row(report)
    reasons = []
    invalid = proof is not None and not proof["passed"]
    if invalid:
        told = "the proof failed: the student is not the teacher without the removed units"
        reasons.append(phrase(told))
    noisy = False
    for row in report.get("benchmarks").each():
        status = status_of(row)
        noisy |= status != "VALID"
        invalid |= status == "INVALID" and row == headline
        if status != "VALID":
            said = cited(row.get("reasons").each()) or phrase("not a valid measurement")
            reasons.append(phrase(workload(row), ": ", said))
    return Judgement(
        status="INVALID" if invalid else "NOISY" if noisy else "VALID", reasons=tuple(reasons)
    )


def caveats(report: Report) -> tuple[Phrase, ...]:
    """What a reader must know before taking the accuracy for what it seems."""
    report = entry(report)
    found = []
    if not report.value["teacher"].get("trained", True):
        found.append(
            phrase(
                "The dense network was not trained: sizes and speed compare, there is no accuracy "
                "of its own to compare with."
            )
        )
    student = report.get("student")
    if not student.value.get("metrics"):
        said = phrase("Accuracy is unknown: no labelled images were given.")
        if student.get("agreement").known:
            said = phrase(
                said,
                " Only agreement is: on ",
                show(student.get("agreement"), share),
                " of the evaluation inputs, student and teacher choose the same class.",
            )
        found.append(said)
    seen = report.get("data", "seen_test_share")
    if (seen.value or 0) > 0:
        found.append(
            phrase(
                "The student has seen ",
                "all" if seen.value >= 1 else show(seen, share),
                " of the test images while it was trained: its accuracy on new images may be "
                "lower.",
            )
        )
    labelled = report.get("data", "train_with_labels")
    if labelled.value is False and student.value.get("metrics"):
        told = "Training used no labels: the student learned from the teacher's answers."
        found.append(phrase(told))
    if report.value.get("proof") is None:
        found.append(
            phrase(
                "Weights were zeroed, not removed: the network has its full shapes, there is "
                "nothing to prove, and no speed-up is claimed."
            )
        )
    return tuple(found)
