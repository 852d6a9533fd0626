"""What a runtime really ran: its kernels, and the nodes of the file that each of them computes.

Runtimes rewrite the graph they are given: a convolution takes in the addition and the activation
behind it, changes its layout, and gets conversions before and after.  In come the file's operations
and the nodes of ONNX Runtime's optimised graph, in the order in which they run; out comes, for each
of these, the operations it stands for.  Knows nothing of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.operations import Operation

NCHWC = "com.microsoft.nchwc"  # ONNX Runtime's layout in blocks of channels
CONVERSIONS = ("ReorderInput", "ReorderOutput", "Transpose", "Cast")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One step of the runtime and its time within one call.

    ``covers``: names of the operations it computes; those it serves, where it only converts.
    ``implementation`` is told apart from others by its text alone.
    """

    name: str
    operator: str
    implementation: str  # "nchwc.Conv", "FusedConv", "brgconv_avx512_f32"
    covers: tuple[str, ...]
    converts: bool  # layout or type only, put in by the runtime
    seconds: float
    executed_macs: int | None = None  # with the padding that the kernel computes; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of an optimised graph."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def implementation(self) -> str:
        return f"nchwc.{self.operator}" if self.domain == NCHWC else self.operator


def assign(
    operations: Sequence[Operation], nodes: Sequence[Node]
) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """For each node: the operations it covers, and whether it only converts for them.

    What covers none, a conversion or an operator put in, stands with the one it serves.

    A node stands for the operations that kept its name or its outputs' (ONNX Runtime calls the
    blocked form of what makes ``relu`` ``relu_nchwc``); for what lies between its inputs and these,
    where a new operator replaced several; and for what it took in from behind: among the nodes that
    make an operation's inputs, the last to run did it, since the others' results must be there.
    Operations on constants alone are folded when the file is loaded: nobody covers them.
    """
    owner = _named(operations, nodes)
    _claim_between(operations, nodes, owner)
    made_by = {name: one for one in operations for name in one.outputs}
    for one in operations:
        if one.name not in owner:
            makers = [made_by[name].name for name in one.inputs if name in made_by]
            places = [owner[name] for name in makers if name in owner]
            if places:
                owner[one.name] = max(places)
    covers: list[list[str]] = [[] for _ in nodes]
    for one in operations:
        if one.name in owner:
            covers[owner[one.name]].append(one.name)
    return tuple(
        (tuple(found), False)
        if found
        else (_served(place, nodes, covers), nodes[place].operator in CONVERSIONS)
        for place, found in enumerate(covers)
    )


def _named(operations: Sequence[Operation], nodes: Sequence[Node]) -> dict[str, int]:
    by_name = {one.name: one for one in operations}
    by_output = {name: one for one in operations for name in one.outputs}
    owner: dict[str, int] = {}
    for place, node in enumerate(nodes):
        if node.name in by_name:
            owner.setdefault(node.name, place)
    for place, node in enumerate(nodes):
        stem = node.name.removesuffix("_nchwc").removesuffix("_bn")  # a norm as a convolution
        if node.domain == NCHWC and stem in by_output:
            owner.setdefault(by_output[stem].name, place)
    for place, node in enumerate(nodes):
        if node.operator not in CONVERSIONS:
            for name in node.outputs:
                if name in by_output:
                    owner.setdefault(by_output[name].name, place)
    return owner


def _claim_between(
    operations: Sequence[Operation], nodes: Sequence[Node], owner: dict[str, int]
) -> None:
    """Give a node what nobody owns between its inputs and the operations it is known to do."""
    made_by = {name: one for one in operations for name in one.outputs}
    known: dict[int, list[Operation]] = {}
    for one in operations:
        if one.name in owner:
            known.setdefault(owner[one.name], []).append(one)
    for place, found in known.items():
        node = nodes[place]
        plain = node.operator.removeprefix("Fused").removeprefix("QLinear")
        if any(one.operator == plain for one in found):
            continue  # not a new operator: the rest was taken in from behind
        waiting = [name for one in found for name in one.inputs]
        while waiting:
            name = waiting.pop()
            before = made_by.get(name)
            if before is None or before.name in owner or name in node.inputs:
                continue
            owner[before.name] = place
            if node.domain == NCHWC and before.operator == plain:
                break  # the blocked layout's values have names of their own: this is the beginning
            waiting += before.inputs


def _served(place: int, nodes: Sequence[Node], covers: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Whom it serves: the reader, which wants its layout; the way out of a layout, the maker."""
    node = nodes[place]
    readers = [at for at, one in enumerate(nodes) if set(node.outputs) & set(one.inputs)]
    makers = [at for at, one in enumerate(nodes) if set(node.inputs) & set(one.outputs)]
    order = makers + readers if node.operator == "ReorderOutput" else readers + makers
    return next((tuple(covers[at][:1]) for at in order if covers[at]), ())
