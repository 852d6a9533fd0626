"""An Explanation in words.

In comes what `attribution` found for one workload; out come sentences in plain text, the first of
which says it all.  Every number in them is in the rows of `explanations` as well.  Knows nothing of
how anything was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from benchmarks.alignment import describe_widths
from benchmarks.attribution import Cause, Explanation, families, own_share
from benchmarks.formatting import milliseconds, runtime, share, significant
from benchmarks.layers import Layer, Part
from benchmarks.summaries import CONTENTION_LIMIT
from benchmarks.workloads import Workload

WORTH_SAYING = 0.04  # of the missing time
AS_EXPECTED = 0.05  # of the expected time: nothing is missing
NAMED = 3  # layers in a sentence
MUCH_OUTSIDE = 0.4  # of a call
MUCH_UNPLACED = 0.05  # of the kernels' time


def describe(found: Explanation, workload: Workload) -> tuple[str, ...]:
    """Sentences: the two ratios, the reasons by weight, then how far to trust it all."""
    return (
        *_headline(found, workload),
        *(_reasons(found) if _worth_explaining(found) else ()),
        *_types(found, workload),
        *describe_widths(found.layers, workload),
        *_trust(found, workload),
    )


def _worth_explaining(found: Explanation) -> bool:
    return abs(found.missing_s) > AS_EXPECTED * found.expected_s


def _headline(found: Explanation, workload: Workload) -> list[str]:
    place = _place(workload)
    macs = _times(found.teacher_macs, found.student_macs, "fewer", "more")
    speed = _times(found.teacher_s, found.student_s, "less", "more")
    ratios = f"{place}: MACs {macs}, time {speed}"
    if not _worth_explaining(found):
        return [f"{ratios}: the time fell as the MACs did, and nothing is missing."]
    if found.missing_s < 0:
        return [
            f"{ratios}: {_time(-found.missing_s)} faster than the MACs let expect "
            f"({_time(found.expected_s)})."
        ]
    worst, seconds = next(
        ((name, seconds) for name, seconds in found.by_layer() if name is not None), (None, 0.0)
    )
    said = (
        f"{ratios}. Had the time fallen as the MACs did, a call would take "
        f"{_time(found.expected_s)}; "
        f"it takes {_time(found.student_s)}, so {_time(found.missing_s)} are missing"
    )
    if worst is not None and seconds > WORTH_SAYING * found.missing_s:
        said += f", {share(seconds / found.missing_s, 0)} of them in {worst}"
    return [f"{said}."]


def _place(workload: Workload) -> str:
    """The precision where it is not the usual one."""
    facts = workload.facts
    precision = "" if facts["precision"] == "float32" else f"{facts['precision']}, "
    threads = "thread" if workload.threads == 1 else "threads"
    return f"{runtime(facts)}, batch {workload.batch}, {precision}{workload.threads} {threads}"


def _times(before: float, after: float, less: str, more: str) -> str:
    """2.0 and 1.0 -> "2.00x fewer"; a share that does not change reads 1.00x."""
    if after > before:
        return f"{significant(after / before)}x {more}"
    return f"{significant(before / after)}x {less}"


def _reasons(found: Explanation) -> list[str]:
    whole = abs(found.missing_s)
    said, rest = [], 0.0
    for cause, seconds in sorted(found.by_cause(), key=lambda one: -abs(one[1])):
        if abs(seconds) < WORTH_SAYING * whole:
            rest += seconds
            continue
        weight = f"{_time(abs(seconds))} ({share(abs(seconds) / whole, 0)})"
        sign = "" if seconds > 0 else "Less "
        words = WORDS[cause](found) if seconds > 0 or cause not in GAINS else GAINS[cause]
        said.append(f"{sign}{weight} {words}{_where(found, cause, seconds)}.")
    if said and abs(rest) > 0.01 * whole:
        said.append(f"All other reasons together: {_time(rest)} ({share(rest / whole, 0)}).")
    return said


def _where(found: Explanation, cause: Cause, seconds: float) -> str:
    """The layers that weigh most: what became of each, or its share of this reason."""
    sign = 1 if seconds > 0 else -1
    layers = {one.name: one for one in found.layers}
    ours = sorted(
        (one for one in found.pieces if one.cause == cause and one.layer is not None),
        key=lambda one: -sign * one.seconds,
    )
    worst = [one for one in ours if sign * one.seconds > 0.05 * abs(seconds)][:NAMED]
    whole = cause in ("other kernel", "same kernel", "memory", "small kernel", "padding")
    told = [
        f"{one.layer} ({_cost(layers[str(one.layer)]) if whole else _time(abs(one.seconds))})"
        for one in worst
    ]
    return f"; most in {', '.join(told)}" if told else ""


def _cost(layer: Layer) -> str:
    """ "178 -> 356 wide, 61 to 75 us, by its MACs 30 us"."""
    before, after = layer.teacher, layer.student
    if before is None or after is None:
        only = before or after
        assert only is not None
        return f"{_time(only.seconds)}, {'teacher' if before else 'student'} alone"
    widths = f"{after.in_width} -> {after.out_width} wide, " if after.macs else ""
    told = f"{widths}{_time(before.seconds)} to {_time(after.seconds)}"
    wanted = own_share(before, after) * before.seconds
    return f"{told}, by its MACs {_time(wanted)}" if after.macs else told


def _other_kernel(found: Explanation) -> str:
    kinds = Counter(
        f"{_kernel(one.teacher)} -> {_kernel(one.student)}"
        for one in found.layers
        if one.teacher and one.student and families(one.teacher) != families(one.student)
    )
    told = ", ".join(f"{many} x {name}" for name, many in kinds.most_common(4))
    many = sum(kinds.values())
    return f"since {many} {'layer runs' if many == 1 else 'layers run'} in another kernel ({told})"


def _kernel(part: Part) -> str:
    return "+".join(families(part)) or "none of its own"


def _outside(found: Explanation) -> str:
    """More kernel time than call time: the profiler lengthens kernels, and many short ones more."""
    if found.student_kernels_s > found.student_s:
        before, after = (
            sum(len(part.implementations) + len(part.beside) + len(part.conversions)
                for part in parts if part is not None)
            for parts in ([one.teacher for one in found.layers],
                          [one.student for one in found.layers])
        )  # fmt: skip
        return (
            "since the profiler lengthens kernels, of which the student has "
            f"{after} and the teacher {before}"
        )
    return "outside of kernels: the fixed part of a call"


def _count(found: Explanation, side: str, field: str) -> int:
    parts = [getattr(one, side) for one in found.layers]
    return sum(len(getattr(part, field)) for part in parts if part is not None)


def _conversions(found: Explanation) -> str:
    before, after = (_count(found, side, "conversions") for side in ("teacher", "student"))
    return f"in conversions between layouts or types ({before} in the teacher, {after} here)"


def _on_its_own(found: Explanation) -> str:
    before, after = (_count(found, side, "beside") for side in ("teacher", "student"))
    return (
        "in additions, activations and the like that run on their own instead of inside a "
        f"convolution or product ({before} in the teacher, {after} here)"
    )


WORDS: Mapping[Cause, Callable[[Explanation], str]] = {
    "other kernel": _other_kernel,
    "conversions": _conversions,
    "on its own": _on_its_own,
    "padding": lambda found: "in padding: widths are computed up to the next whole block",
    "memory": lambda found: (
        "where moving weights and activations takes longer than computing, so time goes with bytes"
    ),
    "small kernel": lambda found: "in kernels so short that most of their time is fixed",
    "same kernel": lambda found: "in kernels that compute fewer MACs per second at these widths",
    "cut less": lambda found: "where layers lost a smaller share of their MACs than the whole did",
    "no partner": lambda found: "in kernels that have no counterpart in the other network",
    "outside kernels": _outside,
}


GAINS: Mapping[Cause, str] = {
    "conversions": "in conversions between layouts or types that are not needed any more",
    "on its own": "in additions, activations and the like that a convolution or product takes in",
    "padding": "in padding: widths fill whole blocks better",
    "memory": "where moving data takes longer than computing, and got faster by more than the MACs",
    "small kernel": "in short kernels, which got faster by more than their MACs",
    "same kernel": "in kernels that compute more MACs per second at these widths",
    "cut less": "where layers lost a larger share of their MACs than the whole did",
    "no partner": "in kernels that the student has no longer",
}


def _types(found: Explanation, workload: Workload) -> list[str]:
    """In which types the layers compute, and what conversions between types cost."""
    wanted = str(workload.facts["precision"])
    said = []
    after, before = (_counted(one) for one in (found.types.student, found.types.teacher))
    if after and (wanted != "float32" or len(found.types.student) > 1):
        told = f"Layers that multiply, by the type they compute in: {after} in the student"
        said.append(f"{told}, as many in the teacher." if after == before
                    else f"{told}, {before} in the teacher.")  # fmt: skip
        if wanted not in (kind for kind, _ in found.types.student):
            said.append(
                f"None computes in {wanted}: the file holds it, and the runtime converts what has "
                "no kernel of this type here."
            )
    if found.conversions:
        kinds = ", ".join(
            f"{one.kind} {one.teacher} in the teacher ({_time(one.teacher_s)}) and {one.student} "
            f"in the student ({_time(one.student_s)})"
            for one in found.conversions
        )
        said.append(f"Conversions between types that run on their own: {kinds}.")
    return said


def _counted(types: Sequence[tuple[str, int]]) -> str:
    """ "20 in int8, 1 in float32"."""
    return ", ".join(f"{many} in {kind}" for kind, many in types)


def _trust(found: Explanation, workload: Workload) -> list[str]:
    single = workload.runtime != "openvino"  # its counters are means already
    said = (
        f"Kernels' times are means of {'the middle half of ' if single else ''}{found.rounds} "
        "interleaved rounds under the runtime's profiler: together "
        f"{_time(found.teacher_kernels_s)} and {_time(found.student_kernels_s)} of the "
        f"{_time(found.teacher_s)} and {_time(found.student_s)} that the same calls take without "
        f"it (teacher, student); with it, {_time(found.teacher_profiled_s)} and "
        f"{_time(found.student_profiled_s)}."
    )
    alone = [
        one.name for one in found.layers if (one.teacher is None) != (one.student is None)
    ]  # fmt: skip
    lines = [said]
    if found.contention > CONTENTION_LIMIT:
        lines.append(
            f"The machine was busy: all this took {significant(found.contention)} times the "
            "process's own processor time. What other processes took may stand under any cause."
        )
    outside = max(
        1 - found.teacher_kernels_s / found.teacher_s, 1 - found.student_kernels_s / found.student_s
    )
    if outside > MUCH_OUTSIDE:
        lines.append(
            f"Up to {share(outside, 0)} of a call passes outside of kernels (handing over to other "
            "threads, waiting): the causes above explain the smaller part."
        )
    lost = max(
        found.teacher_unplaced_s / found.teacher_kernels_s if found.teacher_kernels_s else 0.0,
        found.student_unplaced_s / found.student_kernels_s if found.student_kernels_s else 0.0,
    )
    if lost > MUCH_UNPLACED:
        lines.append(
            f"Up to {share(lost, 0)} of the kernels' time belongs to no layer that could be told."
        )
    if alone:
        lines.append(f"Without a counterpart: {', '.join(alone[:8])}"
                     f"{f' and {len(alone) - 8} more' if len(alone) > 8 else ''}.")  # fmt: skip
    if found.uncounted:
        lines.append(f"MACs of {', '.join(found.uncounted)} are not counted.")
    return lines


def _time(seconds: float) -> str:
    """0.00076 -> "0.760 ms", 0.000061 -> "61 us" with a micro sign."""
    if abs(seconds) < 1e-4:
        return f"{significant(seconds * 1e6, 2)} \N{MICRO SIGN}s"
    return f"{milliseconds(seconds * 1e3)} ms"
