"""What can be removed from a small network, found without labels: by closing and by trying.

Comes in: a ``Graph`` of the operators of ``tests.random_networks``, and a row of a parameter.  Goes
out: every smallest set of rows that can go with it.  A set is *closed* by carrying what is gone
through each node (data movement is found by running the operator on numbered elements) until
nothing more has to go; where that leaves part of a product of dimensions, every dimension is tried.
It is then *tried*: the masked and the sliced network run side by side (``tests.trials``).  Knows
nothing of labels, rules or plans.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compressor.graphs import Graph
from tests.trials import CONVOLUTIONS, SUMS, Mask, Trial, elements

aten = torch.ops.aten
Row = tuple[str, int, int]  # parameter, dimension, row
BATCH = 2
BRANCHES = 400

MOVES = (
    aten.view.default, aten.reshape.default, aten.permute.default, aten.transpose.int,
    aten.flatten.using_ints, aten.cat.default, aten.split_with_sizes.default, aten.pad.default,
    aten.slice.Tensor, aten.expand.default, aten.repeat.default, aten.flip.default,
)  # fmt: skip


class TooManyError(Exception):
    """More ways to complete a set than are tried."""


class _ImpossibleError(Exception):
    """Something that must stay would have to go."""


def everything(left: Mask) -> Mask:
    """All elements that must go still: one way for all of them."""
    return left


def one_element(left: Mask) -> Mask:
    """The first element: two elements may go in two ways, which takes many more branches."""
    chosen = np.zeros_like(left)
    chosen[tuple(np.argwhere(left)[0])] = True
    return chosen


@dataclass(slots=True)
class State:
    """Node -> for each dimension, which rows are gone; and how many elements find a way at once."""

    gone: dict[str, list[Mask]]
    choose: Callable[[Mask], Mask] = everything

    @property
    def key(self) -> bytes:
        """Equal for equal states: two orders of choices may meet."""
        return b"".join(rows.tobytes() for gone in self.gone.values() for rows in gone)

    def copy(self) -> State:
        gone = {n: [g.copy() for g in gone] for n, gone in self.gone.items()}
        return State(gone, self.choose)


class Oracle:
    """One network; ``smallest`` answers for one row."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = [n for n in graph.program.graph.nodes if n.op != "output"]
        self.outputs = next(iter(graph.program.graph.find_nodes(op="output"))).all_input_nodes
        self.tensors = {name: t.detach().double() for name, t in graph.tensors.items()}
        generator = torch.Generator().manual_seed(0)
        shape = (BATCH, *graph.example_inputs[0].shape[1:])
        self.inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.values = self._run()
        self.moves = {n.name: self._numbered(n) for n in self.nodes if n.target in MOVES}
        self.fixed = self._fixed()

    # -- the network as it is ------------------------------------------------------------------

    def _run(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for node in self.nodes:
            values[node.name] = self._step(node, values)
        return values

    def _step(self, node: fx.Node, values: Mapping[str, Any]) -> Any:
        if node.op == "placeholder":
            return self.inputs
        if node.op == "get_attr":
            return self.tensors[str(node.target)]
        return node.target(*fx.map_arg(node.args, lambda used: values[used.name]))  # type: ignore[operator]

    def _numbered(self, node: fx.Node) -> tuple[Any, list[tuple[str, NDArray[np.int64]]]]:
        """The result on numbered elements (0: filled in), and every operand's numbers."""
        numbers: dict[str, Tensor] = {}
        start = 1
        for used in node.all_input_nodes:
            shape = self.values[used.name].shape
            count = int(np.prod(shape))
            numbers[used.name] = torch.arange(start, start + count).reshape(shape)
            start += count
        moved = node.target(*fx.map_arg(node.args, lambda used: numbers[used.name]))  # type: ignore[operator]
        several = isinstance(moved, list | tuple)
        result = [m.numpy() for m in moved] if several else moved.numpy()
        return result, [(name, n.numpy()) for name, n in numbers.items()]

    def _fixed(self) -> set[tuple[str, int]]:
        """The batch, space around and inside kernels, the input and the output stay."""
        fixed: set[tuple[str, int]] = set()
        for node in self.nodes:
            value = self.values[node.name]
            if isinstance(value, Tensor) and node.op != "get_attr":
                fixed.add((node.name, 0))
            if node.op == "placeholder" or node in self.outputs:
                fixed.update((node.name, dim) for dim in range(value.ndim))
            if node.target in CONVOLUTIONS:
                for used in (node, node.args[0], node.args[1]):
                    fixed.update((used.name, dim) for dim in (2, 3))  # type: ignore[union-attr]
        return fixed

    # -- closing -------------------------------------------------------------------------------

    def smallest(self, row: Row) -> list[frozenset[Row]]:
        """Every smallest set of rows of parameters that holds ``row`` and can be removed.

        Raises TooManyError where completing it branches too often.
        """
        name = next(n.name for n in self.nodes if n.op == "get_attr" and n.target == row[0])
        state = self._nothing()
        state.gone[name][row[1]][row[2]] = True
        found: dict[frozenset[Row], State] = {}
        for closed in self._closed(state):
            found.setdefault(self._rows(closed), closed)
        minimal = [rows for rows in found if not any(other < rows for other in found)]
        return [rows for rows in minimal if self._tried(found[rows])]

    def closure(self, rows: frozenset[Row]) -> bool:
        """Whether exactly these rows can be removed: a branch that takes others is given up."""
        state = self._nothing(one_element)
        for parameter, dim, place in rows:
            for node in self.nodes:
                if node.op == "get_attr" and node.target == parameter:
                    state.gone[node.name][dim][place] = True
        closed = self._closed(state, within=rows)
        return any(self._rows(s) == rows and self._tried(s) for s in closed)

    def _tried(self, state: State) -> bool:
        return Trial(self.nodes, self._step, state.gone).agree()

    def _nothing(self, choose: Callable[[Mask], Mask] = everything) -> State:
        gone = {}
        for name, value in self.values.items():
            if isinstance(value, Tensor):
                gone[name] = [np.zeros(size, dtype=np.bool_) for size in value.shape]
        return State(gone, choose)

    def _rows(self, state: State) -> frozenset[Row]:
        return frozenset(
            (str(node.target), dim, int(place))
            for node in self.nodes
            if node.op == "get_attr"
            for dim, gone in enumerate(state.gone[node.name])
            for place in np.flatnonzero(gone)
        )

    def _closed(self, state: State, within: frozenset[Row] | None = None) -> Iterator[State]:
        waiting, tried = [state], 0
        seen: set[bytes] = set()
        while waiting:
            tried += 1
            if tried > (BRANCHES if within is None else 10 * BRANCHES):
                raise TooManyError
            state = waiting.pop()
            if within is not None and not self._rows(state) <= within:
                continue
            if state.key in seen:
                continue
            seen.add(state.key)
            try:
                others = self._settle(state)
            except _ImpossibleError:
                continue
            if others is None:
                yield state
            else:
                waiting.extend(others)

    def _settle(self, state: State) -> list[State] | None:
        """Carry on until nothing changes (None), or until there are several ways to go on."""
        changed = True
        while changed:
            changed = False
            before = sum(int(rows.sum()) for gone in state.gone.values() for rows in gone)
            for node in self.nodes:
                others = self._carry(node, state)
                if others is not None:
                    return others
            self._check(state)
            changed = before < sum(int(r.sum()) for gone in state.gone.values() for r in gone)
        return None

    def _check(self, state: State) -> None:
        for name, gone in state.gone.items():
            for dim, rows in enumerate(gone):
                if rows.any() and ((name, dim) in self.fixed or rows.all()):
                    raise _ImpossibleError

    def _carry(self, node: fx.Node, state: State) -> list[State] | None:
        target, gone = node.target, state.gone
        if node.op != "call_function" or target is operator.getitem:
            return None
        if target in MOVES:
            return self._carry_moved(node, state)
        if target in CONVOLUTIONS:
            return self._carry_convolved(node, state)
        names = [used.name for used in node.args if isinstance(used, fx.Node)]
        if target is aten.linear.default:
            x, weight = names[0], names[1]
            _tie(gone[x][-1], gone[weight][1])
            _tie(gone[node.name][-1], gone[weight][0])
            for dim in range(len(gone[x]) - 1):
                _tie(gone[x][dim], gone[node.name][dim])
        elif target is aten.matmul.default:
            left, right, result = (gone[n] for n in (*names, node.name))
            _tie(left[-1], right[-2])
            _tie(left[-2], result[-2])
            _tie(right[-1], result[-1])
            for dim in range(len(result) - 2):
                _tie(left[dim], right[dim], result[dim])
        elif target is aten.batch_norm.default:
            _tie(*(gone[n][0] for n in names[1:]), gone[names[0]][1], gone[node.name][1])
            for dim in (0, 2, 3):
                _tie(gone[names[0]][dim], gone[node.name][dim])
        elif target in SUMS:
            summed = {dim % len(gone[names[0]]) for dim in node.args[1]}  # type: ignore[union-attr]
            rest = [g for d, g in enumerate(gone[names[0]]) if d not in summed]
            keeps = len(gone[node.name]) == len(gone[names[0]])
            own = [g for d, g in enumerate(gone[node.name]) if not (keeps and d in summed)]
            for a, b in zip(rest, own, strict=True):
                _tie(a, b)
        else:  # elementwise
            result = gone[node.name]
            for dim in range(1, len(result) + 1):
                meeting = [gone[n][-dim] for n in names if len(gone[n]) >= dim]
                _tie(*(g for g in (*meeting, result[-dim]) if len(g) == len(result[-dim])))
        return None

    def _carry_moved(self, node: fx.Node, state: State) -> list[State] | None:
        numbered, operands = self.moves[node.name]
        results = [(node.name, numbered)]
        if isinstance(numbered, list):
            results = [
                (user.name, numbered[user.args[1]])  # type: ignore[index]
                for user in node.users
                if user.target is operator.getitem
            ]
        count = max(int(numbers.max()) for _, numbers in operands) + 1
        lost = np.zeros(count, dtype=np.bool_)
        for name, numbers in operands:
            lost[numbers[elements(state.gone[name])]] = True
        for name, numbers in results:
            others = self._complete(state, name, lost[numbers])
            if others is not None:
                return others
        wanted = np.zeros(count, dtype=np.bool_)
        stays = np.zeros(count, dtype=np.bool_)
        for name, numbers in results:
            away = elements(state.gone[name])
            wanted[numbers[away]] = True
            stays[numbers[~away]] = True
        if node.target is aten.expand.default:  # a copy less is no element less
            wanted &= ~stays
        for name, numbers in operands:
            others = self._complete(state, name, wanted[numbers])
            if others is not None:
                return others
        return None

    def _complete(self, state: State, name: str, wanted: Mask) -> list[State] | None:
        """Rows of the dimensions until all wanted elements are gone; several ways: each of them."""
        gone = state.gone[name]
        wanted = wanted | elements(gone)
        for dim, rows in enumerate(gone):
            rows |= wanted.all(axis=tuple(d for d in range(wanted.ndim) if d != dim))
        left = wanted & ~elements(gone)
        if not left.any():
            return None
        others = []
        left = state.choose(left)
        for dim in range(wanted.ndim):
            if (name, dim) not in self.fixed:
                other = state.copy()
                other.gone[name][dim] |= left.any(
                    axis=tuple(d for d in range(left.ndim) if d != dim)
                )
                others.append(other)
        if not others:
            raise _ImpossibleError
        return others

    def _carry_convolved(self, node: fx.Node, state: State) -> list[State] | None:
        """Channels are (group, place in group) on both sides: groups are shared."""
        x, weight, bias = node.args[:3]
        plain = node.target is aten.conv2d.default
        groups = int(node.args[6])  # type: ignore[arg-type]
        gone, names = state.gone, (x.name, weight.name)  # type: ignore[union-attr]
        entering, written = gone[names[0]][1], gone[node.name][1]
        _tie(gone[names[0]][0], gone[node.name][0])
        if plain:
            _tie(written, gone[names[1]][0], *_of(gone, bias))
        else:
            _tie(entering, gone[names[1]][0])
            _tie(written, *_of(gone, bias))
        inner = gone[names[1]][1]
        if groups == 1:
            _tie(inner, entering if plain else written)
            return None
        sides = [entering.reshape(groups, -1), written.reshape(groups, -1)]
        whole = sides[0].all(axis=1) | sides[1].all(axis=1)
        for side in sides:
            side[whole] = True
        tied = 0 if plain else 1  # the side whose place in the group is the weight's
        sides[tied][:, inner] = True
        others: list[State] = []
        for number, side in enumerate(sides):
            left = side & ~side.all(axis=1)[:, None] & ~side.all(axis=0)[None, :]
            if not left.any():
                continue
            left = state.choose(left)
            for axis in (0, 1):
                if axis == 1 and side.shape[1] == 1:
                    continue
                other = state.copy()
                name = (names[0], node.name)[number]
                grid = other.gone[name][1].reshape(groups, -1)
                if axis == 0:
                    grid[left.any(axis=1)] = True
                else:
                    grid[:, left.any(axis=0)] = True
                others.append(other)
            return others
        inner |= sides[tied].all(axis=0)
        return None


def _of(gone: Mapping[str, list[Mask]], node: Any) -> list[Mask]:
    return [gone[node.name][0]] if isinstance(node, fx.Node) else []


def _tie(*rows: Mask) -> None:
    """What is gone of one is gone of all; a size of one is a broadcast and is left alone."""
    every = np.logical_or.reduce(rows)
    for own in rows:
        own |= every
