"""Operators that sum over a dimension: linear layers, convolutions, matrix products.

Both sides of the summed dimension hold the same units; the weight's other side writes new ones.
"""

from __future__ import annotations

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.registry import rule


def contract(call: Call, a: tuple[str, Value, int], b: tuple[str, Value, int]) -> None:
    """Sum operand a over one of its dimensions against one of b's."""
    for name, value, dim in (a, b):
        call.role(value, dim, "reads")
        if not value.stored:
            call.contract(name, dim)
    call.unify(a[1].dims[a[2]], b[1].dims[b[2]], "is summed against a dimension that stays")


@rule("aten.linear")
def linear(call: Call) -> Dims:
    value, weight, bias = call.value("input"), call.value("weight"), call.optional("bias")
    if len(weight.shape) < 2:
        raise UnsupportedCallError("a layer whose weight is a vector")
    contract(call, ("input", value, len(value.shape) - 1), ("weight", weight, 1))
    call.role(weight, 0, "writes")
    if bias is not None:
        call.unify(weight.dims[0], bias.dims[0])
    rows = [value.size_and_labels(d) for d in range(len(value.shape) - 1)]
    call.work(*rows, weight.size_and_labels(0), weight.size_and_labels(1))
    return (*value.dims[:-1], weight.dims[0])


@rule("aten.matmul", "aten.bmm", "aten.mm", "aten.mv", "aten.dot", "aten.vdot")
def matmul(call: Call) -> Dims:
    other = next(name for name in ("other", "mat2", "vec", "tensor") if name in call.arguments)
    return _product(call, ("self", call.value("self")), (other, call.value(other)))


@rule("aten.addmm", "aten.baddbmm", "aten.addmv")
def added_product(call: Call) -> Dims:
    names = ("mat1", "mat2"), ("batch1", "batch2"), ("mat", "vec")
    first, second = next(pair for pair in names if pair[0] in call.arguments)
    result = _product(call, (first, call.value(first)), (second, call.value(second)))
    return _with_bias(call, result)


def _with_bias(call: Call, result: Dims) -> Dims:
    bias = call.value("self")
    for dim in range(1, len(bias.shape) + 1):
        if bias.shape[-dim] > 1:
            call.unify(result[-dim], bias.dims[-dim])
    return result


def _product(call: Call, a: tuple[str, Value], b: tuple[str, Value]) -> Dims:
    """Batches of matrices; a vector on either side leaves no rows or columns of its own."""
    (left_name, left), (right_name, right) = a, b
    summed = max(len(right.shape) - 2, 0)
    contract(call, (left_name, left, len(left.shape) - 1), (right_name, right, summed))
    rows: Dims = left.dims[-2:-1]
    columns: Dims = right.dims[-1:] if len(right.shape) > 1 else ()
    call.role(left, len(left.shape) - 2, "writes")
    if columns:
        call.role(right, len(right.shape) - 1, "writes")
    dims = (
        *_batches(call, left, right, len(call.shape) - len(rows) - len(columns)),
        *rows,
        *columns,
    )
    call.work(*zip(call.shape, dims, strict=True), left.size_and_labels(-1))
    return dims


def _batches(call: Call, left: Value, right: Value, rank: int) -> Dims:
    """Leading dimensions of a product, broadcast against one another."""
    outer: list[Labels] = []
    for position in range(rank):
        meeting = []
        for value in (left, right):
            own = position - rank + len(value.shape) - 2
            if own >= 0 and value.shape[own] == call.shape[position]:
                meeting.append(value.dims[own])
        if len(meeting) == 2:
            call.unify(meeting[0], meeting[1])
        outer.append(next((m for m in meeting if m is not None), None))
    return tuple(outer)


@rule("aten.addbmm")
def added_product_of_batches(call: Call) -> Dims:
    """Summed over the batch of matrices too."""
    left, right = call.value("batch1"), call.value("batch2")
    contract(call, ("batch1", left, 2), ("batch2", right, 1))
    contract(call, ("batch1", left, 0), ("batch2", right, 0))
    sizes = (left.size_and_labels(0), left.size_and_labels(1), left.size_and_labels(2))
    call.work(*sizes, right.size_and_labels(2))
    return _with_bias(call, (left.dims[1], right.dims[2]))


@rule("aten.inner")
def inner(call: Call) -> Dims:
    """Summed over the last dimension of both; the others follow one another."""
    left, right = call.value("self"), call.value("other")
    if not (left.shape and right.shape):
        raise UnsupportedCallError("a product with a number")
    contract(call, ("self", left, len(left.shape) - 1), ("other", right, len(right.shape) - 1))
    call.work(*_sizes(left), *_sizes(right)[:-1])
    return (*left.dims[:-1], *right.dims[:-1])


@rule("aten.outer", "aten.ger")
def outer(call: Call) -> Dims:
    return (call.value("self").dims[0], call.value("vec2").dims[0])


@rule("aten.bilinear")
def bilinear(call: Call) -> Dims:
    """Two inputs against one weight of shape (outputs, first inputs, second inputs)."""
    first, second, weight = call.value("input1"), call.value("input2"), call.value("weight")
    last = len(first.shape) - 1
    contract(call, ("input1", first, last), ("weight", weight, 1))
    contract(call, ("input2", second, last), ("weight", weight, 2))
    call.role(weight, 0, "writes")
    bias = call.optional("bias")
    if bias is not None:
        call.unify(weight.dims[0], bias.dims[0])
    for a, b in zip(first.dims[:-1], second.dims[:-1], strict=True):
        call.unify(a, b)
    rows = [first.size_and_labels(d) for d in range(last)]
    call.work(*rows, *(weight.size_and_labels(d) for d in range(3)))
    return (*first.dims[:-1], weight.dims[0])


@rule("aten.tensordot")
def tensordot(call: Call) -> Dims:
    """Summed over pairs of dimensions; the others follow one another."""
    left, right = call.value("self"), call.value("other")
    pairs = []
    for name, value in (("dims_self", left), ("dims_other", right)):
        pairs.append([dim % len(value.shape) for dim in call.integers(name)])
    for a, b in zip(*pairs, strict=True):
        contract(call, ("self", left, a), ("other", right, b))
    rest = [d for d in range(len(left.shape)) if d not in pairs[0]]
    its = [d for d in range(len(right.shape)) if d not in pairs[1]]
    call.work(*_sizes(left), *(right.size_and_labels(d) for d in its))
    return (*(left.dims[d] for d in rest), *(right.dims[d] for d in its))


def _sizes(value: Value) -> list[tuple[int, Labels]]:
    return [value.size_and_labels(dim) for dim in range(len(value.shape))]
