"""Bundles: what is packed into one dimension and only ever picked apart.

Comes in: an annotated ``fx.Graph`` and its free sizes.  Goes out: the same graph, rewritten in
place, in which every part is cut from the rows it was packed into, before they are reshaped.  The
values are bit-identical: the parts are views of the same memory, or copies made at the same place.
So packed queries, keys and values stop sharing one shape, and each can have a width of its own.
Knows nothing of labels, of attention or of the tensors' values.
"""

from __future__ import annotations

import operator
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import fx

from compressor.carriers import RESHAPES, bound, carry, operand_shape, without

aten = torch.ops.aten

MOST_PARTS = 8  # query, key and value are 3, the modulations of a diffusion transformer 6


def take_bundles_apart(graph: fx.Graph, free: Container[int]) -> None:
    """Where rows are reshaped into (parts, rest) and the parts are then only picked one by one,
    cut the rows into the parts first and reshape each.

    Followed from the reshape to the picks: permutations, dimensions of size one, copies, and
    reshapes and slices that leave the parts' dimension alone.  Anything else that reads the bundle
    keeps it as it is.
    """
    changed = True
    while changed:
        changed = False
        for node in list(graph.nodes):
            bundle = _find_bundle(node, free)
            if bundle is not None:
                _dissolve(graph, bundle)
                changed = True


