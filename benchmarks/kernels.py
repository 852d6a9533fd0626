"""What a runtime really ran: its kernels, and the nodes of the file that each of them computes.

Runtimes rewrite the graph they are given: a convolution takes in the addition and the activation
behind it, changes its layout or its type, and gets conversions before and after.  In come the
file's operations and the nodes of a runtime's own graph, in the order in which they run; out comes,
for each of these, the operations it stands for.  Knows nothing of times.

What ONNX Runtime does to files of lower precision (its sources: optimizer/qdq_transformer,
optimizer/insert_cast_transformer.cc, optimizer/nhwc_transformer.cc):

- int8: DequantizeLinear, Conv, QuantizeLinear become one QLinearConv of the convolution's name,
  channels last; likewise Gemm, MatMul, Add, pools.  An activation that the range of the integers
  does already is dropped.  What has no integer kernel keeps its conversions, each a kernel.  A
  DequantizeLinear with several readers is written once for each.
- float16: a node without a float16 kernel computes in float32 between Casts, those that cancel each
  other out removed; its values are called ``InsertedCast_`` and their old name.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from benchmarks import operations as files
from benchmarks.operations import Operation

NCHWC = "com.microsoft.nchwc"  # ONNX Runtime's layout in blocks of channels
# Of layout, and of type, as either runtime calls them.
LAYOUT = ("ReorderInput", "ReorderOutput", "Transpose", "Reorder")
TYPE = (*files.CONVERSIONS, "Convert", "FakeQuantize", "Quantize", "Dequantize")
CONVERSIONS = (*LAYOUT, *TYPE)
# Types of numbers, as either runtime calls them.
TYPES = {
    "float": "float32", "float16": "float16", "bfloat16": "bfloat16",
    "int8": "int8", "uint8": "int8",
    "f32": "float32", "f16": "float16", "bf16": "bfloat16",
    "i8": "int8", "u8": "int8",
}  # fmt: skip

_NEW_OPERATOR = re.compile(r"^(?:Fused|QLinear|Q(?=[A-Z]))|(?:IntegerToFloat|Integer)$")
_CAST_VALUE = re.compile(r"^(?:InsertedCast_|InsertedPrecisionFreeCast_)+")
_SECOND_OF_NAME = re.compile(r"_token_\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One step of the runtime and its time within one call.

    ``covers``: names of the operations it computes.  Where it only converts, the one it serves,
    then those conversions of the file that it is.
    ``implementation`` is told apart from others by its text alone.
    """

    name: str
    operator: str
    implementation: str  # "nchwc.Conv", "FusedConv", "brgconv_avx512_f32"
    covers: tuple[str, ...]
    converts: bool  # layout or type only
    seconds: float
    executed_macs: int | None = None  # with the padding that the kernel computes; None: unknown
    computes_in: str | None = None  # "float32", "int8"; None: unknown


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

    @property
    def plain(self) -> str:
        """The operator of the file that it is a form of: "QLinearConv" -> "Conv"."""
        return _NEW_OPERATOR.sub("", self.operator)


def assign(
    operations: Sequence[Operation], nodes: Sequence[Node]
) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """For each node of ONNX Runtime's graph: the operations it covers, and whether it only
    converts.

    A node stands for the operations that kept its name or its outputs' (ONNX Runtime calls the
    blocked form of what makes ``relu`` ``relu_nchwc``); for what lies between its inputs and these,
    where a new operator replaced several; and for what it took in from behind: among the nodes that
    make an operation's inputs, the last to run did it, since the others' results must be there.
    Nothing that multiplies is taken in so.  Operations on constants alone are folded when the file
    is loaded: nobody covers them.
    """
    owner = _named(operations, nodes)
    _claim_between(operations, nodes, owner)
    made_by = {name: one for one in operations for name in one.outputs}
    for one in operations:
        if one.name not in owner and one.macs == 0:
            makers = [made_by[name].name for name in one.inputs if name in made_by]
            places = [owner[name] for name in makers if name in owner]
            if places:
                owner[one.name] = max(places)
    covers: list[list[str]] = [[] for _ in nodes]
    for one in operations:
        if one.name in owner:
            covers[owner[one.name]].append(one.name)
    return settle(nodes, covers, {one.name for one in operations if one.converts})


