"""Reading ``.pt2`` archives (exported programs) without running anything they carry.

Comes in: a file.  Goes out: a ``torch.export.ExportedProgram``, or a ``LoadError``.  Knows nothing
of graphs, plans or data.

torch's own loader may unpickle constants, weights, custom objects and sample inputs, loads compiled
libraries, and runs parts of the program's text as Python.  So entries are taken by an allow-list:
stored ones only, known names only, no pickles beyond plain tensors, and a text that says no more
than programs need (``vetting``).  torch is then given an archive written anew from what was
checked, not the file: two readers of one zip file need not see the same entries in it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from compressor.documents import parse
from compressor.errors import LoadError
from compressor.unpacking import DAMAGED_ZIP, allowance, check_unpacked
from compressor.vetting import OPERATOR, find_fault, is_arithmetic, path_fault, trimmed

__all__ = ["Archive", "is_archive", "is_arithmetic", "read_program", "scan"]

SAMPLE_INPUTS = "data/sample_inputs/model.pt"
MODEL = "models/model.json"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
KNOWN_NAME = re.compile(
    r"archive_format|archive_version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/(version|serialization_id)|data/weights/weight_\d+|data/constants/tensor_\d+"
    rf"|{'|'.join(re.escape(name) for name in (SAMPLE_INPUTS, MODEL, *CONFIGS))}"
    r"|extra/[\w.-]+"
)
PAYLOAD_NAME = re.compile(r"(weight|tensor)_\d+")
ROOT = re.compile(r"[^/\\:\x00]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A checked archive, written anew, and the small texts that were put beside the program."""

    content: bytes
    extras: Mapping[str, str]


def is_archive(path: Path) -> bool:
    """Whether the file is an exported program, whatever its name says."""
    if path.suffix == ".pt2":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/archive_format") for name in archive.namelist())
    except DAMAGED_ZIP:
        return False  # whoever reads it as something else will say what is wrong


def read_program(path: Path) -> tuple[ExportedProgram, Mapping[str, str]]:
    """Scan the file, then load it.  Returns the program and the archive's extra texts.

    Raises LoadError for anything that could run code, and for a damaged archive.
    """
    archive = scan(path)
    # The archive reader itself: torch.export.load would fall back to a format that unpickles.
    from torch.export.pt2_archive._package import load_pt2

    try:
        contents = load_pt2(io.BytesIO(archive.content))  # type: ignore[arg-type,unused-ignore]
        program = contents.exported_programs["model"]
    except Exception as error:  # torch raises anything from KeyError to SerializeError here
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise LoadError(
            f"{path}: torch {torch.__version__} cannot load this exported program ({reason}); "
            "export it again with torch.export.save"
        ) from error
    # Guards are source text that ExportedProgram.module() would execute; nothing here needs them.
    program._guards_code = []
    _check_calls(path, program)
    return program, archive.extras


def scan(path: Path) -> Archive:
    """Read the file and refuse what torch's loader would unpickle, import or run."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _names(path, archive)
            small = {
                inner: archive.read(name)
                for inner, name in names.items()
                if not PAYLOAD_NAME.fullmatch(inner.rpartition("/")[2])
            }
            sizes = {inner: archive.getinfo(name).file_size for inner, name in names.items()}
            _check_configs(path, small, sizes)
            small[MODEL] = _checked_model(path, small)
            small[SAMPLE_INPUTS] = _checked_sample_inputs(path, small[SAMPLE_INPUTS])
            content = _written_anew(archive, names, small)
    except DAMAGED_ZIP as error:
        raise LoadError(
            f"{path}: not a .pt2 archive, or a truncated one ({_first_line(error)}); copy it or "
            "export it again"
        ) from error
    extras = {
        name.removeprefix("extra/"): _text(path, name, data)
        for name, data in small.items()
        if name.startswith("extra/")
    }
    return Archive(content=content, extras=extras)


def _refuse(path: Path, what: str) -> LoadError:
    return LoadError(
        f"{path}: refused, {what}; save the program with torch.export.save from plain tensors, "
        "or give a state dict"
    )


def _names(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Every entry's name without the root folder -> its name in the archive."""
    infos = archive.infolist()
    if not infos:
        raise _refuse(path, "the archive is empty")
    packed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise _refuse(path, f"entry {packed[0]!r} is compressed")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise _refuse(path, "its entries are larger than the file, or lie on top of each other")
    root = infos[0].filename.split("/")[0]
    names: dict[str, str] = {}
    repeated = Counter(info.filename.lower() for info in infos)
    for info in infos:
        name = info.filename
        parts = name.split("/")
        outside = not {"", ".", ".."}.isdisjoint(parts) or parts[0] != root
        if outside or not all(ROOT.fullmatch(part) for part in parts):
            raise _refuse(path, f"entry {name!r} points outside the archive's own folder")
        inner = "/".join(parts[1:])
        if "custom_obj" in inner or "opaque_obj" in inner:
            raise _refuse(path, f"entry {name!r} is a custom object, which is pickled")
        if inner in ("data/weights/model.pt", "data/constants/model.pt"):
            raise _refuse(path, f"entry {name!r} holds pickled weights or constants")
        if KNOWN_NAME.fullmatch(inner) is None:
            raise _refuse(path, f"entry {name!r} is not part of a plain exported program")
        if repeated[name.lower()] > 1:
            raise _refuse(path, f"entry {name!r} is there twice")
        names[inner] = name
    for needed in (MODEL, *CONFIGS, SAMPLE_INPUTS):
        if needed not in names:
            raise _refuse(path, f"entry {needed!r} is missing")
    return names