# -- finding -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """One node of the bundle's tree, and what stands in its place for each of ``positions``.

    ``target`` None: the part as it was in ``source``.  ``ends``: the node is one part and goes.
    """

    node: fx.Node
    source: fx.Node
    positions: tuple[int, ...]
    shape: tuple[int, ...]  # of one part
    target: Any = None
    args: tuple[Any, ...] = ()  # after the part
    ends: bool = False


@dataclass(frozen=True, slots=True)
class _Bundle:
    """``node`` reshapes rows of its operand into the dimensions ``dim`` (the parts) to ``end``.

    ``source_dim`` is the operand's dimension of just these rows, where there is one.
    """

    node: fx.Node
    dim: int
    end: int
    source_dim: int | None
    tree: _Tree


def _find_bundle(node: fx.Node, free: Container[int]) -> _Bundle | None:
    if node.target not in (*RESHAPES, aten.unflatten.int) or not _is_plain(node):
        return None
    shape = node.meta["shape"]
    for dim in range(len(shape) - 1):
        if not 2 <= shape[dim] <= MOST_PARTS:
            continue
        end = _end_of_block(node, dim)
        if end is None or any(size in free for size in shape[dim:end]):
            continue
        tree = _Tree(gone=[node])
        if tree.follow(node, dim, tuple(range(shape[dim]))):
            return _Bundle(node, dim, end, _source_dim(node, dim, end), tree)
    return None


def _is_plain(node: fx.Node) -> bool:
    """Whether the sizes before and after are known and no tensor is empty."""
    value = node.args[0]
    return isinstance(value, fx.Node) and all(
        isinstance(one.meta.get("shape"), tuple)
        and all(isinstance(size, int) and size > 0 for size in one.meta["shape"])
        for one in (node, value)
    )


def _tails(shape: tuple[int, ...]) -> list[int]:
    """Elements from each dimension on: the product of ``shape[dim:]``, 1 at the end."""
    return [prod(shape[dim:]) for dim in range(len(shape) + 1)]


def _end_of_block(node: fx.Node, dim: int) -> int | None:
    """Where the rows that ``dim`` counts end: the next border that the operand has as well.

    None where nothing lies between: each part would be a single row.
    """
    new, old = _tails(node.meta["shape"]), set(_tails(operand_shape(node)))
    end = next(end for end in range(dim + 1, len(new)) if new[end] in old)
    return end if new[dim + 1] > new[end] else None


def _source_dim(node: fx.Node, dim: int, end: int) -> int | None:
    shape = operand_shape(node)
    new, old = _tails(node.meta["shape"]), _tails(shape)
    wanted = new[dim] // new[end], new[end]
    return next((i for i, size in enumerate(shape) if (size, old[i + 1]) == wanted), None)


@dataclass(slots=True)
class _Tree:
    """What reads a bundle, followed from its reshape to where single parts are picked."""

    steps: list[_Step] = field(default_factory=list)
    gone: list[fx.Node] = field(default_factory=list)  # every node after the node that it reads

    def follow(self, node: fx.Node, dim: int, positions: tuple[int, ...]) -> bool:
        """False where ``node``, whose ``dim`` counts these positions, is read in another way."""
        return bool(node.users) and all(
            self._follow_reader(user, node, dim, positions) for user in node.users
        )

    def _follow_reader(
        self, user: fx.Node, node: fx.Node, dim: int, positions: tuple[int, ...]
    ) -> bool:
        if user.op != "call_function" or not user.args or user.args[0] is not node:
            return False
        self.gone.append(user)
        picks = _picks(user, dim, positions)
        if picks is not None:
            return all(self._follow_pick(pick, user, node, dim) for pick in picks)
        carried = carry(user, dim)
        if carried is None:
            return False
        shape = without(user.meta["shape"], carried.dim)
        step = _Step(user, node, positions, shape, carried.target, carried.args)
        self.steps.append(step)
        return self.follow(user, carried.dim, positions)

    def _follow_pick(self, pick: _Pick, user: fx.Node, node: fx.Node, dim: int) -> bool:
        taken, shape = pick.node, pick.node.meta["shape"]
        if taken is not user:
            self.gone.append(taken)
        if not pick.keeps_dim:
            self.steps.append(_Step(taken, node, pick.positions, shape, ends=True))
            return True
        if len(pick.positions) == 1:
            restore = aten.unsqueeze.default
            step = _Step(taken, node, pick.positions, shape, restore, (dim,), ends=True)
            self.steps.append(step)
            return True
        self.steps.append(_Step(taken, node, pick.positions, without(shape, dim)))
        return self.follow(taken, dim, pick.positions)


@dataclass(frozen=True, slots=True)
class _Pick:
    """``node`` is some of the positions; ``keeps_dim``: with the dimension that counts them."""

    node: fx.Node
    positions: tuple[int, ...]
    keeps_dim: bool


def _picks(user: fx.Node, dim: int, positions: tuple[int, ...]) -> tuple[_Pick, ...] | None:
    """What ``user`` picks along ``dim``; None where it does not pick along it at all."""
    arguments = bound(user)
    given = arguments.get("dim")
    if not isinstance(given, int) or given % len(operand_shape(user)) != dim:
        return None
    if user.target is aten.select.int and isinstance(arguments["index"], int):
        return (_Pick(user, (positions[arguments["index"]],), False),)
    if user.target is aten.slice.Tensor:
        bounds = [arguments[name] for name in ("start", "end", "step")]
        literal = not any(isinstance(bound, fx.Node) for bound in bounds)
        chosen = positions[slice(*bounds)] if literal else ()
        return (_Pick(user, chosen, True),) if chosen else None
    if any(getting.target is not operator.getitem for getting in user.users):
        return None
    if user.target is aten.unbind.int:
        return tuple(_Pick(getting, (positions[_place(getting)],), False) for getting in user.users)
    if user.target is aten.split_with_sizes.default:
        stops = [sum(arguments["split_sizes"][: n + 1]) for n in range(len(user.meta["shape"]))]
        starts = [0, *stops]
        return tuple(
            _Pick(getting, positions[starts[_place(getting)] : stops[_place(getting)]], True)
            for getting in user.users
        )
    return None


def _place(getting: fx.Node) -> int:
    place = getting.args[1]
    assert isinstance(place, int)
    return place


# -- rewriting ---------------------------------------------------------------------------------


def _dissolve(graph: fx.Graph, bundle: _Bundle) -> None:
    parts = _cut(graph, bundle)
    for step in bundle.tree.steps:
        for position in step.positions:
            part = parts[step.source, position]
            if step.target is not None:
                kwargs = step.node.kwargs if step.target is step.node.target else {}
                call = (step.target, (part, *step.args), kwargs)
                part = _new(graph, step.node, call, step.shape, f"part{position}")
            parts[step.node, position] = part
        if step.ends:
            step.node.replace_all_uses_with(parts[step.node, step.positions[0]])
    for node in reversed(bundle.tree.gone):
        graph.erase_node(node)
    _erase_unread(graph, parts.values())


def _erase_unread(graph: fx.Graph, parts: Iterable[fx.Node]) -> None:
    """Positions that nobody picks, with all that was made for them."""
    waiting = [part for part in dict.fromkeys(parts) if not part.users]
    while waiting:
        part = waiting.pop()
        sources = part.all_input_nodes[:1]
        graph.erase_node(part)
        waiting += [source for source in sources if not source.users]


_Call = tuple[Any, tuple[Any, ...], Mapping[str, Any]]


def _cut(graph: fx.Graph, bundle: _Bundle) -> dict[tuple[fx.Node, int], fx.Node]:
    """Every part, in the bundle's shape without the dimension that counts the parts."""
    node, dim, end = bundle.node, bundle.dim, bundle.end
    shape, source, place = node.meta["shape"], node.args[0], bundle.source_dim
    assert isinstance(source, fx.Node)
    count, rows = shape[dim], prod(shape[dim + 1 : end])
    if place is None:  # factors stand before the parts, as in (heads, parts, width)
        merged = (*shape[:dim], count * rows, *shape[end:])
        source = _new(graph, node, _merging(bundle, source, count * rows), merged, "rows")
        place = dim
    outer = source.meta["shape"]
    one = (*outer[:place], rows, *outer[place + 1 :])
    rest = without(shape, dim)
    found = {}
    for position in range(count):
        bounds = (place, position * rows, (position + 1) * rows)
        cut: _Call = (aten.slice.Tensor, (source, *bounds), {})
        part = _new(graph, node, cut, one, f"rows{position}")
        if one != rest:
            part = _new(graph, node, _shaping(bundle, part, place), rest, f"part{position}")
        found[node, position] = part
    return found


