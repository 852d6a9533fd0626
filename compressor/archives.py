"""Reading ``.pt2`` archives (exported programs) without running anything they carry.

Comes in: a file.  Goes out: a ``torch.export.ExportedProgram``, or a ``LoadError``.  Knows nothing
of graphs, plans or data.

torch's own loader may unpickle constants, weights, custom objects and sample inputs, loads compiled
libraries, and evaluates size expressions as Python.  So the archive is read once into memory and
scanned with an allow-list: stored entries only, known names only, no pickles beyond plain tensors,
size expressions that are arithmetic, operators that are operators.  The bytes that were scanned are
the bytes that are loaded.
"""

from __future__ import annotations

import ast
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from compressor.documents import parse
from compressor.errors import LoadError
from compressor.unpacking import DAMAGED_ZIP, allowance, check_unpacked

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
OPERATOR = re.compile(
    r"torch\.ops\.[a-z]\w*\.[a-z_]\w*(\.\w+)?|torch\.sym_\w+|(_operator|math)\.[a-z]\w*"
)
SYMBOL = re.compile(r"(s|u|zuf|us)\d+")
SYMBOL_OR_NUMBER = re.compile(rf"{SYMBOL.pattern}|-?\d+(\.\d*)?(e[+-]?\d+)?")
SIZE_FUNCTIONS = frozenset(
    (
        "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing",
        "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "FloorToInt", "CeilToInt", "RoundToInt",
        "ToFloat", "PowByNatural", "Where", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not",
        "Abs", "Identity", "floor", "ceiling", "true", "false", "oo", "int_oo",
        "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Equality", "Unequality",
        "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan",
    )
)  # fmt: skip
ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Call, ast.Name,
    ast.Constant, ast.keyword, ast.Load, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A scanned archive: its bytes, and the small texts that were put beside the program."""

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
        return False


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
    return program, archive.extras


def scan(path: Path) -> Archive:
    """Read the whole file and refuse what torch's loader would unpickle, import or evaluate."""
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = _entries(path, archive)
            _check_configs(path, entries, _payload_sizes(archive))
            _check_model(path, entries)
            extras = {
                name.removeprefix("extra/"): _text(path, name, data)
                for name, data in entries.items()
                if name.startswith("extra/")
            }
    except DAMAGED_ZIP as error:
        raise LoadError(
            f"{path}: not a .pt2 archive, or a truncated one ({_first_line(error)}); copy it or "
            "export it again"
        ) from error
    _check_sample_inputs(path, entries.get(SAMPLE_INPUTS, b""))
    return Archive(content=content, extras=extras)


def _refuse(path: Path, what: str) -> LoadError:
    return LoadError(
        f"{path}: refused, {what}; save the program with torch.export.save from plain tensors, "
        "or give a state dict"
    )


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Names without the root folder -> bytes of the small entries (weights stay unread)."""
    infos = archive.infolist()
    if not infos:
        raise _refuse(path, "the archive is empty")
    root = infos[0].filename.split("/")[0]
    small: dict[str, bytes] = {}
    repeated = Counter(info.filename.lower() for info in infos)
    for info in infos:
        name = info.filename
        parts = name.split("/")
        if ".." in parts or "" in parts or "\\" in name or ":" in name or parts[0] != root:
            raise _refuse(path, f"entry {name!r} points outside the archive's own folder")
        inner = "/".join(parts[1:])
        if "custom_obj" in inner or "opaque_obj" in inner:
            raise _refuse(path, f"entry {name!r} is a custom object, which is pickled")
        if inner in ("data/weights/model.pt", "data/constants/model.pt"):
            raise _refuse(path, f"entry {name!r} holds pickled weights or constants")
        if KNOWN_NAME.fullmatch(inner) is None:
            raise _refuse(path, f"entry {name!r} is not part of a plain exported program")
        if info.compress_type != zipfile.ZIP_STORED or repeated[name.lower()] > 1:
            raise _refuse(path, f"entry {name!r} is compressed or there twice")
        if not PAYLOAD_NAME.fullmatch(parts[-1]):
            small[inner] = archive.read(info)
    for needed in (MODEL, *CONFIGS, SAMPLE_INPUTS):
        if needed not in small:
            raise _refuse(path, f"entry {needed!r} is missing")
    return small


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


def _payload_sizes(archive: zipfile.ZipFile) -> dict[str, int]:
    """Entries without the root folder -> bytes of each."""
    return {info.filename.partition("/")[2]: info.file_size for info in archive.infolist()}


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


def _check_model(path: Path, entries: Mapping[str, bytes]) -> None:
    for table in _tables(_json(path, entries, MODEL)):
        expression = table.get("expr_str")
        if expression is not None and not is_arithmetic(expression):
            raise _refuse(path, f"a size is the expression {str(expression)[:60]!r}")
        if "__enum__" in str(table.get("in_spec")) + str(table.get("out_spec")):
            raise _refuse(path, "its input or output structure imports a Python class")
        operator = table.get("target")
        is_node = "inputs" in table and "outputs" in table and "metadata" in table
        if is_node and OPERATOR.fullmatch(str(operator)) is None:
            raise _refuse(path, f"{str(operator)[:60]!r} is no operator")


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def is_arithmetic(expression: object) -> bool:
    """Whether the text is arithmetic over size symbols: torch hands it to sympy, which runs it."""
    if not isinstance(expression, str) or len(expression) > 10_000:
        return False
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, ARITHMETIC):
            return False
        if isinstance(node, ast.Constant) and not _is_plain(node.value):
            return False
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            return False
        if isinstance(node, ast.Name) and not (
            SYMBOL.fullmatch(node.id) or node.id in SIZE_FUNCTIONS
        ):
            return False
    return True


def _is_plain(value: object) -> bool:
    """A number, or a text that stays one symbol or number should sympy evaluate it."""
    if isinstance(value, str):
        return SYMBOL_OR_NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float)


def _check_sample_inputs(path: Path, content: bytes) -> None:
    if not content:
        return
    try:
        check_unpacked(content)
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        elements = sum(x.numel() for x in tree_leaves(found) if isinstance(x, torch.Tensor))
    except Exception as error:  # torch.load raises a dozen kinds for what it does not like
        raise _refuse(path, "its sample inputs hold more than plain tensors") from error
    if 4 * elements > allowance(len(content)):
        raise _refuse(path, f"its sample inputs have {elements:,} elements, which it does not hold")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:200]
