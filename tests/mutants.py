"""Mutants: one small fault at a time, made mechanically from the source of the operator rules.

Comes in: the source of ``compressor/rules/*.py`` and of what slices (``removal`` and what it uses)
as it is, and a seed.  Goes out: every ``Mutant``: its name, and the compiled code of the function
it spoils.  ``applied`` puts that code in place of the right one, in this process, and takes it out
again; so the registry, helpers and methods all see it.  Knows nothing of networks or of what
catches it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

from compressor.rules import registry
from tests import mutation_kinds
from tests.mutation_kinds import Site

ROOT = Path(__file__).resolve().parent.parent
NOT_RULES = ("__init__", "registry")
SLICING = ("cuts", "rewriting", "removal")
FUTURE = "from __future__ import annotations"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``name`` holds no line number, so it survives edits elsewhere in the file."""

    name: str
    kind: str
    module: str  # "compressor.rules.joins"
    function: str  # "concatenate", "Call.unify"
    lines: tuple[int, ...]  # of the spoilt expression, then of its statement, first and last
    code: CodeType


def sources() -> tuple[Path, ...]:
    """The files that are mutated; a new file of rules is found by itself."""
    rules = sorted((ROOT / "compressor" / "rules").rglob("*.py"))
    chosen = [path for path in rules if path.stem not in NOT_RULES]
    return (*chosen, *(ROOT / "compressor" / f"{name}.py" for name in SLICING))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def generate(seed: int, files: Sequence[Path] | None = None) -> tuple[Mutant, ...]:
    """All mutants of these files (of all), in the order of the source.

    The seed decides where several wrong labels could stand in for the right ones.
    """
    found: list[Mutant] = []
    for path in sources() if files is None else files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for owner, function in _functions(tree):
            found.extend(_of_function(path, owner, function, seed))
    return _numbered(found)


def _functions(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield None, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield node, inner


def _of_function(
    path: Path, owner: ast.ClassDef | None, function: ast.FunctionDef, seed: int
) -> Iterator[Mutant]:
    module = module_of(path)
    name = f"{owner.name}.{function.name}" if owner else function.name
    body: ast.stmt = ast.ClassDef(owner.name, [], [], [function], []) if owner else function
    tree = ast.fix_missing_locations(ast.Module([*ast.parse(FUTURE).body, body], []))
    for site in mutation_kinds.sites(function, random.Random(f"{seed} {module} {name}")):
        before = _line(site.shown)
        with _in_place(site):
            after = _line(site.shown_after or site.replacement)
            ast.fix_missing_locations(tree)
            code = _code(compile(tree, str(path), "exec"), name)
        label = f"{module.removeprefix('compressor.')}.{name}: {site.kind}: {before} -> {after}"
        yield Mutant(label, site.kind, module, name, site.lines, code)


def _line(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


@contextlib.contextmanager
def _in_place(site: Site) -> Iterator[None]:
    right = getattr(site.parent, site.field)
    if site.place is None:
        setattr(site.parent, site.field, site.replacement)
    else:
        wrong = [*right[: site.place], site.replacement, *right[site.place + 1 :]]
        setattr(site.parent, site.field, wrong)
    try:
        yield
    finally:
        setattr(site.parent, site.field, right)


def _numbered(mutants: Sequence[Mutant]) -> tuple[Mutant, ...]:
    """Names told apart: the second of the same name is ``... (2)``."""
    seen: dict[str, int] = {}
    found = []
    for mutant in mutants:
        seen[mutant.name] = number = seen.get(mutant.name, 0) + 1
        name = mutant.name if number == 1 else f"{mutant.name} ({number})"
        found.append(
            Mutant(name, mutant.kind, mutant.module, mutant.function, mutant.lines, mutant.code)
        )
    return tuple(found)


# -- code ------------------------------------------------------------------------------------


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _code(code: CodeType, qualified: str) -> CodeType:
    return next(inner for inner in _codes(code) if inner.co_qualname == qualified)


def _live(module: str, qualified: str) -> FunctionType:
    """The function that runs under this name."""
    owner: object = importlib.import_module(module)
    *path, last = qualified.split(".")
    for part in path:
        owner = vars(owner)[part]
    found = vars(owner)[last]
    function = found.fget if isinstance(found, property) else found
    assert isinstance(function, FunctionType), f"{module}.{qualified} is not a plain function"
    return function


@contextlib.contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The spoilt code instead of the right one, also in rules that the function has made."""
    function = _live(mutant.module, mutant.function)
    changed = [(function, function.__code__, mutant.code)]
    inner = {code.co_qualname: code for code in _codes(mutant.code)}
    for rule in set(registry._RULES.values()):
        made = isinstance(rule, FunctionType) and rule.__module__ == mutant.module
        if made and rule.__code__.co_qualname in inner:
            changed.append((rule, rule.__code__, inner[rule.__code__.co_qualname]))
    try:
        for target, _, wrong in changed:
            target.__code__ = wrong
        yield
    finally:
        for target, right, _ in changed:
            target.__code__ = right