def settle(
    nodes: Sequence[Node], covers: Sequence[Sequence[str]], conversions: AbstractSet[str]
) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """What each node covers in the end, and whether it only converts.

    ``covers``: the operations each is known to do; ``conversions``: those of the file that change
    the type alone.  A node that does nothing else is a conversion too, and stands with the one it
    serves, as does what a runtime put in.
    """
    work = [[name for name in found if name not in conversions] for found in covers]
    readers, makers = _neighbours(nodes)
    settled = []
    for place, (node, found) in enumerate(zip(nodes, covers, strict=True)):
        if work[place]:
            rest = [name for name in found if name in conversions]
            settled.append(((*work[place], *rest), False))
            continue
        order = (makers, readers) if node.operator == "ReorderOutput" else (readers, makers)
        told = dict.fromkeys((*_served(place, order, work), *found))
        settled.append((tuple(told), bool(found) or node.operator in CONVERSIONS))
    return tuple(settled)


def _named(operations: Sequence[Operation], nodes: Sequence[Node]) -> dict[str, int]:
    by_name = {one.name: one for one in operations}
    by_output = {name: one for one in operations for name in one.outputs}
    owner: dict[str, int] = {}
    for place, node in enumerate(nodes):
        if node.name in by_name:
            owner.setdefault(node.name, place)
    for place, node in enumerate(nodes):
        name = _SECOND_OF_NAME.sub("", node.name)  # put in the place of the first
        if name in by_name and by_name[name].operator == node.plain:
            owner.setdefault(name, place)
    for place, node in enumerate(nodes):
        stem = node.name.removesuffix("_nchwc").removesuffix("_bn")  # a norm as a convolution
        if node.domain == NCHWC and _value(stem) in by_output:
            owner.setdefault(by_output[_value(stem)].name, place)
    for place, node in enumerate(nodes):
        if node.operator not in CONVERSIONS:
            for name in map(_value, node.outputs):
                if name in by_output:
                    owner.setdefault(by_output[name].name, place)
    return owner


def _value(name: str) -> str:
    """What the file calls a value that ONNX Runtime now computes in another type."""
    return _CAST_VALUE.sub("", name)


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
        if any(one.operator in (node.operator, node.plain) for one in found):
            continue  # not a new operator: the rest was taken in from behind
        given = set(map(_value, node.inputs))
        waiting = [name for one in found for name in one.inputs]
        while waiting:
            name = waiting.pop()
            before = made_by.get(name)
            if before is None or before.name in owner or name in given:
                continue
            owner[before.name] = place
            if node.domain == NCHWC and before.operator == node.plain:
                break  # the blocked layout's values have names of their own: this is the beginning
            waiting += before.inputs


Links = Mapping[int, Sequence[int]]


def _neighbours(nodes: Sequence[Node]) -> tuple[Links, Links]:
    """Places of each node's readers, and of its makers."""
    made_at = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    readers: dict[int, list[int]] = {place: [] for place in range(len(nodes))}
    makers: dict[int, list[int]] = {place: [] for place in range(len(nodes))}
    for place, node in enumerate(nodes):
        for name in node.inputs:
            if name in made_at:
                readers[made_at[name]].append(place)
                makers[place].append(made_at[name])
    return readers, makers


def _served(place: int, order: Sequence[Links], work: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Whom it serves: the nearest reader that works, which wants its form, else the nearest maker;
    on the way out of a layout, the maker."""
    for links in order:
        seen, waiting = {place}, deque([place])
        while waiting:
            for at in links[waiting.popleft()]:
                if work[at]:
                    return (work[at][0],)
                if at not in seen:
                    seen.add(at)
                    waiting.append(at)
    return ()
