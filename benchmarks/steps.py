"""What OpenVINO tells of the nodes that it runs: which of the file they are, and in which type.

Comes in: a compiled model's own graph with the file's operations.  Goes out: a Step for each node.
Knows nothing of times.

A node lists the names it came of: those of the file's nodes or of their outputs, some with an
ending (``conv/WithoutBiases``), some of nodes that OpenVINO made itself.  Where it moves an
addition or a conversion elsewhere the name goes with it, but the weight stays with the product: so
a weight that a single operation reads says who multiplies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.kernels import TYPES, Node, settle
from benchmarks.operations import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``covers`` and ``converts`` as in `kernels.Kernel`."""

    covers: tuple[str, ...]
    converts: bool
    computes_in: str | None
    at_load: bool = False  # of constants alone: no call computes it


UNKNOWN = Step(covers=(), converts=False, computes_in=None)


def steps_of(model: Any, operations: Sequence[Operation]) -> dict[str, Step]:
    """The nodes of ``model`` by name; it is what ``get_runtime_model()`` gives."""
    known = {name: one.name for one in operations for name in (*one.outputs, one.name)}
    owners = _owners(operations)
    nodes, covers, types, multiplies = [], [], [], []
    constants: dict[str, set[str]] = {}  # what is computed of constants alone -> their names
    for one in model.get_ordered_ops():
        facts = _facts(one)
        makers = (given.get_source_output().get_node() for given in one.inputs())
        sources = [maker.friendly_name for maker in makers]
        weights = {name for source in sources for name in constants.get(source, ())}
        own, named = [], []
        if facts["layerType"] == "Const":
            constants[one.friendly_name] = {one.friendly_name}
        elif sources and all(source in constants for source in sources):
            constants[one.friendly_name] = weights
        else:
            own = [owners[name] for name in sorted(weights) if name in owners]
            named = [_known(name, known) for name in facts["originalLayersNames"].split(",")]
        multiplies.append(own)
        covers.append(tuple(dict.fromkeys(name for name in (*named, *own) if name)))
        types.append(TYPES.get(facts["runtimePrecision"].lower()))
        nodes.append(
            Node(
                name=one.friendly_name,
                operator=facts["layerType"],
                domain="",
                inputs=tuple(sources),
                outputs=(one.friendly_name,),
            )
        )
    told = {name for own in multiplies for name in own}
    covers = [
        tuple(name for name in found if name in own or name not in told)
        for found, own in zip(covers, multiplies, strict=True)
    ]
    settled = settle(nodes, covers, {one.name for one in operations if one.converts})
    return {
        node.name: Step(
            covers=found,
            converts=converts,
            computes_in=kind,
            at_load=node.name in constants,
        )
        for node, (found, converts), kind in zip(nodes, settled, types, strict=True)
    }


def _owners(operations: Sequence[Operation]) -> dict[str, str]:
    """Weights that a single operation multiplies with -> its name."""
    multiplying = [one for one in operations if one.macs != 0 and one.weight is not None]
    counts = Counter(one.weight for one in multiplying)
    return {str(one.weight): one.name for one in multiplying if counts[one.weight] == 1}


def _facts(node: Any) -> dict[str, str]:
    info = node.get_rt_info()
    return {
        key: str(info[key].astype(str)) if key in info else ""
        for key in ("originalLayersNames", "layerType", "runtimePrecision")
    }


def _known(name: str, known: dict[str, str]) -> str | None:
    """The operation of a name, or of what stands before its endings."""
    while name not in known:
        name, ending, _ = name.rpartition("/")
        if not ending:
            return None
    return known[name]