def _written_anew(
    archive: zipfile.ZipFile, names: Mapping[str, str], small: Mapping[str, bytes]
) -> bytes:
    """The same entries as another archive; those of ``small`` as they stand there."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as written:
        for inner, name in names.items():
            data = small[inner] if inner in small else archive.read(name)
            written.writestr(zipfile.ZipInfo(f"program/{inner}"), data)
    return stream.getvalue()


def _json(path: Path, entries: Mapping[str, bytes], name: str) -> Any:
    try:
        return parse(entries[name])
    except ValueError as error:
        raise LoadError(f"{path}: damaged, {name}: {error}; export it again") from error


def _text(path: Path, name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: damaged, {name} is not UTF-8; export it again") from error


def _check_configs(path: Path, entries: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
    for name in CONFIGS:
        config = _json(path, entries, name)
        payloads = config.get("config") if isinstance(config, dict) else None
        if not isinstance(payloads, dict):
            raise LoadError(f"{path}: damaged, {name} has no 'config' table; export it again")
        for tensor, payload in payloads.items():
            if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
                raise _refuse(path, f"{tensor!r} is stored as a pickle")
            if PAYLOAD_NAME.fullmatch(str(payload.get("path_name"))) is None:
                raise _refuse(path, f"{tensor!r} is stored at {payload.get('path_name')!r}")
            fault = path_fault(tensor) or find_fault(payload)
            if fault is not None:
                raise _refuse(path, fault)
            place = f"{name.rpartition('/')[0]}/{payload['path_name']}"
            # torch makes zeros of what is not there.
            if not sizes.get(place) and _has_elements(payload.get("tensor_meta")):
                raise LoadError(f"{path}: damaged, {tensor!r} has no values; export it again")


def _has_elements(facts: Any) -> bool:
    """Whether what an archive says of a tensor leaves it any element."""
    sizes = facts.get("sizes") if isinstance(facts, dict) else None
    if not isinstance(sizes, list):
        return True
    return all(not isinstance(size, dict) or size.get("as_int") != 0 for size in sizes)


def _checked_model(path: Path, entries: Mapping[str, bytes]) -> bytes:
    """The program's text, trimmed to what was looked at."""
    document = trimmed(_json(path, entries, MODEL))
    fault = find_fault(document)
    if fault is not None:
        raise _refuse(path, fault)
    return json.dumps(document).encode()


def _checked_sample_inputs(path: Path, content: bytes) -> bytes:
    """The sample inputs, pickled anew: where torch cannot read them it would unpickle anything."""
    if not content:
        return content
    try:
        check_unpacked(content)
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        elements = sum(x.numel() for x in tree_leaves(held) if isinstance(x, torch.Tensor))
    except Exception as error:  # a restricted unpickler at work on anything raises anything
        raise _refuse(path, "its sample inputs hold more than plain tensors") from error
    if 4 * elements > allowance(len(content)):
        raise _refuse(path, f"its sample inputs have {elements:,} elements, which it does not hold")
    stream = io.BytesIO()
    torch.save(held, stream)
    return stream.getvalue()


def _check_calls(path: Path, program: ExportedProgram) -> None:
    """Nothing but operators is called, with nothing that could be called among the arguments."""
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            passive = node.op in ("placeholder", "get_attr", "output")
            if not passive and not (node.op == "call_function" and _is_operator(node.target)):
                raise _refuse(path, f"node {node.name!r} calls {str(node.target)[:60]!r}")
            if any(callable(one) for one in _leaves(node.args) + _leaves(node.kwargs)):
                raise _refuse(path, f"node {node.name!r} is given something to call")


def _is_operator(target: Any) -> bool:
    """Whether it is an operator of torch, or of sizes by its own name."""
    if isinstance(target, torch._ops.OpOverload | torch._ops.HigherOrderOperator):
        return True
    named = ".".join(getattr(target, part, "") for part in ("__module__", "__name__"))
    return OPERATOR.fullmatch(named) is not None


def _leaves(arguments: Any) -> list[Any]:
    """What is in nested arguments, nodes left out."""
    if isinstance(arguments, fx.Node):
        return []
    if isinstance(arguments, Mapping):
        return [leaf for one in arguments.values() for leaf in _leaves(one)]
    if isinstance(arguments, tuple | list):
        return [leaf for one in arguments for leaf in _leaves(one)]
    return [arguments]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:200]
