"""An exported program becomes ``student.pt2``, which loads with torch alone.

Comes in: an ``ExportedProgram``.  Goes out: an archive with zeros for sample inputs, no path of
this machine, equal bytes for equal programs.  Knows nothing of ONNX.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.utils._pytree as pytree
from torch import Tensor
from torch.export import ExportedProgram

from compressor.errors import DefectError
from compressor.files import replacing
from compressor.graphs import without_content
from compressor.saving import save_program
from export.paths import find_absolute_paths, reduce_paths


def write_program(program: ExportedProgram, path: Path) -> None:
    """Save ``program``; it is as it was afterwards.

    Raises DefectError where an absolute path would be in the archive, SurroundingsError where the
    disk refuses.
    """
    with replacing(path) as place, _published(program):
        save_program(program, place)
        with zipfile.ZipFile(place) as archive:
            for name in archive.namelist():
                if not name.endswith(".json"):
                    continue
                found = find_absolute_paths(archive.read(name).decode().replace('\\"', '"'))
                if found:
                    raise DefectError(f"{path.name}: {name} holds the path {found[0]}")


@contextmanager
def _published(program: ExportedProgram) -> Iterator[None]:
    """Let the program carry only what may be published, for as long as it is being saved."""
    examples = program.example_inputs
    before = [(node, dict(node.meta)) for node in program.graph.nodes]
    try:
        program.example_inputs = pytree.tree_map_only(Tensor, without_content, examples)
        for node, meta in before:
            trace = meta.get("stack_trace")
            if trace:
                node.meta["stack_trace"] = reduce_paths(trace)
            # Where a node came from names graphs by their address in memory: other bytes each time.
            node.meta.pop("from_node", None)
        yield
    finally:
        program.example_inputs = examples
        for node, meta in before:
            node.meta.clear()
            node.meta.update(meta)
