"""Annotation: torch's metadata of a graph is replaced by plain facts.

Comes in: the flattened ``fx.Graph`` of an exported program.  Goes out: ``Sizes``, and four facts in
every ``node.meta``:

    "shape"   sizes, free ones replaced by primes that divide no other size; a tuple of shapes for
              nodes with several results; an int for a size
    "where"   path of the module it came from
    "source"  "package/file.py:line"

and on inputs "free" (the dimensions that may vary) or, for an input that is no tensor, "constant".
Knows nothing of labels.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from torch import Tensor, fx

from compressor.errors import CaptureError

PRIMES = (13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103)
SMALL_PRIMES = (11, 7, 5, 3)  # for lengths that a table bounds
Ranges = Mapping[Any, Any]  # symbol -> torch's ValueRanges


_RECURRENT = (
    torch.ops.aten.lstm.input,
    torch.ops.aten.gru.input,
    torch.ops.aten.rnn_tanh.input,
    torch.ops.aten.rnn_relu.input,
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Free sizes and the primes that stand for them, in shapes and in labels.

    ``hints``: prime -> that size in one sample at the captured length (1 for the batch, which comes
    first).  ``symbolic``: every size that holds a free one, at the hints -> in one sample.
    """

    hints: Mapping[int, int]
    symbolic: Mapping[int, int] = field(repr=False)

    @property
    def batch(self) -> int:
        return next(iter(self.hints))

    def holds_free(self, size: int) -> bool:
        """Whether a size that is not labelled holds a free one as a factor."""
        return any(size % hint == 0 for hint in self.hints)

    def repeats(self, rows: NDArray[Any]) -> bool:
        """Whether rows (n, ...) repeat with a free size; a width may be a multiple of its prime."""
        return any(
            _is_repeated(rows, outer, hint)
            for hint in self.hints
            for outer in _divisors(len(rows), hint)
        )

    def in_one_sample(self, size: int) -> int:
        """A size that is not labelled, for one sample at the captured length."""
        if size in self.symbolic or not size:
            return self.symbolic.get(size, size)
        for hint, real in self.hints.items():
            if size % hint == 0:  # batch x heads, some of the heads gone
                size = size // hint * real
        return size


def repeated(rows: NDArray[Any], real: Mapping[int, int]) -> NDArray[np.intp]:
    """Which rows (n, ...) known at the hints make up the rows at the sizes ``real`` (by hint).

    Rows of a dimension that holds a free size as a factor (batch x heads) repeat with it.
    """
    index = np.arange(len(rows))
    for hint, size in real.items():
        found = rows[index]
        for outer in _divisors(len(index), hint):
            if _is_repeated(found, outer, hint):
                whole = index.reshape(outer, hint, -1)
                index = np.repeat(whole[:, :1], size, axis=1).ravel()
                break
    return index


def _is_repeated(rows: NDArray[Any], outer: int, hint: int) -> bool:
    grid = rows.reshape(outer, hint, -1)
    return bool((grid == grid[:, :1]).all())


def _divisors(count: int, hint: int) -> Iterator[int]:
    """Where a factor can stand in ``count``: the products of what is outside it."""
    if count % hint == 0:
        rest = count // hint
        yield from (outer for outer in range(1, rest + 1) if rest % outer == 0)


def annotate(
    graph: fx.Graph, examples: Sequence[Tensor], ranges: Ranges, name: str, cure: str
) -> tuple[Sizes, tuple[str, ...]]:
    """Replace the metadata of every node; returns the free sizes and notes on them.

    ``examples``: the tensors among the example inputs, in order; none: lengths count at the hint.
    ``cure``: what to do where the batch is fixed.
    Raises CaptureError where the batch is fixed, or no prime fits a free size.
    """
    values = _with_states({node: node.meta.get("val") for node in graph.nodes})
    inputs = [values[n] for n in graph.find_nodes(op="placeholder")]
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    batch, others = _free_symbols(tensors, values.values())
    if not batch:
        raise CaptureError(
            f"{name}: its batch size is fixed, so the result would run at one batch only; {cure}"
        )
    captured = _captured(tensors, examples)
    hints, symbolic = _choose(values.values(), batch, others, ranges, captured, name)
    notes = tuple(
        f"a size that depends on values counts as {hints[symbol]} in the cost"
        for symbol in others
        if symbol not in captured and examples
    )
    for node, value in values.items():
        node.meta = _facts(node, value, hints)
    real = {hints[batch[0]]: 1, **{hints[s]: captured.get(s, hints[s]) for s in others}}
    return Sizes(hints=real, symbolic=symbolic), notes


