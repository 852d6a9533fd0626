"""Which operation of the student is which of the teacher's.

In come the operations of two files; out come pairs of names.  Both are the same program with other
widths, but whoever exports numbers nodes and values as they come: ``node_Conv_117`` of one file may
be another layer than that of the other.  So the way from the inputs decides; among several that go
the same way, or where a way is broken, the name of the weight; the node's own name comes last.
Knows nothing of times.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from benchmarks.operations import Operation

Pairs = dict[str, str]  # student's name -> teacher's
Maker = tuple[str, int] | None  # an operation and which of its outputs; None: given
Way = tuple[str, tuple[Maker, ...]]  # an operator and who made what it reads


def match(teacher: Sequence[Operation], student: Sequence[Operation]) -> Pairs:
    """Student's operation name -> teacher's; what has no partner is left out."""
    found: Pairs = {}
    starts: tuple[Callable[[Sequence[Operation], Sequence[Operation]], Pairs], ...] = (
        lambda there, here: {},
        by_weight,
        by_name,
    )
    for start in starts:
        found |= start(*_left(teacher, student, found))
        _follow(teacher, student, found)
    return found


def by_weight(there: Sequence[Operation], here: Sequence[Operation]) -> Pairs:
    """Those whose weight no other operation of their kind reads."""

    def keys(operations: Sequence[Operation]) -> list[tuple[str | None, str]]:
        return [(one.weight, one.operator) for one in operations if one.weight is not None]

    counts, mine = Counter(keys(there)), Counter(keys(here))
    owner = {(one.weight, one.operator): one.name for one in there}
    return {
        one.name: owner[key]
        for one in here
        if counts[key := (one.weight, one.operator)] == mine[key] == 1
    }


def by_name(there: Sequence[Operation], here: Sequence[Operation]) -> Pairs:
    """Those of one name and operator."""
    known = {(one.name, one.operator) for one in there}
    return {one.name: one.name for one in here if (one.name, one.operator) in known}


def _left(
    teacher: Sequence[Operation], student: Sequence[Operation], found: Pairs
) -> tuple[list[Operation], list[Operation]]:
    """Those without a partner so far."""
    taken = set(found.values())
    return (
        [one for one in teacher if one.name not in taken],
        [one for one in student if one.name not in found],
    )


def _follow(teacher: Sequence[Operation], student: Sequence[Operation], found: Pairs) -> None:
    """Add to ``found`` what reads the same as its partner does, in the order of the file."""
    along = _by_way(_ways(teacher), teacher)
    ways = _ways(student)
    siblings = _by_way(ways, student)
    for one in student:
        if one.name in found or one.name not in ways:
            continue
        way = _translated(ways[one.name], found)
        if way is not None:
            there, here = _left(along.get(way, ()), siblings[ways[one.name]], found)
            found |= by_weight(there, here)
            there, here = _left(there, here, found)
            if len(there) == len(here):
                found |= {mine.name: other.name for mine, other in zip(here, there, strict=True)}


def _ways(operations: Sequence[Operation]) -> dict[str, Way]:
    """Of all that read what is computed or given; who reads constants alone goes no way."""
    made_by = {
        name: (one.name, place) for one in operations for place, name in enumerate(one.outputs)
    }
    return {
        one.name: (one.operator, tuple(made_by.get(name) for name in one.inputs))
        for one in operations
        if one.inputs
    }


def _by_way(
    ways: Mapping[str, Way], operations: Sequence[Operation]
) -> Mapping[Way, Sequence[Operation]]:
    found: dict[Way, list[Operation]] = defaultdict(list)
    for one in operations:
        if one.name in ways:
            found[ways[one.name]].append(one)
    return found


def _translated(way: Way, found: Pairs) -> Way | None:
    """The teacher's way that it is; None while a maker has no partner."""
    operator, makers = way
    if not all(maker is None or maker[0] in found for maker in makers):
        return None
    return operator, tuple(maker and (found[maker[0]], maker[1]) for maker in makers)
