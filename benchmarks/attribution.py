"""Why the student is not faster by as much as it computes less: every missing microsecond a reason.

In come two Profiles; out comes an Explanation.  With T and S the seconds of a call of teacher and
student and r = MACs of the student / MACs of the teacher, time that fell as the MACs did would be
rT; S - rT is missing.  It is taken apart without a rest over layers l (kernel seconds t and s):

    S - rT = sum_l (s_l - r_l t_l)      the layer did not get faster by as much as its own MACs
           + sum_l (r_l - r) t_l        its MACs (or bytes, where it has none) fell less than all
           + (S - sum s) - r (T - sum t)    what a call spends outside of kernels

The first term is divided further: conversions, operators that run on their own, padding to whole
blocks, another kernel; and for the rest, whether the layer moves data longer than it computes at
the best rates that either network reaches in this very profile (a roofline of its own: Williams,
Waterman & Patterson, CACM 52(4), 2009).  Knows nothing of words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from benchmarks.kernels import TYPE, Kernel
from benchmarks.layers import Layer, Part, pair_layers, unplaced
from benchmarks.profiles import Profile

Cause = Literal[
    "other kernel",
    "conversions",
    "on its own",
    "padding",
    "memory",
    "small kernel",
    "same kernel",
    "cut less",
    "no partner",
    "outside kernels",
]

SMALL_KERNEL_S = 10e-6  # an empty kernel takes 2 to 5 microseconds: most of such a time is fixed
Key = TypeVar("Key")
WEIGHTY = 0.01  # layers below this share of the kernels' time set no rate: the clock is too coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Seconds that one layer spends for one reason; below zero, it gives back."""

    cause: Cause
    layer: str | None  # None: no layer's
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversions:
    """Conversions of type of one kind that run on their own: how many, and what they take."""

    kind: str  # "Cast", "DequantizeLinear", "Convert"
    teacher: int
    student: int
    teacher_s: float
    student_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """Layers that multiply, by the type they compute in: ``(("int8", 20), ("float32", 1))``."""

    teacher: tuple[tuple[str, int], ...]
    student: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Seconds are those of one call.  The pieces' sum is ``missing_s``."""

    layers: tuple[Layer, ...]
    pieces: tuple[Piece, ...]
    teacher_s: float
    student_s: float
    teacher_kernels_s: float
    student_kernels_s: float
    teacher_profiled_s: float
    student_profiled_s: float
    teacher_macs: int
    student_macs: int
    teacher_unplaced_s: float  # in kernels of which no layer could be told
    student_unplaced_s: float
    conversions: tuple[Conversions, ...]
    types: Types
    uncounted: tuple[str, ...]  # operators that multiply and were not counted
    rounds: int
    contention: float  # wall over the process's own time while all this was measured

    @property
    def expected_s(self) -> float:
        return self.teacher_s * self.student_macs / self.teacher_macs

    @property
    def missing_s(self) -> float:
        return self.student_s - self.expected_s

    def by_cause(self) -> tuple[tuple[Cause, float], ...]:
        """Causes and their seconds, largest first."""
        return _summed([(one.cause, one.seconds) for one in self.pieces])

    def by_layer(self) -> tuple[tuple[str | None, float], ...]:
        return _summed([(one.layer, one.seconds) for one in self.pieces])


def explain(teacher: Profile, student: Profile) -> Explanation:
    """Raises ValueError where neither network multiplies anything that can be counted."""
    if not teacher.macs or not student.macs:
        raise ValueError("no multiply-accumulates were counted")
    layers = pair_layers(teacher, student)
    overall = student.macs / teacher.macs
    rates = _best_rates(layers)
    pieces = [piece for layer in layers for piece in take_apart(layer, overall, rates)]
    for profile, sign in ((teacher, -overall), (student, 1.0)):
        outside = profile.call_s - profile.kernels_s
        pieces.append(Piece(cause="outside kernels", layer=None, seconds=sign * outside))
        pieces.append(Piece(cause="no partner", layer=None, seconds=sign * unplaced(profile)))
    uncounted = {
        one.operator for side in (teacher, student) for one in side.operations if one.macs is None
    }
    return Explanation(
        layers=layers,
        pieces=tuple(one for one in pieces if one.seconds),
        teacher_s=teacher.call_s,
        student_s=student.call_s,
        teacher_kernels_s=teacher.kernels_s,
        student_kernels_s=student.kernels_s,
        teacher_profiled_s=teacher.profiled_call_s,
        student_profiled_s=student.profiled_call_s,
        teacher_macs=teacher.macs,
        student_macs=student.macs,
        teacher_unplaced_s=unplaced(teacher),
        student_unplaced_s=unplaced(student),
        conversions=conversions_of(teacher, student),
        types=Types(
            teacher=types_of([one.teacher for one in layers]),
            student=types_of([one.student for one in layers]),
        ),
        uncounted=tuple(sorted(uncounted)),
        rounds=teacher.rounds,
        contention=teacher.contention,
    )


