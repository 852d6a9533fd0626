"""What may go wrong in a rule: the kinds of fault, each a small change of the syntax tree.

Comes in: a function's tree.  Goes out: every ``Site``: which node stands where, and what replaces
it.  Text (reasons, names of arguments) and annotations are left alone.  Knows nothing of running.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass

# a statement that is only a call: what is lost when it is dropped
DROPPED = {
    "unify": "unification dropped",
    "contract": "unification dropped",
    "freeze": "freeze dropped",
    "fix": "freeze dropped",
    "rewrite": "rewrite dropped",
    "_rewrite_argument": "rewrite dropped",
    "pin": "pin dropped",
    "inexact": "inexact dropped",
    "role": "role dropped",
    "work": "cost dropped",
}
# a call whose labels may be other labels
RETARGETED = {
    "Kept": "rewrite retargeted",
    "kept": "rewrite retargeted",
    "unify": "unification retargeted",
    "freeze": "freeze retargeted",
    "inexact": "inexact retargeted",
}
FACTORED = ("split", "merge", "reshape")
FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}


@dataclass(frozen=True, slots=True)
class Site:
    """``replacement`` goes where ``parent.field`` (at ``place`` of a list) holds something else."""

    kind: str
    parent: ast.AST
    field: str
    place: int | None
    replacement: ast.AST
    shown: ast.AST  # what a reader needs to see to understand the change
    shown_after: ast.AST | None  # None: the replacement itself
    lines: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Spot:
    """A node and where it stands."""

    node: ast.AST
    parent: ast.AST
    field: str
    place: int | None
    statement: ast.stmt

    def site(self, kind: str, replacement: ast.AST, shown: ast.AST | None = None) -> Site:
        """``shown``: an enclosing node, when the changed one alone says little."""
        node, statement = self.node, self.statement
        lines = (*_lines(node, statement), *_lines(statement, statement))
        return Site(
            kind=kind,
            parent=self.parent,
            field=self.field,
            place=self.place,
            replacement=replacement,
            shown=node if shown is None else shown,
            shown_after=shown,
            lines=lines,
        )


def _lines(node: ast.AST, statement: ast.stmt) -> tuple[int, int]:
    first = getattr(node, "lineno", statement.lineno)
    return first, getattr(node, "end_lineno", None) or first


def sites(function: ast.FunctionDef, generator: random.Random) -> Iterator[Site]:
    """Every fault of every kind that fits somewhere in the function's body."""
    labels = _label_expressions(function)
    for spot in tuple(_spots(function)):
        node = spot.node
        if isinstance(node, ast.Expr):
            yield from _dropped(spot)
        elif isinstance(node, ast.Raise):
            yield spot.site("refusal dropped", ast.Pass())
        elif isinstance(node, ast.Subscript):
            yield from _moved_index(spot, generator)
        elif isinstance(node, ast.Compare):
            yield from _compared(spot)
        elif isinstance(node, ast.BoolOp | ast.UnaryOp | ast.IfExp):
            yield from _condition(spot)
        elif isinstance(node, ast.BinOp):
            yield from _arithmetic(spot)
        elif isinstance(node, ast.Constant):
            yield from _constant(spot, generator)
        elif isinstance(node, ast.Tuple):
            yield from _tuple(spot)
        elif isinstance(node, ast.Call):
            yield from _retargeted(spot, labels, function, generator)


def _spots(function: ast.FunctionDef) -> Iterator[_Spot]:
    def walk(parent: ast.AST, statement: ast.stmt) -> Iterator[_Spot]:
        for field, value in ast.iter_fields(parent):
            if field in ("decorator_list", "args", "returns", "annotation") and isinstance(
                parent, ast.FunctionDef | ast.AnnAssign
            ):
                continue
            entries = value if isinstance(value, list) else [value]
            for place, node in enumerate(entries):
                if isinstance(node, ast.AST):
                    own = node if isinstance(node, ast.stmt) else statement
                    listed = place if isinstance(value, list) else None
                    yield _Spot(node, parent, field, listed, own)
                    yield from walk(node, own)

    yield from walk(function, function)


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _dropped(spot: _Spot) -> Iterator[Site]:
    assert isinstance(spot.node, ast.Expr)
    call = spot.node.value
    if isinstance(call, ast.Call):
        gate = _called(call) == "contract" and isinstance(call.func, ast.Attribute)
        kind = "gate dropped" if gate else DROPPED.get(_called(call), "statement dropped")
        yield spot.site(kind, ast.Pass())


