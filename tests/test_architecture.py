"""Who may import whom, what the wheel holds, and how quick the package is to import."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("compressor", "export", "benchmarks")

# Lower rows never import higher ones.  A name stands for the module and all that is below it; the
# longest name that fits decides.
ROWS = (
    (
        "compressor.types",
        "compressor.errors",
        "compressor.refinements",
        "compressor.labels",
        "compressor.costs",
    ),
    ("compressor.annotation",),
    (
        "compressor.rules",
        "compressor.expectations",
        "compressor.planning",
        "compressor.ranking",
        "compressor.widths",
        "compressor.staircases",
        "compressor.densities",
    ),
    ("compressor",),  # the stages: all that is not named in another row
    ("compressor.phases", "compressor.recipes", "compressor.recipes.wishes"),
    (
        "compressor.execution",
        "compressor.standings",
        "compressor.teaching",
        "export",
        "benchmarks",
    ),
    ("compressor.reporting", "compressor.building"),
    ("benchmarks.studies", "compressor.cli", "compressor.__main__"),
)
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}

LOOK_UPWARD = (
    "compressor.building",
    "compressor.reporting",
    "compressor.cli",
)  # and only inside functions
PIPELINE = (
    "loading", "graphs", "analysis", "scoring", "planning", "removal", "proof", "refitting",
    "distillation", "recipes", "building", "cli",
)  # fmt: skip
PUBLIC = (
    "Budget", "load", "capture", "analyze", "score", "plan", "mask", "remove", "prove", "repair",
    "distill", "build",
)  # fmt: skip
TORCH_FREE = (
    "compressor",
    "compressor.types",
    "compressor.errors",
    "compressor.files",
    "compressor.locks",
    "compressor.memory",
    "compressor.refinements",
    "compressor.labels",
    "compressor.costs",
    "compressor.ranking",
    "compressor.widths",
    "compressor.staircases",
    "compressor.expectations",
    "compressor.planning",
    "compressor.densities",
    "benchmarks.alignment",
    "benchmarks.attribution",
    "benchmarks.blocks",
    "benchmarks.deep",
    "benchmarks.entries",
    "benchmarks.explanations",
    "benchmarks.figures",
    "benchmarks.formatting",
    "benchmarks.inputs",
    "benchmarks.likeness",
    "benchmarks.lineup",
    "benchmarks.load",
    "benchmarks.markdown",
    "benchmarks.measurements",
    "benchmarks.operations",
    "benchmarks.partners",
    "benchmarks.plots",
    "benchmarks.raw_samples",
    "benchmarks.reasons",
    "benchmarks.report",
    "benchmarks.schema",
    "benchmarks.sections",
    "benchmarks.speedups",
    "benchmarks.statistics",
    "benchmarks.summaries",
    "benchmarks.tables",
    "benchmarks.text_tables",
    "benchmarks.verdict",
    "benchmarks.wording",
    "export.golden",
    "export.manifest",
    "export.materials",
    "export.model_cards",
    "export.outputs",
    "export.replays",
    "export.signatures",
    "export.triton",
    "export.verification",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import of a module of ours."""

    line: int
    module: str
    in_function: bool


def files() -> dict[str, Path]:
    """Module name -> file, for the three packages; package inits under the package's name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = files()


def imports(path: Path) -> Iterator[Import]:
    """Every import of ours in a file, those inside functions too."""

    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                deeper = [f"{base}.{alias.name}" for alias in child.names]
                names = [name if name in MODULES else base for name in deeper]
            else:
                inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, in_function or inner)
                continue
            for name in names:
                if name.split(".")[0] in PACKAGES:
                    yield Import(line=child.lineno, module=name, in_function=in_function)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def row(module: str) -> int:
    while module not in ROW_OF:
        module = module.rpartition(".")[0]
    return ROW_OF[module]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"compressor"}))
def test_lower_rows_do_not_import_higher_ones(module: str) -> None:
    wrong = [
        f"line {found.line}: {found.module}"
        for found in imports(MODULES[module])
        if row(found.module) > row(module) or found.module == "compressor"
    ]
    assert wrong == [], f"{module} imports what lies above it, or the package as a whole"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("compressor")])
def test_only_building_and_cli_look_upward_and_only_inside_functions(module: str) -> None:
    upward = [
        found
        for found in imports(MODULES[module])
        if found.module.split(".")[0] != "compressor"
        or (row(found.module) == row("compressor.cli") and not module.startswith("compressor.cli"))
    ]
    at_the_top = [f"line {found.line}: {found.module}" for found in upward if not found.in_function]
    assert at_the_top == []
    assert upward == [] or module.startswith((*LOOK_UPWARD, "compressor.__main__"))


def test_modules_that_need_no_torch_do_not_import_it() -> None:
    lines = [f"import {name}; print('torch' in sys.modules, {name!r})" for name in TORCH_FREE]
    done = python("\n".join(["import sys", *lines]))
    assert done.stdout.splitlines() == [f"False {name}" for name in TORCH_FREE], done.stderr


def test_package_docstring_lists_the_modules_in_pipeline_order() -> None:
    """A line per module: spaces, its name, at least two spaces, what it does."""
    tree = ast.parse((ROOT / "compressor/__init__.py").read_text(encoding="utf-8"))
    listed = re.findall(r"^ +(\w+)  +\S", ast.get_docstring(tree) or "", flags=re.MULTILINE)
    there = {name.split(".")[1] for name in MODULES if name.startswith("compressor.")}
    assert sorted(listed) == sorted(there - {"__main__"})
    stages = [name for name in listed if name in PIPELINE]
    assert stages == [name for name in PIPELINE if name in there]


def test_public_names_stay_calls_when_every_module_is_imported() -> None:
    """Importing a submodule binds it in the package, over any function of the same name."""
    stages = [name for name in MODULES if name.startswith("compressor.") and "__" not in name]
    lines = ["import compressor", *[f"import {name}" for name in stages]]
    names = f"[name for name in {PUBLIC!r} if not callable(getattr(compressor, name))]"
    done = python("\n".join([*lines, f"print({names}, set({PUBLIC!r}) - set(compressor.__all__))"]))
    assert (done.returncode, done.stdout) == (0, "[] set()\n"), done.stderr


HELP = """
import sys
sys.argv = ["compressor", "--help"]
from compressor.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    "code", ["import compressor; print('False')", HELP], ids=["import", "help"]
)
def test_package_and_its_help_are_quick(code: str) -> None:
    seconds = []
    for _ in range(3):  # the best of three: other processes may be running
        start = time.perf_counter()
        done = python(code)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("False\n")
    assert min(seconds) < 1.5


def test_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "tests", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".typed", ".j2") or path.parent == ROOT / "benchmarks/schemas"
    }
    assert inside == expected