def take_apart(layer: Layer, overall: float, rates: tuple[float, float]) -> list[Piece]:
    """The pieces of s - r t for one layer.  ``rates``: best MACs and bytes per second."""
    before, after = layer.teacher, layer.student
    if before is None or after is None:
        sign, only = (1.0, after) if before is None else (-overall, before)
        assert only is not None
        return [Piece(cause="no partner", layer=layer.name, seconds=sign * only.seconds)]
    own = own_share(before, after)
    found: list[tuple[Cause, float]] = [
        ("cut less", (own - overall) * before.seconds),
        ("conversions", after.convert_s - own * before.convert_s),
        ("on its own", after.beside_s - own * before.beside_s),
    ]
    if families(before) != families(after):
        found.append(("other kernel", after.main_s - own * before.main_s))
    else:
        executed = own
        if before.executed_macs and after.executed_macs:
            executed = after.executed_macs / before.executed_macs
        found += [
            ("padding", (executed - own) * before.main_s),
            (_rest(after, rates), after.main_s - executed * before.main_s),
        ]
    return [Piece(cause=cause, layer=layer.name, seconds=seconds) for cause, seconds in found]


def conversions_of(teacher: Profile, student: Profile) -> tuple[Conversions, ...]:
    """Those of type, by kind; those of layout are told with the layers alone."""
    ran = [
        [(kind_of(one, side), one.seconds) for one in side.kernels if one.converts]
        for side in (teacher, student)
    ]
    found = []
    for kind in sorted({kind for side in ran for kind, _ in side if kind in TYPE}):
        before, after = ([seconds for one, seconds in side if one == kind] for side in ran)
        found.append(
            Conversions(
                kind=kind,
                teacher=len(before),
                student=len(after),
                teacher_s=sum(before),
                student_s=sum(after),
            )
        )
    return tuple(found)


def kind_of(kernel: Kernel, profile: Profile) -> str:
    """The file's operator where the conversion is of the file, else the runtime's own."""
    operators = {one.name: one.operator for one in profile.operations if one.converts}
    return next((operators[name] for name in kernel.covers if name in operators), kernel.operator)


def types_of(parts: Sequence[Part | None]) -> tuple[tuple[str, int], ...]:
    """Most frequent first; one that computes in several counts as the mix that it is."""
    counts = Counter(
        " and ".join(one.computes_in) for one in parts if one and one.macs and one.computes_in
    )
    return tuple(counts.most_common())


def own_share(before: Part, after: Part) -> float:
    """What is left of a layer's MACs; of its bytes, where it has no MACs to lose."""
    if before.macs and after.macs:
        return after.macs / before.macs
    if before.bytes_moved and after.bytes_moved:
        return after.bytes_moved / before.bytes_moved
    return 1.0


def families(part: Part) -> tuple[str, ...]:
    """Implementations, told apart only where they are other code: an activation inside is not."""
    return tuple(sorted(one.replace("Fused", "") for one in part.implementations))


def _rest(part: Part, rates: tuple[float, float]) -> Cause:
    if part.main_s < SMALL_KERNEL_S:
        return "small kernel"
    macs_per_s, bytes_per_s = rates
    return "memory" if part.bytes_moved / bytes_per_s > part.macs / macs_per_s else "same kernel"


def _best_rates(layers: Sequence[Layer]) -> tuple[float, float]:
    """The most MACs and the most bytes per second that a layer with MACs reaches, on any side."""
    parts = [one for layer in layers for one in (layer.teacher, layer.student) if one is not None]
    total = sum(one.main_s for one in parts)
    counted = [one for one in parts if one.macs and one.main_s > WEIGHTY * total / 2]
    return (
        max((one.macs / one.main_s for one in counted), default=1.0),
        max((one.bytes_moved / one.main_s for one in counted), default=1.0) or 1.0,
    )


def _summed(pairs: Sequence[tuple[Key, float]]) -> tuple[tuple[Key, float], ...]:
    totals: dict[Key, float] = {}
    for key, seconds in pairs:
        totals[key] = totals.get(key, 0.0) + seconds
    return tuple(sorted(totals.items(), key=lambda one: -one[1]))
