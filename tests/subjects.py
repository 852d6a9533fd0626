"""Every network that the rules are tried on: zoo, attacks, and the cases of ``tests/rules``.

Comes in: a name.  Goes out: the captured network with inputs.  The cases are found by themselves:
any ``CASES`` of a test module there, and its networks that are built without arguments.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.graphs import Graph
from compressor.types import Analysis
from tests import zoo, zoo_attacks
from tests.rules import cases
from tests.zoo import ZOO
from tests.zoo_attacks import ATTACKS, CHANGED

FOLDER = Path(__file__).parent / "rules"
ROWS, PICTURES = (2, 5, 6), (2, 3, 6, 6)


@dataclass(frozen=True, slots=True)
class Subject:
    """``inputs``: with the given batch."""

    graph: Graph
    inputs: Callable[[int], tuple[Tensor, ...]]


Recipe = tuple[Callable[[], nn.Module], tuple[int, ...]]


def _between(middle: cases.Middle, shape: tuple[int, ...]) -> Recipe:
    kind = cases.Between if shape == ROWS else cases.BetweenPictures
    return (lambda: kind(middle)), shape


def _case_networks() -> Mapping[str, Recipe]:
    found: dict[str, Recipe] = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        module = importlib.import_module(f"tests.rules.{path.stem}")
        shape = PICTURES if "pictures" in path.stem else ROWS
        family = path.stem.removeprefix("test_")
        for name, case in getattr(module, "CASES", {}).items():
            found[f"{family}.{name}"] = _between(case.middle, shape)
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == module.__name__
            if own and issubclass(value, nn.Module) and not inspect.signature(value).parameters:
                found[f"{family}.{name}"] = (value, shape)
    for name, middle in zoo_attacks.ROWS.items():
        found[f"attacks.{name}"] = _between(middle, ROWS)
    for name, middle in zoo_attacks.PICTURES.items():
        found[f"attacks.{name}"] = _between(middle, PICTURES)
    return found


CASES = _case_networks()
SPECIMENS = {**ZOO, **ATTACKS}
NAMES = (*SPECIMENS, *CASES)


@cache
def subject(name: str) -> Subject:
    """Captured once; shared, so never to be changed."""
    if name in ZOO:
        return Subject(zoo.graph(name), lambda batch: ZOO[name].inputs(batch, seed=4))
    if name in ATTACKS:
        attack = ATTACKS[name]
        graph = zoo.captured(attack.build(), attack.inputs(), name)
        graph = CHANGED[name](graph) if name in CHANGED else graph
        return Subject(graph, lambda batch: attack.inputs(batch, seed=4))
    factory, shape = CASES[name]

    def drawn(batch: int) -> tuple[Tensor, ...]:
        return (torch.randn(batch, *shape[1:], generator=torch.Generator().manual_seed(4)),)

    return Subject(zoo.captured(zoo.randomised(factory), drawn(2), name), drawn)


@cache
def analysis(name: str) -> Analysis:
    """As it is before anything is broken."""
    return zoo.analysis(name) if name in ZOO else analyze(subject(name).graph)
