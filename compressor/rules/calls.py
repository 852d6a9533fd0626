"""What a rule sees of one operator call, and what it may say about it.

Comes in: a node of the captured graph, the labels of its operands.  Goes out, written into a
``Record``: which constants must be rewritten when labelled dimensions shrink, where a norm or mean
runs over removable units, which parameters read and write, what the call costs.  Knows nothing of
groups, plans or tensors' values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx

from compressor.annotation import Sizes
from compressor.labels import FIXED, RESERVED, Labels, Matrix, Units
from compressor.rules.rewrites import Picked, Pinned, Rewrite
from compressor.types import Role

Dims = tuple[Labels, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor as the analysis knows it: sizes (at the batch hint) and labels per dimension."""

    node: fx.Node
    shape: tuple[int, ...]
    dims: Dims

    @property
    def stored(self) -> bool:
        """Whether it is a parameter or buffer, not something computed."""
        return self.node.op == "get_attr"

    def size_and_labels(self, dim: int) -> tuple[int, Labels]:
        return self.shape[dim], self.dims[dim]


Argument = Value | int | float | bool | str | None | Sequence["Argument"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is frozen."""

    node: str
    op: str
    where: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Work:
    """Multiply-accumulates of one call: the product of sizes over one sample."""

    where: str
    sizes: tuple[tuple[int, Labels], ...]


@dataclass(slots=True)
class Record:
    """Everything the rules said about a graph.

    ``parts`` are runs of rows cut out of a dimension, each with the reason why it may not become
    empty.  Given, not said: ``sizes``, the free ones among all, and ``tables``, the whole numbers
    stored in the graph, by name.
    """

    sizes: Sizes | None = None
    units: Units = field(default_factory=Units)
    reasons: list[Reason] = field(default_factory=list)
    rewrites: dict[str, dict[str, Rewrite]] = field(default_factory=dict)
    picks: dict[str, Picked] = field(default_factory=dict)
    parts: list[tuple[Matrix, int]] = field(default_factory=list)
    tables: dict[str, Matrix] = field(default_factory=dict)
    inexact: dict[str, list[Labels]] = field(default_factory=dict)
    contracted: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    roles: dict[tuple[str, int], Role] = field(default_factory=dict)
    work: list[Work] = field(default_factory=list)

    def reason(self, node: fx.Node, text: str) -> int:
        """The id that freezes by this reason; one id per node and text."""
        meta = node.meta
        entry = Reason(
            node=node.name,
            op=str(node.target),
            where=meta.get("where", ""),
            source=meta.get("source", ""),
            text=text,
        )
        if self.reasons and self.reasons[-1] == entry:
            return FIXED + len(self.reasons)
        if FIXED + len(self.reasons) + 1 < RESERVED:
            self.reasons.append(entry)
        return FIXED + len(self.reasons)

    def told(self, reason: int) -> Reason | None:
        """The reason behind an id; None for kernel, batch and space dimensions."""
        return self.reasons[reason - FIXED - 1] if reason > FIXED else None


class Call:
    """One operator call: its arguments bound by schema, and the statements a rule may make."""

    def __init__(self, node: fx.Node, arguments: Mapping[str, Argument], record: Record) -> None:
        self.node = node
        self.arguments = arguments
        self.record = record
        self.units = record.units
        shape = node.meta.get("shape")
        self.shape: tuple[int, ...] = shape if isinstance(shape, tuple) else ()

    # -- arguments ----------------------------------------------------------------------------

    def value(self, name: str) -> Value:
        value = self.arguments[name]
        if not isinstance(value, Value):
            raise UnsupportedCallError(f"{name} is not a tensor")
        return value

    def optional(self, name: str) -> Value | None:
        value = self.arguments.get(name)
        return value if isinstance(value, Value) else None

    def values(self, name: str) -> tuple[Value, ...]:
        entries = self.arguments[name]
        if not isinstance(entries, Sequence):
            raise UnsupportedCallError(f"{name} is not a list of tensors")
        return tuple(entry for entry in entries if isinstance(entry, Value))

    def integer(self, name: str) -> int:
        value = self.arguments[name]
        if not isinstance(value, int):
            raise UnsupportedCallError(f"{name} is not an integer")
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.arguments[name]
        if isinstance(value, int):
            return (value,)
        if not isinstance(value, Sequence) or not all(isinstance(v, int) for v in value):
            raise UnsupportedCallError(f"{name} is not a list of integers")
        return tuple(value)  # type: ignore[arg-type]

    def dim(self, name: str, value: Value) -> int:
        """A dimension argument, counted from the front."""
        return self.integer(name) % len(value.shape)

    @property
    def operands(self) -> tuple[Value, ...]:
        """All tensors among the arguments, lists flattened."""
        found: list[Value] = []
        for argument in self.arguments.values():
            if isinstance(argument, Value):
                found.append(argument)
            elif isinstance(argument, Sequence) and not isinstance(argument, str):
                found.extend(entry for entry in argument if isinstance(entry, Value))
        return tuple(found)

    def repeats(self, labels: Labels) -> bool:
        """Whether these rows repeat with a free size: channels x batch, places x length."""
        sizes = self.record.sizes
        return labels is not None and sizes is not None and sizes.repeats(self.units.find(labels))

    def is_free(self, size: int) -> bool:
        """Whether a size without labels holds a free one."""
        return self.record.sizes is not None and self.record.sizes.holds_free(size)

    def placed(self, value: Value, dim: int) -> Labels:
        """Labels of a dimension whose places this call counts.

        Where it holds a free size (channels x batch), the places are those of other rows at
        another size: all of them stay, and so do the numbers that count them.
        """
        labels = value.dims[dim]
        if not self.repeats(labels):
            return labels
        self.freeze(labels, "is cut at places that a free size moves")
        return None

    def live(self, labels: Labels) -> bool:
        """Whether some of these rows might still go."""
        return labels is not None and self.units.resolve(labels).size > 0

    # -- statements ---------------------------------------------------------------------------

    def reason(self, text: str) -> int:
        return self.record.reason(self.node, text)

    def unify(self, a: Labels, b: Labels, text: str = "is tied to a dimension that stays") -> None:
        """Units of a and b go together, row by row; freezes what cannot be made equal."""
        if a is not None or b is not None:
            self.units.unify(a, b, self.reason(text))

    def freeze(self, labels: Labels, text: str) -> None:
        if labels is not None:
            self.units.freeze(labels, self.reason(text))

    def fix(self, *dims: Labels) -> None:
        """Dimensions of a kernel or a table: always kept, nothing worth reporting."""
        for labels in dims:
            self.units.freeze(labels, FIXED)

    def fix_places(self, *dims: Labels) -> None:
        """Dimensions of space; units are there only where a network turns channels into places."""
        for labels in dims:
            self.freeze(labels, "is a position in space")

    def split(self, labels: Labels, sizes: Sequence[int]) -> tuple[Labels, ...]:
        if labels is None:
            return (None,) * len(sizes)
        return self.units.split(
            labels, sizes, self.reason("is split in a way labels cannot follow")
        )

    def reshape(self, value: Value, shape: Sequence[int]) -> Dims:
        reason = self.reason("is reshaped in a way labels cannot follow")
        return self.units.reshape(value.dims, value.shape, shape, reason)

    def rewrite(self, name: str, rewrite: Rewrite) -> None:
        """This argument changes when the labelled rows shrink."""
        self.record.rewrites.setdefault(self.node.name, {})[name] = rewrite

    def pin(self, name: str, value: float) -> None:
        """This argument's hidden default depends on a width; the teacher's value is kept."""
        self.rewrite(name, Pinned(value))

    def pick(self, dim: int, labels: Matrix, places: Matrix) -> Matrix:
        """These rows of a dimension are given out: their labels; the places follow the rows."""
        self.record.picks[self.node.name] = Picked(dim, labels, places)
        return self.cut_out(labels[places])

    def cut_out(self, labels: Matrix) -> Matrix:
        """Some rows of a dimension, given out by themselves: one of them must always stay."""
        self.record.parts.append((labels, self.reason("would lose all the rows that it gives out")))
        return labels

    def inexact(self, labels: Labels) -> None:
        """A norm, mean, maximum or softmax runs over these units: zeroing is not removing."""
        if labels is not None:
            self.record.inexact.setdefault(self.node.name, []).append(labels)

    def contract(self, name: str, dim: int) -> None:
        """This operand is summed over ``dim``: a mask zeroes removed units where it is read.

        An operand in a list is named by its place in it, "tensors.1".  Where the dimension holds a
        free size no mask of one size fits, so its units stay.
        """
        whole, _, entry = name.partition(".")
        value = self.values(whole)[int(entry)] if entry else self.value(whole)
        if self.repeats(value.dims[dim]):
            self.freeze(value.dims[dim], "is summed along a free size")
        self.record.contracted.setdefault(self.node.name, []).append((name, dim))

    def role(self, value: Value, dim: int, role: Role) -> None:
        if value.stored:
            self.record.roles[(str(value.node.target), dim)] = role

    def work(self, *sizes: tuple[int, Labels]) -> None:
        """Multiply-accumulates: the product of these sizes (the batch counts as one sample)."""
        self.record.work.append(Work(self.node.meta.get("where", ""), sizes))


class UnsupportedCallError(Exception):
    """A rule meets a form of its operator that it does not cover: everything touched freezes."""
