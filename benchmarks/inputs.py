"""What a file says it takes, and random inputs that fit.

In comes an ONNX file, of ours or not; out come a Signature (plain values, so it can be told to
another process) and arrays.  Knows nothing of runtimes and of what a network means by its numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.outside import require_weights
from compressor.errors import LoadError, OptionError

if TYPE_CHECKING:
    import onnx

Dim = int | str  # a size, or the name of one
MOST_ELEMENTS = 1_000_000_000  # of all inputs of one call
SIZE = re.compile(r"[1-9][0-9]{0,17}")  # what fits into the 64 bits of a size
BATCH = "batch"  # what a size may be set to: `--size sequence_of_mask=batch`
KINDS = {"float16", "float32", "float64", "bool"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: its name, the name of its numpy dtype, its sizes."""

    name: str
    kind: str
    dims: tuple[Dim, ...]


Signature = tuple[Input, ...]


def read_signature(path: Path) -> Signature:
    """The inputs of an ONNX file that have no value of their own.

    A size without a name gets ``input.axis``.  Raises LoadError where the file is none, or takes
    what no array can hold (strings, sequences, bfloat16).
    """
    import onnx

    if not path.is_file():
        raise LoadError(f"{path}: no such ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
        check_texts(model)
    except Exception as problem:  # protobuf's error class differs between its implementations
        raise LoadError(f"{path}: this is no ONNX file") from problem
    own = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in own]
    if not model.graph.node or not model.graph.output:
        raise LoadError(f"{path}: this is no ONNX file, or an empty one")
    if not entries:
        raise LoadError(f"{path}: the network takes no input; export it again")
    require_weights(path, model)
    found = []
    for entry in entries:
        tensor = entry.type.tensor_type
        kind = _kind(path, entry)
        dims = tuple(
            int(dim.dim_value)
            if dim.HasField("dim_value")
            else dim.dim_param or f"{entry.name}.{axis}"
            for axis, dim in enumerate(tensor.shape.dim)
        )
        smallest = min((dim for dim in dims if isinstance(dim, int)), default=1)
        if smallest < 1:
            raise LoadError(
                f"{path}: input {entry.name!r} has a size of {smallest}; export it again"
            )
        found.append(Input(name=entry.name, kind=kind, dims=dims))
    return tuple(found)


def check_texts(model: onnx.ModelProto) -> None:
    """Names that are no UTF-8 come as bytes, and nothing is prepared for that.

    Raises ValueError.
    """
    graph = model.graph
    named = [one.name for one in (*graph.input, *graph.output, *graph.initializer)]
    for value in (*graph.input, *graph.output, *graph.value_info):
        named += [dim.dim_param for dim in value.type.tensor_type.shape.dim]
    for node in graph.node:
        named += [node.name, node.op_type, node.domain, *node.input, *node.output]
        named += [one.name for one in node.attribute]
    if not all(isinstance(name, str) for name in named):
        raise ValueError("a name in it is no text")


def _kind(path: Path, entry: object) -> str:
    from onnx import helper

    tensor = entry.type.tensor_type  # type: ignore[attr-defined]
    name = entry.name  # type: ignore[attr-defined]
    try:
        kind = str(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name)
    except KeyError:
        kind = "no tensor"
    if kind not in KINDS or not tensor.HasField("shape"):
        raise LoadError(
            f"{path}: input {name!r} is of a type ({kind}) or rank that random inputs cannot have"
        )
    return kind


def read_program_signature(path: Path) -> Signature:
    """The inputs of a ``.pt2`` program.  Raises LoadError as `compressor.archives.read_program`."""
    import torch

    from compressor.archives import read_program

    program, _ = read_program(path)
    names = set(program.graph_signature.user_inputs)
    found = []
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in names:
            continue
        value = node.meta.get("val")
        kind = str(getattr(value, "dtype", "no tensor")).removeprefix("torch.")
        if not isinstance(value, torch.Tensor) or kind not in KINDS:
            raise LoadError(f"{path}: input {node.name!r} is of a type ({kind}) nobody can make up")
        dims = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
        found.append(Input(name=node.name, kind=kind, dims=dims))
    return tuple(found)


def batch_name(signature: Signature) -> str | None:
    """The name of the batch: the first leading size that is no number."""
    names = [entry.dims[0] for entry in signature if entry.dims]
    return next((name for name in names if isinstance(name, str)), None)


def shapes(
    signature: Signature, batch: int, sizes: Mapping[str, int | str] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Every input's shape at a batch.  ``sizes`` gives names a number, or `BATCH`.

    Raises OptionError where a name has no size, or where the file's batch is fixed to another.
    """
    known = {**(sizes or {})}
    leading = batch_name(signature)
    if leading is not None:
        known.setdefault(leading, BATCH)
    fixed = [entry.dims[0] for entry in signature if entry.dims]
    if leading is None and fixed and fixed[0] != batch and fixed[0] != 1:
        raise OptionError(f"the file is made for batch {fixed[0]}, not {batch}")
    if leading is None and fixed and fixed[0] != batch:
        raise OptionError(f"the file is made for batch 1, not {batch}: its batch is no free size")

    def size(dim: Dim, entry: Input) -> int:
        value = known.get(dim) if isinstance(dim, str) else dim
        if value is None:
            raise OptionError(
                f"input {entry.name!r} has a free size {dim!r}: give it as --size {dim}=N"
            )
        return batch if value == BATCH else int(value)

    found = tuple(tuple(size(dim, entry) for dim in entry.dims) for entry in signature)
    elements = sum(math.prod(shape) for shape in found)
    if elements > MOST_ELEMENTS:
        raise OptionError(
            f"inputs of {4 * elements / 1e9:,.1f} GB at batch {batch}: "
            "give a smaller --batch or --size"
        )
    return found


def make_inputs(
    signature: Signature,
    batch: int,
    *,
    sizes: Mapping[str, int | str] | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Arrays by input name: floats standard normal, whole numbers and truth values 0 or 1.

    0 and 1 are rows of every table, tokens of every vocabulary and values of every mask.  Inputs of
    the same place, type and shape are the same numbers in every file.  Errors as `shapes`.
    """
    made = {}
    for place, (entry, shape) in enumerate(
        zip(signature, shapes(signature, batch, sizes), strict=True)
    ):
        generator = np.random.default_rng((seed, place))
        values: Any
        if entry.kind.startswith("float"):
            values = generator.standard_normal(shape, dtype=np.float32)
        else:
            values = generator.integers(0, 2, shape)
        made[entry.name] = np.asarray(values).astype(entry.kind)
    return made


def parse_sizes(options: Sequence[str]) -> dict[str, int | str]:
    """``("height=224", "mask_rows=batch")`` -> names and sizes.  Raises OptionError."""
    found: dict[str, int | str] = {}
    for option in options:
        name, equals, value = option.rpartition("=")
        if not equals or not name or not (value == BATCH or SIZE.fullmatch(value)):
            raise OptionError(f"--size {option}: give NAME=N, with N a number of 1 or more")
        found[name] = BATCH if value == BATCH else int(value)
    return found
