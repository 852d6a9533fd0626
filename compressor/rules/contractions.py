"""Operators that sum over a dimension: linear layers, convolutions, matrix products.

Both sides of the summed dimension hold the same units; the weight's other side writes new ones.
"""

from __future__ import annotations

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, Kept, UnsupportedCallError, Value
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
    contract(call, ("input", value, len(value.shape) - 1), ("weight", weight, 1))
    call.role(weight, 0, "writes")
    if bias is not None:
        call.unify(weight.dims[0], bias.dims[0])
    rows = [value.size_and_labels(d) for d in range(len(value.shape) - 1)]
    call.work(*rows, weight.size_and_labels(0), weight.size_and_labels(1))
    return (*value.dims[:-1], weight.dims[0])


@rule("aten.addmm")
def addmm(call: Call) -> Dims:
    bias, a, b = call.value("self"), call.value("mat1"), call.value("mat2")
    result = _product(call, ("mat1", a), ("mat2", b))
    for dim in range(1, len(bias.shape) + 1):
        if bias.shape[-dim] > 1:
            call.unify(result[-dim], bias.dims[-dim])
    return result


@rule("aten.matmul", "aten.bmm", "aten.mm", "aten.mv")
def matmul(call: Call) -> Dims:
    other = "other" if "other" in call.arguments else "mat2"
    other = other if other in call.arguments else "vec"
    return _product(call, ("self", call.value("self")), (other, call.value(other)))


def _product(call: Call, a: tuple[str, Value], b: tuple[str, Value]) -> Dims:
    (left_name, left), (right_name, right) = a, b
    if len(left.shape) < 2 or len(right.shape) < 2:
        raise UnsupportedCallError("a product with a vector")
    rank = len(call.shape)
    contract(
        call,
        (left_name, left, len(left.shape) - 1),
        (right_name, right, len(right.shape) - 2),
    )
    call.role(left, len(left.shape) - 2, "writes")
    call.role(right, len(right.shape) - 1, "writes")
    outer: list[Labels] = []
    for position in range(rank - 2):
        meeting = []
        for value in (left, right):
            own = position - rank + len(value.shape)
            if own >= 0 and value.shape[own] == call.shape[position]:
                meeting.append(value.dims[own])
        if len(meeting) == 2:
            call.unify(meeting[0], meeting[1])
        outer.append(next((m for m in meeting if m is not None), None))
    dims = (*outer, left.dims[-2], right.dims[-1])
    call.work(*zip(call.shape, dims, strict=True), left.size_and_labels(-1))
    return dims


