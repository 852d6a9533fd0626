"""Chance: networks that draw random numbers when they are evaluated are refused.

Comes in: an annotated ``fx.Graph``.  Goes out: the same graph, without draws that nobody reads; or
a CaptureError that names the operator.  Knows nothing of labels.

A narrower student takes other numbers from the generator, so nothing could be proved of it.
Dropout that is switched off draws none.
"""

from __future__ import annotations

import torch
from torch import fx

from compressor.carriers import bound
from compressor.errors import CaptureError

SWITCHES = ("train", "training")
PROBABILITIES = ("p", "dropout", "dropout_p")


def require_no_chance(graph: fx.Graph, name: str) -> None:
    """Draws that nobody reads are dropped; raises CaptureError for others."""
    for node in graph.nodes:
        if not draws(node):
            continue
        if not node.users and not node.target._schema.is_mutable:
            graph.erase_node(node)
        else:
            source = node.meta.get("source", "")
            raise CaptureError(
                f"{name} draws random numbers when it is evaluated: {node.target}"
                f"{f' (at {source})' if source else ''}; draw them in training only, or take them "
                "as an input"
            )


def draws(node: fx.Node) -> bool:
    """Whether running the node takes numbers from a generator."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    given = bound(node)
    switched_off = any(given.get(switch) is False for switch in SWITCHES)
    never = any(given.get(probability) == 0 for probability in PROBABILITIES)
    return not (switched_off or never)
