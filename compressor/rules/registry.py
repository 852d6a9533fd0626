"""Which rule belongs to which operator.

A rule is one function ``(call) -> dims``: the labels of the result's dimensions, or a tuple of them
for an operator with several results.  Register it with ``@rule("aten.name")``; the name covers all
overloads and the in-place form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from compressor.rules.calls import Call, Dims

Rule = Callable[[Call], Dims | Sequence[Dims]]

_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of these operators ("aten.linear")."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in _RULES:
                raise ValueError(f"{name} has two rules")
            _RULES[name] = function
        return function

    return register


def operator_name(target: Any) -> str:
    """Name without overload: ``aten.linear.default`` -> ``aten.linear``."""
    text = str(target)
    return ".".join(text.split(".")[:2]) if isinstance(target, torch._ops.OpOverload) else text


def find_rule(node: fx.Node) -> Rule | None:
    """The node's rule; its out-of-place twin's; the elementwise one by torch's tag; or None."""
    name = operator_name(node.target)
    for candidate in (name, name.removesuffix("_")):
        if candidate in _RULES:
            return _RULES[candidate]
    return _RULES["pointwise"] if _is_pointwise(node.target) else None


def _is_pointwise(target: Any) -> bool:
    """By torch's tag, which some forms in place lack and their twins have."""
    if not isinstance(target, torch._ops.OpOverload):
        return False
    name = target.overloadpacket.__name__.removesuffix("_")
    packet = getattr(getattr(torch.ops, target.namespace), name, None)
    twin = getattr(packet, target._overloadname, target)
    return any(torch.Tag.pointwise in form.tags for form in (target, twin))


def known_operators() -> tuple[str, ...]:
    return tuple(sorted(_RULES))
