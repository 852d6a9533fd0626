"""Shrinking: a plan applied to the user's own ``nn.Module``, so that the student keeps its class.

Comes in: the original module, a ``Plan``, the ``Graph`` captured from that module.  Goes out: a
narrower copy whose tensors are those of the graph student, name by name, checked against it.  Knows
nothing of how a plan is made; where a class cannot hold it, it says which and why.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor.analysis import summarize
from compressor.attentions import UnholdableError, adjust
from compressor.equality import check_equal, nodes_by_module, titled
from compressor.errors import PlanError
from compressor.graphs import Graph, capture
from compressor.labelling import Labelling, label
from compressor.layers import KeptRows, cut_layer, resize
from compressor.removal import remove
from compressor.types import Plan

Kept = Mapping[str, KeptRows]  # tensor -> dimension -> rows that stay


def shrink(module: nn.Module, plan: Plan, graph: Graph | None = None) -> nn.Module:
    """A copy of ``module`` without the units that ``plan`` removes, of the same class.

    ``graph`` is ``capture(module, ...)``; without it the module is captured with inputs such as the
    plan names.  Mode, hooks, device and ties are the module's; nothing
    of it changes.  What the capture did not reach (auxiliary heads) stays as it was, as do sizes
    that ``forward`` does not read (a ``config``).  In float64 the copy gives what
    ``remove(graph, ...)`` gives to 1e-9, at batches of two and three.

    Raises PlanError where the plan or graph belongs to another network, and where the class cannot
    hold the result; the message names the module, the reason and the groups to keep whole.
    """
    graph = graph or _captured(module, plan)
    labelling = label(graph)
    analysis = summarize(graph, labelling)
    student = remove(_with_values_of(module, graph), analysis, plan)
    shrunk = copy.deepcopy(module)
    kept = _kept(shrunk, student)
    paths = {part: path for path, part in shrunk.named_modules()}
    nodes = nodes_by_module(student)
    refusals = [found for part, path in paths.items() for found in _adjust(part, path, kept)]
    refusals += _unread(student)
    try:
        if refusals:
            raise refusals[0]
        _cut(shrunk, kept)
        for part, path in paths.items():
            resize(part, nodes.get(path, ()))
        _check_tensors(shrunk, student)
        check_equal(shrunk, student)
    except UnholdableError as refusal:
        raise PlanError(_told(refusal, refusals or [refusal], graph, labelling)) from refusal
    return shrunk


def _captured(module: nn.Module, plan: Plan) -> Graph:
    """The module captured as the plan's network was; values of the inputs do not matter."""
    if not plan.inputs:
        raise PlanError(
            "the plan does not say what inputs its network takes; give shrink the graph"
        )
    # ones: whole numbers among the inputs may be masks, which must not hide everything
    given = {x.name: torch.ones(x.shape, dtype=getattr(torch, x.dtype)) for x in plan.inputs}
    free = {x.name: x.free for x in plan.inputs}
    return capture(module, (), given, architecture=type(module).__name__, free=free)


# -- tensors -----------------------------------------------------------------------------------


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    named: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    named.update(module.named_buffers(remove_duplicate=False))
    return named


def _with_values_of(module: nn.Module, graph: Graph) -> Graph:
    """The graph with the module's own tensors; what the capture made itself stays the graph's."""
    own = _tensors(module)
    device = next((tensor.device for tensor in own.values()), torch.device("cpu"))
    tensors = {}
    for name, tensor in graph.tensors.items():
        found = own.get(name)
        if found is None and isinstance(tensor, nn.Parameter):
            raise PlanError(
                f"the graph has a parameter {name} and {type(module).__name__} has not; "
                "capture the module that is to be shrunk"
            )
        if found is not None and found.shape != tensor.shape:
            raise PlanError(
                f"{name} is {tuple(tensor.shape)} in the graph and {tuple(found.shape)} in "
                f"{type(module).__name__}; capture the module that is to be shrunk"
            )
        tensors[name] = tensor.to(device) if found is None else found
    return graph.rebuild(copy.deepcopy(graph.program.graph), tensors)