def _with_states(values: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """States that recurrent layers give have the shapes of those they take; torch 2.11 differs."""
    for node in [node for node in values if node.target in _RECURRENT]:
        given = node.args[1]
        taken = given if isinstance(given, list | tuple) else [given]
        output = values[node][0]
        values[node] = (output, *(values[s] for s in taken if isinstance(s, fx.Node)))
        for user in node.users:
            if user.target is operator.getitem:
                values[user] = values[node][int(user.args[1])]  # type: ignore[arg-type]
    return values


def _facts(node: fx.Node, value: Any, hints: Mapping[Any, int]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "shape": _plain(value, hints),
        "where": _module_path(node.meta),
        "source": source_line(node.meta.get("stack_trace") or ""),
    }
    if node.op == "placeholder" and isinstance(value, Tensor):
        facts["free"] = tuple(dim for dim, size in enumerate(value.shape) if is_free(size))
    elif node.op == "placeholder":
        facts["constant"] = value
    return facts


# -- free sizes ----------------------------------------------------------------------------------


def is_free(size: Any) -> bool:
    """Whether a size may vary; a symbol that export found to be one number may not."""
    return bool(_symbols(size))


def _symbols(size: Any) -> frozenset[Any]:
    if not isinstance(size, torch.SymInt):
        return frozenset()
    return frozenset(size.node.expr.free_symbols)


def _free_symbols(inputs: Sequence[Tensor], values: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Symbols of the batch (dimension 0 of inputs, nowhere else in them), and all others."""
    inner = {s for value in inputs for size in value.shape[1:] for s in _symbols(size)}
    outer = {s for value in inputs for size in value.shape[:1] for s in _symbols(size)}
    batch = outer - inner
    every = {s for value in values for size in _leaf_sizes(value) for s in _symbols(size)}
    return sorted(batch, key=str), sorted((inner | every) - batch, key=str)


def _leaf_sizes(value: Any) -> Iterator[Any]:
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield from leaf.shape
        elif isinstance(leaf, torch.SymInt):
            yield leaf


def _captured(inputs: Sequence[Tensor], examples: Sequence[Tensor]) -> dict[Any, int]:
    """Symbol -> its size in the example inputs."""
    found: dict[Any, int] = {}
    for value, example in zip(inputs, examples, strict=False):
        sizes: Iterable[Any] = value.shape
        for size, real in zip(sizes, example.shape, strict=True):
            symbols = _symbols(size)
            if len(symbols) == 1:
                (symbol,) = symbols
                expression = size.node.expr
                fits = (n for n in range(1, real + 1) if _at(expression, {symbol: n}) == real)
                found.setdefault(symbol, real if expression == symbol else next(fits, real))
    return found


def _at(expression: Any, numbers: Mapping[Any, int]) -> int:
    return int(expression.subs({s: numbers[s] for s in expression.free_symbols}))


def _choose(
    values: Iterable[Any],
    batch: Sequence[Any],
    others: Sequence[Any],
    ranges: Ranges,
    captured: Mapping[Any, int],
    name: str,
) -> tuple[dict[Any, int], dict[int, int]]:
    """A prime per symbol, and every free size at the primes -> in one sample.

    The primes are such that no free size equals a fixed one or a free one that differs, as far as
    the first few that come into question allow it.
    """
    sizes = [size for value in values for size in _leaf_sizes(value)]
    fixed = {int(size) for size in sizes if not is_free(size)}
    expressions = {size.node.expr for size in sizes if is_free(size)}
    sample = {symbol: captured.get(symbol) for symbol in others} | dict.fromkeys(batch, 1)
    owners = [list(batch), *([symbol] for symbol in others)]
    candidates = [_candidates(ranges, symbols, fixed, name) for symbols in owners]
    best: tuple[dict[Any, int], dict[int, int]] | None = None
    for chosen in itertools.product(*candidates):
        if len(set(chosen)) < len(chosen):
            continue
        hints = {s: prime for symbols, prime in zip(owners, chosen, strict=True) for s in symbols}
        numbers = {symbol: hints[symbol] if n is None else n for symbol, n in sample.items()}
        pairs = [(_at(e, hints), _at(e, numbers)) for e in expressions]
        symbolic = {size: size if size in fixed else real for size, real in pairs if size > 1}
        best = best or (hints, symbolic)
        if all(symbolic.get(size, real) == real for size, real in pairs):
            return hints, symbolic
    if best is None:
        raise CaptureError(f"{name}: {len(owners)} free sizes are more than can be told apart")
    return best


def _candidates(
    ranges: Ranges, symbols: Sequence[Any], fixed: Iterable[int], name: str
) -> list[int]:
    """Up to six primes that the symbols may be and that divide no fixed size."""
    known = [ranges[symbol] for symbol in symbols if symbol in ranges]
    found = [
        prime
        for prime in (*PRIMES, *SMALL_PRIMES)
        if all(bool(r.lower <= prime) and bool(prime <= r.upper) for r in known)
        and all(size % prime for size in fixed if size)
    ]
    if not found:
        raise CaptureError(
            f"{name}: no prime up to {PRIMES[-1]} that divides no other size can stand for the "
            f"free size {symbols[0]}; fix that size"
        )
    return found[:6]


def _plain(value: Any, hints: Mapping[Any, int]) -> Any:
    """Sizes as plain integers at the hints; several results always as a tuple."""
    if isinstance(value, Tensor):
        return tuple(_plain(size, hints) for size in value.shape)
    if isinstance(value, tuple | list):
        return tuple(_plain(entry, hints) for entry in value)
    if isinstance(value, torch.SymInt):
        return _at(value.node.expr, hints)
    return value if isinstance(value, int | float | bool) else None


# -- places --------------------------------------------------------------------------------------


def _module_path(meta: Mapping[str, Any]) -> str:
    stack = meta.get("nn_module_stack")
    if not stack:
        return ""
    path, _ = list(stack.values())[-1]
    return re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", str(path)).removeprefix("L.self.").strip(".")


_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def source_line(trace: str) -> str:
    """The innermost line of a stack trace outside torch, as ``package/file.py:line``."""
    frames = [(m["file"], m["line"]) for m in _FRAME.finditer(trace)]
    outside = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    if not outside:
        return ""
    file, line = outside[-1]
    parts = file.split("site-packages/")[-1] if "site-packages/" in file else file
    return f"{'/'.join(parts.split('/')[-4:] if parts != file else file.split('/')[-2:])}:{line}"