def _integer(node: ast.AST | None) -> int | None:
    """The value of a written integer, a negative one too."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _integer(node.operand)
        return None if inner is None else -inner
    return None


def _written(value: int) -> ast.expr:
    whole: ast.expr = ast.Constant(abs(value))
    return ast.UnaryOp(ast.USub(), whole) if value < 0 else whole


def _neighbour(value: int, generator: random.Random) -> int:
    """One further from, or one nearer to, the end that the index counts from: as drawn."""
    if value == 0:
        return 1
    if value == -1:
        return -2
    return value + generator.choice((-1, 1))


def _moved_index(spot: _Spot, generator: random.Random) -> Iterator[Site]:
    """dims[0] -> dims[1], shape[-1] -> shape[-2], rows[1:] -> rows[2:], rows[:n] -> rows[:n + 1]"""
    subscript = spot.node
    assert isinstance(subscript, ast.Subscript)
    inner = subscript.slice
    value = _integer(inner)
    if value is not None:
        other = _neighbour(value, generator)
        site = _Spot(inner, subscript, "slice", None, spot.statement)
        yield site.site("index moved", _written(other), shown=subscript)
    elif isinstance(inner, ast.Slice):
        for field in ("lower", "upper"):
            bound = getattr(inner, field)
            if bound is None:
                continue
            site = _Spot(bound, inner, field, None, spot.statement)
            value = _integer(bound)
            if value is not None:
                moved = _written(_neighbour(value, generator))
            else:
                moved = ast.BinOp(bound, generator.choice((ast.Add(), ast.Sub())), ast.Constant(1))
            yield site.site("slice bound moved", moved, shown=subscript)


def _compared(spot: _Spot) -> Iterator[Site]:
    node = spot.node
    assert isinstance(node, ast.Compare)
    for place, operator in enumerate(node.ops):
        for kind, table in (("comparison flipped", FLIPPED), ("boundary moved", BOUNDARY)):
            other = table.get(type(operator))
            if other is not None:
                changed = copy.copy(node)
                changed.ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield spot.site(kind, changed)


def _condition(spot: _Spot) -> Iterator[Site]:
    node = spot.node
    if isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield spot.site("condition changed", ast.BoolOp(other, node.values))
    elif isinstance(node, ast.IfExp):
        yield spot.site("condition changed", ast.IfExp(node.test, node.orelse, node.body))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield spot.site("condition changed", node.operand)


def _arithmetic(spot: _Spot) -> Iterator[Site]:
    node = spot.node
    assert isinstance(node, ast.BinOp)
    other = ARITHMETIC.get(type(node.op))
    if other is not None and not isinstance(node.left, ast.JoinedStr):
        yield spot.site("arithmetic changed", ast.BinOp(node.left, other(), node.right))


def _constant(spot: _Spot, generator: random.Random) -> Iterator[Site]:
    node, parent = spot.node, spot.parent
    assert isinstance(node, ast.Constant)
    if isinstance(parent, ast.Subscript | ast.Slice):
        return
    if isinstance(parent, ast.keyword) and parent.arg == "strict":
        return  # an assertion of ours: it changes nothing where lengths agree, as they must
    if isinstance(node.value, bool):
        yield spot.site("constant moved", ast.Constant(not node.value), _shown(parent))
    elif type(node.value) is int:
        other = _neighbour(node.value, generator)
        yield spot.site("constant moved", _written(other), _shown(parent))


def _shown(parent: ast.AST) -> ast.AST | None:
    """The parent when it is an expression: "2 -> 3" alone says nothing."""
    return parent if isinstance(parent, ast.expr | ast.keyword) else None


def _tuple(spot: _Spot) -> Iterator[Site]:
    node, parent = spot.node, spot.parent
    assert isinstance(node, ast.Tuple)
    words = [e for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    if isinstance(parent, ast.For) and spot.field == "iter" and len(words) == len(node.elts) > 1:
        for place in range(len(words)):
            rest: list[ast.expr] = [word for at, word in enumerate(words) if at != place]
            yield spot.site("operand forgotten", ast.Tuple(rest, ast.Load()))
    returned = isinstance(parent, ast.Return)
    if returned or (isinstance(parent, ast.Call) and _called(parent) in FACTORED):
        for place in range(len(node.elts) - 1):
            if ast.unparse(node.elts[place]) == ast.unparse(node.elts[place + 1]):
                continue
            order = list(node.elts)
            order[place : place + 2] = order[place + 1], order[place]
            kind = "results swapped" if returned else "factors swapped"
            yield spot.site(kind, ast.Tuple(order, ast.Load()))


# -- other labels ----------------------------------------------------------------------------


def _label_expressions(function: ast.FunctionDef) -> tuple[ast.expr, ...]:
    """Everything that the function treats as labels, each once."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        if _called(node) in RETARGETED:
            assert isinstance(node, ast.Call)
            for argument in node.args[: 2 if _called(node) == "unify" else 1]:
                if not isinstance(argument, ast.Starred | ast.Constant):
                    found.setdefault(ast.unparse(argument), argument)
    return tuple(found.values())


def _retargeted(
    spot: _Spot,
    labels: tuple[ast.expr, ...],
    function: ast.FunctionDef,
    generator: random.Random,
) -> Iterator[Site]:
    """One wrong target for each, drawn from the other labels known at that line."""
    node = spot.node
    kind = RETARGETED.get(_called(node))
    if kind is None:
        return
    assert isinstance(node, ast.Call)
    known = _names_before(function, node.lineno)
    for place, argument in enumerate(node.args[: 2 if _called(node) == "unify" else 1]):
        taken = {ast.unparse(other) for other in node.args}
        others = [
            other
            for other in labels
            if ast.unparse(other) not in taken
            and {n.id for n in ast.walk(other) if isinstance(n, ast.Name)} <= known
        ]
        if others:
            inner = _Spot(argument, node, "args", place, spot.statement)
            yield inner.site(kind, generator.choice(others), shown=node)


def _names_before(function: ast.FunctionDef, line: int) -> set[str]:
    """Arguments, and names the function itself (no comprehension) has bound above this line."""
    known = {argument.arg for argument in function.args.args}

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp):
                continue
            stored = isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
            if stored and child.lineno < line:
                known.add(child.id)
            visit(child)

    visit(function)
    return known
