"""What the sources may not do, so that no file that is read can run code or be given to a shell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for part in ("compressor", "export", "benchmarks") for path in (ROOT / part).rglob("*.py")
)
# Modules that read code or pickles, or start shells; none is imported anywhere.
FORBIDDEN_MODULES = frozenset(
    (
        "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
        "runpy", "yaml", "xml", "lxml", "code", "codeop", "pty", "commands", "tarfile", "ctypes",
    )
)  # fmt: skip
ALLOWED = {
    # The kinds of error that torch's restricted unpickler raises are told apart by it.
    ("compressor/checkpoints.py", "pickle"),
    # Threads and memory of the machine.
    ("benchmarks/starts.py", "ctypes"),
}
FORBIDDEN_CALLS = frozenset(
    (
        "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execve",
        "os.execvp", "os.spawnv", "os.spawnl", "os.posix_spawn", "subprocess.getoutput",
        "subprocess.getstatusoutput", "pickle.load", "pickle.loads", "pickle.Unpickler",
        "torch.jit.load", "torch.export.load", "torch.hub.load", "torch.ops.load_library",
        "torch.classes.load_library", "shutil.unpack_archive",
    )
)  # fmt: skip
FORBIDDEN_METHODS = frozenset(
    ("from_string", "extractall", "extract", "register_custom_ops_library", "add_extension")
)


def dotted(node: ast.expr) -> str:
    """``torch.load`` of a call's function; an empty text for what is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def keyword(call: ast.Call, name: str) -> str | None:
    """The keyword's source, None where it is not given."""
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), None)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def is_list(tree: ast.AST, argument: ast.expr) -> bool:
    """Whether a command is a list of words: written as one, or a name that is given one."""
    if isinstance(argument, ast.List):
        return True
    return isinstance(argument, ast.Name) and all(
        isinstance(node.value, ast.List)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(one, ast.Name) and one.id == argument.id for one in node.targets)
    )


def faults(tree: ast.Module, file: str) -> Iterator[str]:
    for module in imported(tree):
        if module in FORBIDDEN_MODULES and (file, module) not in ALLOWED:
            yield f"imports {module}"
    for name, call in calls(tree):
        line = f"line {call.lineno}: {name or ast.unparse(call.func)}"
        if name in FORBIDDEN_CALLS or (
            isinstance(call.func, ast.Attribute) and call.func.attr in FORBIDDEN_METHODS
        ):
            yield line
        if name in ("subprocess.run", "subprocess.Popen", "subprocess.check_output") and (
            not is_list(tree, call.args[0]) or keyword(call, "shell") is not None
        ):
            yield f"{line} is not given a list"
        if name == "torch.load" and keyword(call, "weights_only") not in (
            "True",
            "not trust_pickle" if file == "compressor/checkpoints.py" else "True",
        ):
            yield f"{line} may unpickle"
        if name in ("np.load", "numpy.load") and keyword(call, "allow_pickle") != "False":
            yield f"{line} may unpickle"
        if name == "Image.open" and keyword(call, "formats") is None:
            yield f"{line} reads any format"
        if name == "Environment" and keyword(call, "autoescape") != "True":
            yield f"{line} does not escape"
        if keyword(call, "trust_remote_code") not in (None, "False"):
            yield f"{line} trusts code of a folder"


# Markdown is not HTML: names in it go through filters of its own.
WRITES_MARKDOWN = "export/model_cards.py"


def test_no_source_reads_code_or_gives_names_to_a_shell() -> None:
    found = [
        f"{file}: {fault}"
        for file, path in ((one.relative_to(ROOT).as_posix(), one) for one in FILES)
        for fault in faults(ast.parse(path.read_text(encoding="utf-8")), file)
        if file != WRITES_MARKDOWN or "does not escape" not in fault
    ]
    assert len(FILES) > 200
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from yaml import load", "os.system('x')", "eval(x)",
        "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f)",
        "subprocess.run('ls ' + x)", "subprocess.run(['ls'], shell=True)",
        "c = 'ls'\nsubprocess.run(c)", "Image.open(f)", "Environment()",
        "archive.extractall(d)", "AutoModel.from_pretrained(d, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_each_of_these_would_be_found(source: str) -> None:
    assert list(faults(ast.parse(source), "x.py"))


def test_the_option_that_trusts_is_the_only_way_to_unpickle() -> None:
    """``trust_pickle`` comes from the command line or the caller and is never true by itself."""
    for path in FILES:
        for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            assert keyword(call, "trust_pickle") in (None, "trust_pickle"), (path, name)