def _merging(bundle: _Bundle, source: fx.Node, rows: int) -> _Call:
    """The reshape whose rows are still to be cut into parts."""
    arguments, dim = bound(bundle.node), bundle.dim
    if bundle.node.target is aten.unflatten.int:
        outer = arguments["dim"] % len(source.meta["shape"])
        sizes = [*arguments["sizes"][: dim - outer], rows]
        return aten.unflatten.int, (source, outer, sizes), {}
    sizes = _sizes(bundle.node)
    return aten.reshape.default, (source, [*sizes[:dim], rows, *sizes[bundle.end :]]), {}


def _shaping(bundle: _Bundle, part: fx.Node, place: int) -> _Call:
    """The reshape that gives one part its shape."""
    if bundle.node.target is aten.unflatten.int:
        inner = bundle.node.meta["shape"][bundle.dim + 1 : bundle.end]
        return aten.unflatten.int, (part, place, list(inner)), {}
    return aten.reshape.default, (part, list(without(_sizes(bundle.node), bundle.dim))), {}


def _sizes(node: fx.Node) -> list[Any]:
    """Literal and symbolic sizes that a reshape is given."""
    sizes = node.args[1]
    assert isinstance(sizes, list | tuple)
    return list(sizes)


def _new(
    graph: fx.Graph, stands_for: fx.Node, call: _Call, shape: tuple[int, ...], suffix: str
) -> fx.Node:
    """A node at the place of another, with its module and source line."""
    name = f"{stands_for.name}_{suffix}"
    target, args, kwargs = call
    with graph.inserting_before(stands_for):
        node = graph.create_node("call_function", target, args, dict(kwargs), name=name)
    node.meta = dict(stands_for.meta) | {"shape": shape}
    return node
