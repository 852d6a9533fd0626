"""A graph's tensors become ``student.safetensors``, under the names they have in the teacher.

Comes in: a graph.  Goes out: a file that holds tied tensors once and says which names share them.
Knows nothing of structure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from compressor.documents import parse_as
from compressor.errors import LoadError
from compressor.files import replacing
from compressor.saving import save_tensors


def write_weights(
    graph: nn.Module, path: Path, metadata: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    """Write every parameter and buffer, contiguous, on the CPU; returns the ties.

    A tie is a name that is not in the file -> the name that holds its tensor (also in the file's
    metadata, as JSON under ``ties``).  Raises SurroundingsError where the disk refuses.
    """
    kept: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    holders: dict[tuple[object, ...], str] = {}
    for name, tensor in sorted(_tensors(graph).items()):
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in holders:
            ties[name] = holders[place]
            continue
        holders[place] = name
        # A clone, so that views of one storage do not count as shared.
        kept[name] = tensor.detach().cpu().clone().contiguous()
    facts = {"format": "pt", **(metadata or {})}
    if ties:
        facts["ties"] = json.dumps(ties, sort_keys=True)
    with replacing(path) as file:
        save_tensors(kept, file, facts)
        _sort_header(file)
    return ties


def _tensors(graph: nn.Module) -> dict[str, Tensor]:
    named: dict[str, Tensor] = dict(graph.named_parameters(remove_duplicate=False))
    named.update(graph.named_buffers(remove_duplicate=False))
    return named


def _sort_header(file: Path) -> None:
    """Put the header's metadata in order: the library writes it in another one each time."""
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            stream.seek(8)
            stream.write(text.ljust(length))


def read_weights(path: Path, module: nn.Module) -> dict[str, Tensor]:
    """A student's tensors as ``module.load_state_dict(..., strict=True)`` wants them.

    ``module`` is the student as the user's own class (``compressor.shrink``).  Tied tensors come
    under every name; buffers that the class does not save (tables it computes) are left out.  What
    no node of the program reads (auxiliary heads) is not in the file.
    Raises LoadError where the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            ties = parse_as((file.metadata() or {}).get("ties", "{}").encode(), dict[str, str])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors |= {name: tensors[holder] for name, holder in ties.items()}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise LoadError(f"{path}: not the weights of a student, or damaged ({error})") from error
    tables = {name for name, _ in module.named_buffers()} - module.state_dict().keys()
    return {name: tensor for name, tensor in tensors.items() if name not in tables}
