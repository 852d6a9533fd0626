"""What the text of an exported program may say.

Comes in: ``models/model.json`` of a ``.pt2`` archive, as JSON values.  Goes out: the first thing in
it that such a program has no need of, in words; and the values without what nothing here reads.
Knows nothing of archives, tensors or torch.

A program's text is not only data.  torch writes Python source from a program's names and runs it
(``def forward(self, NAME)``, so a name may be a default argument), looks operators up as attributes
of the module ``torch`` (``torch.os.system`` is one), evaluates sizes as Python, and imports the
classes that an input structure names.  None of it is a pickle.  So names must be names, operators
those of networks, sizes arithmetic, and structures the built-in ones.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

NAME = re.compile(r"[\w.]*")
# Dotted paths to modules and tensors: users name these, and torch keeps them inside double quotes.
PATH = re.compile(r"[\w.:/@+ -]*")
PATH_KEYS = frozenset(
    ("fqn", "parameter_name", "buffer_name", "tensor_constant_name", "torch_version")
)
TEXT_KEYS = frozenset(("as_string", "as_strings"))  # written into source by repr()
NO_NUMBERS = frozenset(("Infinity", "-Infinity", "NaN"))  # JSON has none of these
# What nodes say of where they come from; the rest of their metadata is left out.
ORIGIN = frozenset(("stack_trace", "nn_module_stack"))

BLOCKS = (
    "cond", "while_loop", "scan", "associative_scan", "map_impl", "hints_wrapper", "out_dtype",
    "wrap_with_set_grad_enabled", "wrap_with_autocast", "wrap_activation_checkpoint",
    "tag_activation_checkpoint", "invoke_subgraph", "flex_attention",
)  # fmt: skip
ON_SIZES = (
    "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "pow",
    "truediv", "and_", "or_", "lshift", "rshift", "getitem",
)  # fmt: skip
OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|torchvision)\.[a-z_]\w*(\.\w+)?"
    rf"|torch\.ops\.higher_order\.({'|'.join(BLOCKS)})"
    rf"|torch\._?sym_\w+|_operator\.({'|'.join(ON_SIZES)})|math\.(trunc|floor|ceil)"
)
# Operators of these libraries that reach outside the network.
REACHES_OUT = re.compile(r"torch\.ops\.aten\.(from_file|save|load)\b.*")

STRUCTURES = frozenset(
    (
        "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict",
        "collections.deque", "collections.namedtuple",
        "torch.fx.immutable_collections.immutable_list",
        "torch.fx.immutable_collections.immutable_dict",
    )
)  # fmt: skip

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
# Operators that make large numbers of small ones; ``^`` is a power to sympy.
GROWING = (ast.LShift, ast.RShift, ast.BitXor, ast.MatMult)
LONG_POWER_OF_TEN = re.compile(r"[eE][+-]?\d{4}")  # sympy takes its time even for 0e99999
POWERS = ("Pow", "PowByNatural")
MOST_BITS = 1 << 16  # of a number that sympy may come to compute


def trimmed(document: Any) -> Any:
    """The program without what nothing here reads: guards, which are source text that torch runs,
    and all that nodes say of themselves but their origin."""
    if isinstance(document, list):
        return [trimmed(one) for one in document]
    if not isinstance(document, dict):
        return document
    kept = {key: trimmed(value) for key, value in document.items()}
    if _tells_origin(kept) and isinstance(kept["metadata"], dict):
        kept["metadata"] = {k: v for k, v in kept["metadata"].items() if k in ORIGIN}
    if "guards_code" in kept:
        kept["guards_code"] = []
    return kept


def find_fault(document: Any) -> str | None:
    """What is wrong with a trimmed program, as the end of a sentence; None where nothing is."""
    return next(_faults(document), None)


def path_fault(name: object) -> str | None:
    """The same for the path of a parameter or a constant."""
    return None if PATH.fullmatch(str(name)) else f"{_shown(name)} is no name"


def _faults(document: Any) -> Iterator[str]:
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            yield from _table_faults(value)
            seen = ("metadata",) if _tells_origin(value) else ()
            waiting += [(inner, one) for inner, one in value.items() if inner not in seen]
        elif isinstance(value, list):
            waiting += [(key, one) for one in value]
        elif isinstance(value, str):
            yield from _text_faults(key, value)


def _table_faults(table: Mapping[str, Any]) -> Iterator[str]:
    for key in table:
        if NAME.fullmatch(key) is None:
            yield f"{_shown(key)} is no name"
    if "as_operator" in table or "as_custom_obj" in table:
        yield "a function or an object is among the arguments of its operators"
    if "target" in table and "inputs" in table:
        operator = str(table["target"])
        if OPERATOR.fullmatch(operator) is None:
            yield f"{_shown(operator)} is no operator"
        if REACHES_OUT.fullmatch(operator) is not None:
            yield f"{operator} reads or writes files"
    if _tells_origin(table):
        told = table["metadata"]
        if not isinstance(told, dict) or not all(isinstance(one, str) for one in told.values()):
            yield "its metadata are no texts"


def _tells_origin(table: Mapping[str, Any]) -> bool:
    """Whether "metadata" are those of a node or of the whole, and not a tensor of that name."""
    return "metadata" in table and ("target" in table or "module_call_graph" in table)


def _text_faults(key: str, text: str) -> Iterator[str]:
    if key == "expr_str":
        if not is_arithmetic(text):
            yield f"a size is the expression {_shown(text)}"
    elif key in ("in_spec", "out_spec"):
        if not is_plain_structure(text):
            yield "its input or output structure is of classes that torch would import"
    elif key in PATH_KEYS:
        if PATH.fullmatch(text) is None:
            yield f"{_shown(text)} is no name"
    elif key not in TEXT_KEYS and text not in NO_NUMBERS and NAME.fullmatch(text) is None:
        yield f"{_shown(text)} is no name"


def is_plain_structure(text: str) -> bool:
    """Whether a tree of inputs or outputs is of built-in containers, whose keys are texts.

    Others import the class that the text names (enumerations, ``defaultdict``).
    """
    try:
        _, tree = json.loads(text)
        waiting = [tree]
        while waiting:
            branch = waiting.pop()
            kind, context = branch["type"], branch["context"]
            if kind is not None and kind not in STRUCTURES:
                return False
            if kind == "collections.namedtuple":
                if not isinstance(context, str):  # looked up among classes already known
                    return False
            elif context is not None and not _is_of_words(json.loads(context)):
                return False
            waiting += branch["children_spec"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return True


def _is_of_words(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_of_words(one) for one in value)
    return value is None or isinstance(value, str | int | float)


def is_arithmetic(expression: object) -> bool:
    """Whether the text is arithmetic over size symbols: torch hands it to sympy, which runs it."""
    if not isinstance(expression, str) or len(expression) > 10_000:
        return False
    if LONG_POWER_OF_TEN.search(expression):
        return False
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    try:
        return all(map(_is_allowed, ast.walk(tree))) and _bits(tree.body) <= MOST_BITS
    except (RecursionError, OverflowError):
        return False


def _is_allowed(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return _is_plain(value)
        case ast.Call(func=function):
            return isinstance(function, ast.Name)
        case ast.Name(id=name):
            return SYMBOL.fullmatch(name) is not None or name in SIZE_FUNCTIONS
        case _:
            return isinstance(node, ARITHMETIC) and not isinstance(node, GROWING)


def _is_plain(value: object) -> bool:
    """A number, or a text that stays one symbol or number should sympy evaluate it."""
    if isinstance(value, str):
        return SYMBOL_OR_NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float)


def _bits(node: ast.expr) -> float:
    """At most so many bits has the value: ``9**9**9`` is short, and sympy would compute it."""
    match node:
        case ast.Constant(value=value):
            return _bits_of(value)
        case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
            return _bits(base) * _largest_exponent(exponent)
        case ast.Call(func=ast.Name(id=name), args=[base, exponent]) if name in POWERS:
            return _bits(base) * _largest_exponent(exponent)
        case ast.Call(args=arguments, keywords=named):
            return 1 + sum(map(_bits, (*arguments, *(one.value for one in named))))
        case _:
            below = (one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr))
            return 1 + sum(map(_bits, below))


def _bits_of(value: object) -> float:
    if isinstance(value, str):
        if SYMBOL.fullmatch(value):
            return 1
        value = float(value)
    if isinstance(value, int):
        return max(value.bit_length(), 1)
    size = abs(float(str(value)))
    return math.log2(size) if 1 < size < math.inf else 1 if size <= 1 else math.inf


def _largest_exponent(node: ast.expr) -> float:
    """The exponent where it is a plain number; without bound where it would be computed."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return max(abs(value), 1)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.expr() as operand):
            return _largest_exponent(operand)
        case ast.Call(func=ast.Name(id="Integer" | "Float" | "Rational"), args=[first, *_]):
            return _largest_exponent(first)
        case _:
            return math.inf


def _shown(text: object) -> str:
    return repr(str(text)[:60])