def _place(tensor: Tensor) -> tuple[object, ...]:
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _kept(shrunk: nn.Module, student: Graph) -> dict[str, KeptRows]:
    """Rows that stay of every tensor of the module that is cut, tied ones under every name."""
    kept: dict[str, KeptRows] = {}
    for node in student.program.graph.find_nodes(op="get_attr"):
        if node.name in student.kept:
            kept[str(node.target)] = student.kept[node.name]
    own = _tensors(shrunk)
    places = {_place(own[name]): rows for name, rows in kept.items() if name in own}
    kept.update({n: places[_place(t)] for n, t in own.items() if t.numel() and _place(t) in places})
    return kept


def _local(kept: Kept, path: str) -> dict[str, KeptRows]:
    """Entries below a module, under their names in it."""
    prefix = f"{path}." if path else ""
    return {n.removeprefix(prefix): rows for n, rows in kept.items() if n.startswith(prefix)}


def _adjust(part: nn.Module, path: str, kept: Kept) -> Iterator[UnholdableError]:
    """Set the sizes of an attention module; yields why its class cannot hold them."""
    try:
        adjust(part, _local(kept, path))
    except UnholdableError as refusal:
        prefix = f"{path}." if path else ""
        places = tuple((f"{prefix}{name}", dim) for name, dim in refusal.places)
        yield UnholdableError(f"{titled(part, path)}: {refusal}", places, refusal.width)


def _cut(shrunk: nn.Module, kept: Kept) -> None:
    """Cut every tensor once; tied names hold one object again afterwards."""
    holders: dict[int, str] = {}
    ties: dict[str, str] = {}
    for name, tensor in _tensors(shrunk).items():
        if name in kept and holders.setdefault(id(tensor), name) != name:
            ties[name] = holders[id(tensor)]
    for path, part in list(shrunk.named_modules()):
        own = {n: rows for n, rows in _local(kept, path).items() if n in _own_names(part)}
        if own:
            cut_layer(part, own)
    for name, holder in ties.items():
        path, _, leaf = name.rpartition(".")
        setattr(shrunk.get_submodule(path), leaf, _tensors(shrunk)[holder])


def _own_names(part: nn.Module) -> set[str]:
    return part._parameters.keys() | part._buffers.keys()


def _unread(student: Graph) -> Iterator[UnholdableError]:
    """Parameters that no node reads (an auxiliary head) are cut without regard to each other."""
    tensors = student.tensors
    places = list(student.program.graph.find_nodes(op="get_attr"))
    read = {_place(tensors[str(node.target)]) for node in places if node.users}
    for node in places:
        tensor = tensors[str(node.target)]
        trained = isinstance(tensor, nn.Parameter)
        if trained and node.name in student.kept and _place(tensor) not in read:
            yield UnholdableError(
                f"nothing in the captured program reads {node.target}, so it cannot be cut to fit",
                tuple((str(node.target), dim) for dim in student.kept[node.name]),
            )


def _check_tensors(shrunk: nn.Module, student: Graph) -> None:
    own = _tensors(shrunk)
    for name, tensor in student.tensors.items():
        if name in own and not _same(own[name], tensor):
            raise UnholdableError(
                f"{name} ({tuple(own[name].shape)}) would not be that of the graph student "
                f"({tuple(tensor.shape)}): its layer cannot be cut so",
                tuple((name, dim) for dim in range(tensor.ndim)),
            )


def _same(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    return bool(((one == two) | ((one != one) & (two != two))).all())  # nan where nan is


# -- refusals ----------------------------------------------------------------------------------


def _told(
    first: UnholdableError,
    refusals: Sequence[UnholdableError],
    graph: Graph,
    labelling: Labelling,
) -> str:
    """The first refusal, how many more there are, and what to do about all of them."""
    groups = {group for refusal in refusals for group in _groups(refusal, labelling)}
    named = ", ".join(str(group) for group in sorted(groups))
    advice = f"keep groups {named} whole, or " if named else ""
    more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
    return f"{graph.architecture}: {first}{more}; {advice}take the graph student, which can hold it"


def _groups(refusal: UnholdableError, labelling: Labelling) -> Iterator[int]:
    """Groups whose units do not fit the class."""
    for item in labelling.stored:
        names = {item.name, *item.aliases}
        for dim in {dim for name, dim in refusal.places if name in names}:
            rows = labelling.rows(item.dims[dim])
            if rows is None:
                continue
            blocks = rows.reshape(-1, refusal.width or len(rows), rows.shape[1])
            inside = (blocks != blocks[:, :1]).any(axis=(0, 1))  # else a column of whole heads
            yield from set(labelling.group_of[rows[:, inside]].ravel().tolist()) - {-1}
