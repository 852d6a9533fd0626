"""Teacher and student side by side, layer by layer.

In come two Profiles; out come Layers: the smallest sets of operations that both runtimes' kernels
keep apart, each with what it cost on either side.  What has no partner (`partners`) is a layer of
one side.  Conversions of type that the file itself holds are no layers: one that is a kernel of its
own is a cost of the layer it serves, and one that a kernel takes in does not join two layers.
Knows nothing of reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.cluster.hierarchy import DisjointSet

from benchmarks.kernels import Kernel
from benchmarks.operations import Operation
from benchmarks.partners import match
from benchmarks.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One side of a layer.  Seconds are kernel times within one call of the whole network.

    ``main_s``: kernels of the operations that multiply (all of them, where none does);
    ``beside_s``: operators that run on their own; ``convert_s``: conversions put in for the layer.
    """

    operators: tuple[str, ...]
    implementations: tuple[str, ...]  # of the main kernels
    beside: tuple[str, ...]
    conversions: tuple[str, ...]
    macs: int
    executed_macs: int | None
    bytes_moved: int
    in_width: int | None
    out_width: int | None
    main_s: float
    beside_s: float
    convert_s: float
    computes_in: tuple[str, ...] = ()  # types of the main kernels' numbers, as far as known
    groups: int = 1  # of a convolution

    @property
    def seconds(self) -> float:
        return self.main_s + self.beside_s + self.convert_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """``teacher`` or ``student`` None: the other side has nothing of that name."""

    name: str
    teacher: Part | None
    student: Part | None
    leaves_layout: bool = False  # a mean over height and width, which no blocked kernel computes


def pair_layers(teacher: Profile, student: Profile) -> tuple[Layer, ...]:
    """Layers in the teacher's order, those of the student alone at the end."""
    partners = match(teacher.operations, student.operations)
    sides = (teacher, student)
    keys: tuple[Mapping[str, str], Mapping[str, str]] = (
        {one.name: f"teacher {one.name}" for one in teacher.operations},
        {
            one.name: f"teacher {partners[one.name]}"
            if one.name in partners
            else f"student {one.name}"
            for one in student.operations
        },
    )
    cells = DisjointSet([key for side in keys for key in side.values()])
    for side, key in zip(sides, keys, strict=True):
        conversions = {one.name for one in side.operations if one.converts}
        for kernel in side.kernels:
            if not kernel.converts:
                work = [name for name in kernel.covers if name not in conversions]
                for name in work[1:]:
                    cells.merge(key[work[0]], key[name])
    parts = tuple(
        _parts(side, {name: cells[one] for name, one in key.items()})
        for side, key in zip(sides, keys, strict=True)
    )
    names = {
        **_names(student.operations, keys[1], cells),
        **_names(teacher.operations, keys[0], cells),
    }
    means = {
        cells[key[one.name]]
        for side, key in zip(sides, keys, strict=True)
        for one in side.operations
        if one.over_space
    }
    order = dict.fromkeys(cells[one] for side in keys for one in side.values())
    return tuple(
        Layer(
            name=names[cell],
            teacher=parts[0].get(cell),
            student=parts[1].get(cell),
            leaves_layout=cell in means,
        )
        for cell in order
        if cell in parts[0] or cell in parts[1]
    )


def unplaced(profile: Profile) -> float:
    """Seconds in kernels that stand for no operation of the file that could be told."""
    return sum(one.seconds for one in profile.kernels if not one.covers)


def _names(
    operations: Sequence[Operation], keys: Mapping[str, str], cells: DisjointSet
) -> dict[str, str]:
    """Each cell is called after the operation that multiplies most, else after its first."""
    first: dict[str, Operation] = {}
    for one in operations:
        cell = cells[keys[one.name]]
        if cell not in first or (one.macs or 0) > (first[cell].macs or 0):
            first[cell] = one
    return {cell: one.layer for cell, one in first.items()}


def _parts(profile: Profile, cell_of: Mapping[str, str]) -> dict[str, Part]:
    inside: dict[str, list[Operation]] = {}
    for one in profile.operations:
        inside.setdefault(cell_of[one.name], []).append(one)
    ran: dict[str, list[Kernel]] = {}
    for kernel in profile.kernels:
        if kernel.covers:
            ran.setdefault(cell_of[kernel.covers[0]], []).append(kernel)
    return {cell: _part(inside[cell], kernels) for cell, kernels in ran.items()}


def _part(operations: Sequence[Operation], kernels: Sequence[Kernel]) -> Part:
    heavy = {one.name for one in operations if one.macs != 0}
    working = [one for one in kernels if not one.converts]
    main = [one for one in working if heavy & set(one.covers)] or working
    beside = [one for one in working if one not in main]
    converting = [one for one in kernels if one.converts]
    largest = max(operations, key=lambda one: one.macs or 0)
    return Part(
        operators=tuple(one.operator for one in operations),
        implementations=tuple(one.implementation for one in main),
        beside=tuple(one.implementation for one in beside),
        conversions=tuple(one.implementation for one in converting),
        macs=sum(one.macs or 0 for one in operations),
        executed_macs=_sum(one.executed_macs for one in main),
        bytes_moved=largest.bytes_moved,
        in_width=largest.in_width,
        out_width=largest.out_width,
        main_s=sum(one.seconds for one in main),
        beside_s=sum(one.seconds for one in beside),
        convert_s=sum(one.seconds for one in converting),
        computes_in=tuple(sorted({one.computes_in for one in main if one.computes_in})),
        groups=largest.groups,
    )


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for one in values:
        if one is None:
            return None
        total += one
    return total
