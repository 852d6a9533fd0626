"""A report in one line, with a status and what must be said beside it.

In comes the dictionary of ``report.json``; keys beyond the agreed ones are optional.  Knows nothing
of pages, files or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.formatting import interval, metric_name, runtime, share, significant, workload

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """VALID: take the figures as they are.  NOISY: with care.  INVALID: do not take them."""

    status: Literal["VALID", "NOISY", "INVALID"]
    reasons: tuple[str, ...]


def verdict(report: Report) -> str:
    """The line a command prints: size, speed, accuracy, proof."""
    parts = (describe_size(report), describe_speed(report), describe_accuracy(report))
    return ", ".join((*parts, describe_proof(report)))


def headline_row(report: Report) -> Mapping[str, Any] | None:
    """The benchmark the verdict speaks of: ONNX Runtime at batch 1, else the first measured."""
    rows = report.get("benchmarks") or ()
    usual = [row for row in rows if row["runtime"] == "onnxruntime" and row["batch"] == 1]
    return next(iter([*usual, *rows]), None)


def describe_size(report: Report) -> str:
    if report["budget"]["of"] == "weights":
        return f"{share(report['budget']['achieved'])} of the weights zero"
    before, after = report["teacher"]["parameters"], report["student"]["parameters"]
    if not before or not after or before <= after:
        return "no fewer parameters"
    fewer = before / after
    return f"{significant(fewer, 2 if fewer >= 1.1 else 3)}x fewer parameters"


def describe_speed(report: Report) -> str:
    row = headline_row(report)
    if row is None:
        return "no speed-up claimed" if report.get("proof") is None else "speed not measured"
    place = f"at batch {row['batch']} in {runtime(row)}"
    if row["verdict"] == "invalid" or not row.get("interval"):
        return f"no valid speed {place}"
    ends = f"(95 % interval {interval(row['interval'])})"
    if row["verdict"] == "no measurable difference":
        return f"no measurable difference in speed {place} {ends}"
    if row["verdict"] == "slower":
        low, high = row["interval"]
        return (
            f"{significant(1 / row['speedup'])}x slower {place} "
            f"(95 % interval {interval((1 / high, 1 / low))})"
        )
    return f"{significant(row['speedup'])}x faster {place} {ends}"


def describe_accuracy(report: Report) -> str:
    before, after = report["teacher"].get("metrics"), report["student"].get("metrics")
    agreement = report["student"].get("agreement")
    if not after:
        if agreement is None:
            return "accuracy unknown"
        return f"accuracy unknown (agrees with the teacher on {share(agreement)})"
    name = "top1" if "top1" in after else next(iter(after))
    if before and name in before:
        return f"{metric_name(name)} {share(before[name])} -> {share(after[name])}"
    return f"{metric_name(name)} {share(after[name])}"


def describe_proof(report: Report) -> str:
    proof = report.get("proof")
    if proof is None:
        return "no proof (nothing was removed physically)"
    return "proof passed" if proof["passed"] else "PROOF FAILED"


def judge(report: Report) -> Judgement:
    """Whether the figures can be taken as they are, and why not."""
    proof, headline = report.get("proof"), headline_row(report)
    reasons = []
    invalid = proof is not None and not proof["passed"]
    if invalid:
        reasons.append("the proof failed: the student is not the teacher without the removed units")
    noisy = False
    for row in report.get("benchmarks") or ():
        status = row.get("status", "INVALID" if row["verdict"] == "invalid" else "VALID")
        noisy |= status != "VALID"
        invalid |= status == "INVALID" and row is headline
        said = row.get("reasons") or ()
        if status != "VALID":
            reasons.append(f"{workload(row)}: {'; '.join(said) or 'not a valid measurement'}")
    return Judgement(
        status="INVALID" if invalid else "NOISY" if noisy else "VALID", reasons=tuple(reasons)
    )


def caveats(report: Report) -> tuple[str, ...]:
    """What a reader must know before taking the accuracy for what it seems."""
    found = []
    teacher, student = report["teacher"], report["student"]
    data = report.get("data") or {}
    if not teacher.get("trained", True):
        found.append(
            "The dense network was not trained: sizes and speed compare, there is no accuracy of "
            "its own to compare with."
        )
    if not student.get("metrics"):
        said = "Accuracy is unknown: no labelled images were given."
        if student.get("agreement") is not None:
            said += (
                f" Only agreement is: on {share(student['agreement'])} of the evaluation inputs, "
                "student and teacher choose the same class."
            )
        found.append(said)
    seen = data.get("seen_test_share") or 0
    if seen > 0:
        found.append(
            f"The student has seen {'all' if seen >= 1 else share(seen)} of the test images while "
            "it was trained: its accuracy on new images may be lower."
        )
    if data.get("train_with_labels") is False and student.get("metrics"):
        found.append("Training used no labels: the student learned from the teacher's answers.")
    if report.get("proof") is None:
        found.append(
            "Weights were zeroed, not removed: the network has its full shapes, there is nothing "
            "to prove, and no speed-up is claimed."
        )
    return tuple(found)