@rule("aten.conv1d", "aten.conv2d", "aten.conv3d")
def convolution(call: Call) -> Dims:
    """Grouped: channels are (group, channel in group) on both sides; the group part is shared."""
    value, weight, bias = call.value("input"), call.value("weight"), call.optional("bias")
    groups = call.integer("groups")
    channels, outputs = weight.shape[1], weight.shape[0]
    call.fix(*weight.dims[2:])
    if groups == 1:
        contract(call, ("input", value, 1), ("weight", weight, 1))
        call.role(weight, 0, "writes")
    else:
        in_group, in_channel = call.split(value.dims[1], (groups, channels))
        out_group, _ = call.split(weight.dims[0], (groups, outputs // groups))
        call.unify(in_group, out_group, "is a group of a convolution whose input stays")
        if channels > 1:
            call.unify(in_channel, weight.dims[1])
            call.role(weight, 1, "reads")
            call.role(weight, 0, "writes")
        if out_group is not None:
            call.rewrite("groups", Kept(out_group))
    if bias is not None:
        call.unify(weight.dims[0], bias.dims[0])
    space = [(size, None) for size in (*weight.shape[2:], *call.shape[2:])]
    batch = value.size_and_labels(0)
    call.work(batch, weight.size_and_labels(0), weight.size_and_labels(1), *space)
    call.fix(*value.dims[2:])
    return (value.dims[0], weight.dims[0], *([None] * (len(call.shape) - 2)))


@rule("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def transposed_convolution(call: Call) -> Dims:
    """The weight is (inputs, outputs per group, kernel); the groups are those of the inputs."""
    value, weight, bias = call.value("input"), call.value("weight"), call.optional("bias")
    groups = call.integer("groups")
    call.fix(*weight.dims[2:])
    contract(call, ("input", value, 1), ("weight", weight, 0))
    call.role(weight, 1, "writes")
    channels = weight.dims[1]
    if groups > 1:
        group, _ = call.split(weight.dims[0], (groups, weight.shape[0] // groups))
        channels = call.units.merge((group, weight.dims[1]), (groups, weight.shape[1]))
        if group is not None:
            call.rewrite("groups", Kept(group))
    if bias is not None:
        call.unify(channels, bias.dims[0])
    space = [(size, None) for size in (*weight.shape[2:], *value.shape[2:])]
    call.work(
        value.size_and_labels(0), weight.size_and_labels(0), weight.size_and_labels(1), *space
    )
    call.fix(*value.dims[2:])
    return (value.dims[0], channels, *([None] * (len(call.shape) - 2)))


@rule("aten.einsum")
def einsum(call: Call) -> Dims:
    """Letter by letter: what shares a letter shares units; letters that vanish are summed over."""
    equation, values = call.arguments["equation"], call.values("tensors")
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        raise UnsupportedCallError("an einsum with an ellipsis, or without an arrow")
    inputs, output = equation.replace(" ", "").split("->")
    found: dict[str, tuple[int, Labels]] = {}
    for letters, value in zip(inputs.split(","), values, strict=True):
        if len(set(letters)) < len(letters):
            raise UnsupportedCallError("an einsum that takes a diagonal")
        for dim, letter in enumerate(letters):
            if letter in found:
                call.unify(found[letter][1], value.dims[dim])
            if letter not in found or found[letter][1] is None:
                found[letter] = value.size_and_labels(dim)
            call.role(value, dim, "writes" if letter in output else "reads")
    summed = [letter for letter in found if letter not in output]
    if any(
        found[letter][1] is not None and not _weighs(letter, inputs, values) for letter in summed
    ):
        raise UnsupportedCallError("an einsum that sums activations over removable units")
    call.work(*found.values())
    return tuple(found[letter][1] for letter in output)


def _weighs(letter: str, inputs: str, values: tuple[Value, ...]) -> bool:
    """Whether a parameter is among the operands that are summed over this letter."""
    pairs = zip(inputs.split(","), values, strict=True)
    return any(value.stored for letters, value in pairs if letter in letters)


@rule("aten.embedding")
def embedding(call: Call) -> Dims:
    weight, positions = call.value("weight"), call.value("indices")
    call.freeze(weight.dims[0], "rows are looked up by index")
    call.role(weight, 1, "writes")
    for labels in positions.dims:
        call.freeze(labels, "holds indices of an embedding")
    return (*([None] * len(positions.shape)), weight.dims[1])


@rule("aten.scaled_dot_product_attention")
def attention(call: Call) -> Dims:
    """softmax(q k^T * scale + mask) v; the hidden default scale 1/sqrt(width) is pinned."""
    query, key, value = call.value("query"), call.value("key"), call.value("value")
    mask = call.optional("attn_mask")
    rank = len(call.shape)
    for position in range(rank - 2):
        for other in (key, value):
            shared = query.dims[position]
            if other.shape[position] != query.shape[position]:
                if position != rank - 3 or not call.arguments.get("enable_gqa"):
                    raise UnsupportedCallError("attention with broadcast heads")
                heads = other.shape[position]  # query heads are (key head, query of it)
                shared, _ = call.split(shared, (heads, query.shape[position] // heads))
            call.unify(shared, other.dims[position])
        if mask is not None:
            own = position - rank + len(mask.shape)
            if own >= 0 and mask.shape[own] > 1:
                call.unify(query.dims[position], mask.dims[own])
    contract(call, ("query", query, rank - 1), ("key", key, rank - 1))
    contract(call, ("value", value, rank - 2), ("key", key, rank - 2))
    call.inexact(key.dims[-2])
    if mask is not None:
        for dim in (-1, -2):
            call.freeze(mask.dims[dim], "is a position of an attention mask")
    width = query.shape[-1]
    if query.dims[-1] is not None and call.arguments.get("scale") is None:
        call.pin("scale", width**-0.5)
    outer = [query.size_and_labels(d) for d in range(rank - 1)]
    call.work(*outer, key.size_and_labels(-2), query.size_and_labels(-1))
    call.work(*outer, key.size_and_labels(-2), value.size_and_labels(-1))
    return (*query.dims[:-1], value.dims[-1])
