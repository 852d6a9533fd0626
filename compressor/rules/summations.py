"""Einsum: summation written letter by letter."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.labels import Labels
from compressor.rules.calls import Call, Dims, UnsupportedCallError, Value
from compressor.rules.registry import rule


@rule("aten.einsum")
def einsum(call: Call) -> Dims:
    """What shares a letter shares units; letters that vanish are summed over."""
    equation, values = call.arguments["equation"], call.values("tensors")
    if not isinstance(equation, str):
        raise UnsupportedCallError("an einsum without an equation")
    inputs, output = _letters(equation, values)
    found: dict[str, tuple[int, Labels]] = {}
    for place, (letters, value) in enumerate(zip(inputs, values, strict=True)):
        for dim, letter in enumerate(letters):
            _meet(call, found, letter, value.size_and_labels(dim))
            call.role(value, dim, "writes" if letter in output else "reads")
            if letter not in output and not value.stored:
                call.contract(f"tensors.{place}", dim)
    call.work(*found.values())
    return tuple(found[letter][1] for letter in output)


def _meet(
    call: Call, found: dict[str, tuple[int, Labels]], letter: str, own: tuple[int, Labels]
) -> None:
    """One more dimension with this letter; a size of one is broadcast."""
    known = found.setdefault(letter, own)
    if known[0] == 1:
        found[letter] = own
    elif own[0] > 1:
        call.unify(known[1], own[1], "is summed against a dimension that stays")
        found[letter] = own if known[1] is None else known


def _letters(equation: str, values: Sequence[Value]) -> tuple[list[str], str]:
    """Letters of every operand and of the result; an ellipsis becomes digits, from behind."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs, longest = [], 0
    for letters, value in zip(left.split(","), values, strict=True):
        if "..." in letters:
            hidden = len(value.shape) - len(letters) + 3
            longest = max(longest, hidden)
            letters = letters.replace("...", _digits(hidden))
        if len(set(letters)) < len(letters):
            raise UnsupportedCallError("an einsum that takes a diagonal")
        inputs.append(letters)
    if longest > 9:
        raise UnsupportedCallError("an einsum with more than nine hidden dimensions")
    if not arrow:
        once = {letter for letter in left if left.count(letter) == 1 and letter.isalpha()}
        output = "..." + "".join(sorted(once))
    return inputs, output.replace("...", _digits(longest))


def _digits(count: int) -> str:
    return "".join(str(place) for place in range(count, 0, -1))
