"""Spellings: operators that torch has under two names are written by the one that the rules know.

Export keeps the name that a network was written with, and torch does not tag the second ones, so
what they touch would stay.

Comes in: an ``fx.Graph``.  Goes out: the same graph, changed in place; values are bit-identical.
Knows nothing of shapes or labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

# Second name -> first; each form in place is named so too.
FIRST_NAMES: Mapping[str, str] = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "divide": "div",
    "fix": "trunc",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "linalg_matmul": "matmul",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "row_stack": "vstack",
    "special_digamma": "digamma",
    "special_erf": "erf",
    "special_erfc": "erfc",
    "special_erfinv": "erfinv",
    "special_exp2": "exp2",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "special_gammainc": "igamma",
    "special_gammaincc": "igammac",
    "special_gammaln": "lgamma",
    "special_i0": "i0",
    "special_log1p": "log1p",
    "special_logit": "logit",
    "special_logsumexp": "logsumexp",
    "special_multigammaln": "mvlgamma",
    "special_polygamma": "polygamma",
    "special_psi": "digamma",
    "special_sinc": "sinc",
    "special_xlogy": "xlogy",
    "subtract": "sub",
    "true_divide": "div",
}


def write_first_names(graph: fx.Graph) -> None:
    """Second names become first ones; one subtracted from another, the other less the one."""
    for node in graph.nodes:
        twin = first_name(node.target)
        if twin is not None:
            node.target = twin
        elif node.target is aten.rsub.Tensor:
            node.target = aten.sub.Tensor
            node.args = (node.args[1], node.args[0])


def first_name(target: Any) -> torch._ops.OpOverload | None:
    """The operator that takes the same arguments under the first name; None for first names."""
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return None
    second = target.overloadpacket.__name__
    first = FIRST_NAMES.get(second.removesuffix("_"))
    if first is None:
        return None
    packet = getattr(aten, f"{first}_" if second.endswith("_") else first)
    overloads = (getattr(packet, name) for name in packet.overloads())
    return next(twin for twin in overloads if _arguments(twin) == _arguments(target))


def _arguments(target: torch._ops.OpOverload) -> list[tuple[str, str, bool, Any]]:
    formals = target._schema.arguments
    return [(f.name, str(f.type), f.kwarg_only, f.default_value) for f in formals]
