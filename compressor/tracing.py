"""Tracing: torch.export is called, with the sizes free that a network's user varies.

Comes in: an ``nn.Module``, example inputs.  Goes out: an ``ExportedProgram``, and notes on what the
network made of the wishes.  Free are dimension 0 of every input, and the sequence length: dimension
1 of whole-number inputs of rank 2 (tokens, masks), and wherever that length comes back in other
whole-number inputs or in dimension 1 of vectors over the same sequence.  Images keep their size.
Knows nothing of graphs or labels.
"""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from compressor.annotation import is_free
from compressor.errors import CaptureError

Free = Mapping[str, Sequence[int]]


def trace(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    name: str,
    free: Free | None = None,
) -> tuple[ExportedProgram, tuple[str, ...]]:
    """The eval-mode network as a program, and what has to be said about it.

    ``free``: argument name -> dimensions that may vary, in place of the rule above for these.
    Where torch.export cannot leave the length free it is fixed, and a note says so.  Raises
    CaptureError where torch.export cannot follow the network.
    """
    keywords = dict(kwargs)
    bound = _bound(module, args, keywords, name)
    wanted = _free_dimensions(bound, free or {})
    was_training = module.training
    module.eval()
    try:
        with _without_caches(module) as switched:
            program, fixed = _export_as_free_as_possible(module, args, keywords, wanted, name)
    finally:
        module.train(was_training)
    notes = ["the cache of keys and values is switched off (use_cache)"] if switched else []
    return program, (*notes, *(fixed or _fixed_by_the_network(program, wanted)))


def _bound(
    module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], name: str
) -> dict[str, Any]:
    """The inputs by their names.  Raises CaptureError where the network takes others."""
    signature = inspect.signature(module.forward)
    try:
        return dict(signature.bind(*args, **keywords).arguments)
    except TypeError as error:
        names = list(signature.parameters)
        inputs = f"{len(names)} input{'' if len(names) == 1 else 's'} ({', '.join(names)})"
        raise CaptureError(
            f"{name} takes {inputs}: {error}; give a .pt2 program, or all of them as "
            "example_inputs to load() in Python"
        ) from error


def export_quietly(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: Any
) -> ExportedProgram:
    """torch.export without what it says about its own doings."""
    with warnings.catch_warnings(), _unlogged(), redirect_stderr(io.StringIO()):
        # recurrent modules keep a list of their own weights, which export mistakes for state
        warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
        return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Of a network that it cannot follow torch logs and prints dozens of lines; its error says what
    has to be known."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _export_as_free_as_possible(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: Any, name: str
) -> tuple[ExportedProgram, list[str]]:
    try:
        return export_quietly(module, args, kwargs, _spec(wanted)), []
    except Exception as first:
        batch_only = pytree.tree_map_only(_Dimensions, _Dimensions.batch, wanted)
        if batch_only == wanted:
            raise _refusal(name, first) from first
        try:
            program = export_quietly(module, args, kwargs, _spec(batch_only))
        except Exception as error:
            raise _refusal(name, error) from error
        return program, [f"the sequence length is fixed, as torch.export reports: {_line(first)}"]


def _fixed_by_the_network(program: ExportedProgram, wanted: Mapping[str, Any]) -> list[str]:
    """Sizes that were let free and yet came back as one number."""
    return [
        f"{node.name}: dimension {dim} is fixed at {node.meta['val'].shape[dim]} by the network"
        for node in program.graph.find_nodes(op="placeholder")
        if isinstance(wanted.get(node.name), _Dimensions)
        for dim in wanted[node.name]
        if not is_free(node.meta["val"].shape[dim])
    ]


# -- which dimensions are free -------------------------------------------------------------------


class _Dimensions(tuple[int, ...]):
    """The free dimensions of one tensor: a leaf of the tree of inputs."""

    __slots__ = ()

    def batch(self) -> _Dimensions:
        return _Dimensions(dim for dim in self if dim == 0)


def _free_dimensions(bound: Mapping[str, Any], named: Free) -> dict[str, Any]:
    """The tree of inputs with ``_Dimensions`` for tensors and None for the rest."""
    unknown = named.keys() - bound.keys()
    if unknown:
        raise CaptureError(
            f"there is no input {sorted(unknown)[0]!r} to free; the inputs are {', '.join(bound)}"
        )
    leaves = [leaf for leaf in pytree.tree_leaves(dict(bound)) if isinstance(leaf, Tensor)]
    lengths = {
        leaf.shape[1]
        for leaf in leaves
        if leaf.ndim == 2 and not leaf.is_floating_point() and leaf.shape[1] > 1
    }

    def dimensions(name: str, leaf: Any) -> _Dimensions | None:
        if not isinstance(leaf, Tensor):
            return None
        if name in named:
            return _Dimensions(dim % leaf.ndim for dim in named[name])
        return _Dimensions(d for d in range(leaf.ndim) if d == 0 or _is_length(leaf, d, lengths))

    return {
        name: pytree.tree_map(lambda leaf, name=name: dimensions(name, leaf), value)
        for name, value in bound.items()
    }


def _is_length(leaf: Tensor, dim: int, lengths: set[int]) -> bool:
    whole_numbers = not leaf.is_floating_point()
    return leaf.shape[dim] in lengths and (whole_numbers or (leaf.ndim == 3 and dim == 1))


def _spec(wanted: Any) -> Any:
    def spec(dims: _Dimensions) -> dict[int, Any] | None:
        return dict.fromkeys(dims, Dim.AUTO) or None

    return pytree.tree_map_only(_Dimensions, spec, wanted)


# -- settings and refusals -----------------------------------------------------------------------


@contextmanager
def _without_caches(module: nn.Module) -> Iterator[bool]:
    """Networks that can keep keys and values between words are told not to; restored afterwards."""
    settings: list[Any] = [getattr(part, "config", None) for part in module.modules()]
    found = {id(config): config for config in settings}.values()
    switched = [config for config in found if getattr(config, "use_cache", None) is True]
    try:
        for config in switched:
            config.use_cache = False
        yield bool(switched)
    finally:
        for config in switched:
            config.use_cache = True


def _refusal(name: str, error: Exception) -> CaptureError:
    return CaptureError(f"torch.export cannot capture {name}: {_line(error)}{_advice(error)}")


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".;:")


def _advice(error: Exception) -> str:
    """What to do about the refusals that are met most."""
    chain: BaseException | None = error
    text = ""
    while chain is not None:
        if isinstance(chain, GuardOnDataDependentSymNode):
            return (
                "; the network branches on the values of its inputs: write the branch with "
                "torch.where, or capture the part that has none"
            )
        text += str(chain)
        chain = chain.__cause__ or chain.__context__
    if "pytree" in text:
        return "; let the network take and return tensors in tuples, lists or dicts"
    return ""
