"""Flattening: blocks are written out, checks go, results become plain; values stay."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from compressor.errors import CaptureError
from compressor.flattening import CHECKS
from compressor.graphs import Graph, capture, export_program, graph_from_program

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def targets(graph: Graph) -> list[str]:
    return [str(node.target) for node in graph.program.graph.nodes if node.op == "call_function"]


class Quiet(nn.Module):
    """Two results of a block without gradients, one of which passes an inner block."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = torch.tanh(self.first(x))
            with torch.autocast("cpu", enabled=False):
                scale = hidden.sum(-1, keepdim=True) + torch.tensor([0.5])
        return self.last(hidden * scale)


def test_blocks_that_only_set_a_mode_are_written_out() -> None:
    network = Quiet()
    graph = capture(network, (X,))
    torch.testing.assert_close(graph(X), network(X))
    assert not any("wrap_with" in target for target in targets(graph))
    assert all("." in name for name in dict(graph.named_parameters()))
    graph(X).sum().backward()
    assert graph.get_parameter("last.weight").grad is not None
    assert graph.get_parameter("first.weight").grad is None, "no gradient passed the block before"
    again = graph_from_program(export_program(graph))
    assert torch.equal(again(X), graph(X))


class InHalf(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.last(self.first(x))


class Chosen(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, self.first, lambda y: -self.first(y), (x,))


@pytest.mark.parametrize(
    ("network", "message"),
    [(InHalf, "holds an autocast to torch.bfloat16 on cpu: remove it"), (Chosen, "holds cond, a")],
)
def test_blocks_that_change_values_are_refused(network: type[nn.Module], message: str) -> None:
    with pytest.raises(CaptureError, match=message) as told:
        capture(network(), (X,))
    assert "\n" not in str(told.value)
    assert ("(at tests/test_flattening.py:" in str(told.value)) == (network is InHalf)


class Checked(Quiet):
    def forward(self, x: Tensor) -> Tensor:
        torch._check(x.shape[0] < 1000)
        return self.last(torch.tanh(self.first(x.to(torch.float32))))


def test_checks_of_sizes_and_metadata_are_dropped() -> None:
    graph = capture(Checked(), (X,))
    assert not any(node.target in CHECKS for node in graph.program.graph.nodes)
    assert not any(target.startswith("<built-in") for target in targets(graph))


@dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None
    loss: Tensor | None = None


class Memory:
    """A class of tensors that names none of them, as a cache of keys and values."""

    def __init__(self, kept: Tensor) -> None:
        self.kept = kept


class Pair(NamedTuple):
    one: Tensor
    two: Tensor


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    torch.export.register_dataclass(Answer, serialized_type_name="tests.Answer")
    pytree.register_pytree_node(
        Memory,
        lambda memory: ([memory.kept], None),
        lambda values, _: Memory(next(iter(values))),
        serialized_type_name="tests.Memory",
    )
    yield
    for made in (Answer, Memory):
        pytree._deregister_pytree_node(made)


class Returning(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(6, 4), kind

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        return {
            "class": lambda: Answer(y, (x + 1, y.exp())),
            "memory": lambda: (y, Memory(torch.cumsum(x, 1))),
            "named": lambda: Pair(y, x + 1),
            "ordered": lambda: OrderedDict(out=y, aux=[x + 1, None]),
        }[self.kind]()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("class", {"logits": "y", "hidden": ("x + 1", "exp")}),
        ("memory", ("y",)),
        ("named", ("y", "x + 1")),
        ("ordered", OrderedDict(out="y", aux=["x + 1", None])),
    ],
)
def test_results_become_dicts_and_tuples(kind: str, expected: Any) -> None:
    network = Returning(kind)
    graph = capture(network, (X,))
    y = network.layer(X)
    known = {"y": y, "x + 1": X + 1, "exp": y.exp(), None: None}
    for program in (graph, graph_from_program(export_program(graph))):
        answer = program(X)
        assert type(answer) is type(expected)
        leaves, spec = pytree.tree_flatten(answer)
        wanted, wanted_spec = pytree.tree_flatten(expected)
        assert spec == wanted_spec
        for leaf, name in zip(leaves, wanted, strict=True):
            torch.testing.assert_close(leaf, known[name])


def test_what_no_dict_can_hold_is_left_out_and_said() -> None:
    graph = capture(Returning("memory"), (X,))
    assert graph.notes == ("the result[1] is left out: a Memory is no tensor",)
    assert not any("cumsum" in target for target in targets(graph))


class WritesOver(nn.Module):
    """Normalises its input in place, through a view of it or behind a dropout."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.drop, self.last = how, nn.Dropout(0.5), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "itself":
            x.sub_(0.5)
        elif self.how == "view":
            x.view(-1, 3, 2)[:, 0].mul_(2.0)
        elif self.how == "dropout":
            x = self.drop(x).mul_(2.0)
        else:
            x = (x + 1.0).mul_(2.0)
        return self.last(x)


@pytest.mark.parametrize(
    ("how", "copied"), [("itself", 1), ("view", 1), ("dropout", 1), ("another", 0)]
)
def test_inputs_stay_as_they_were_given(how: str, copied: int) -> None:
    torch.manual_seed(0)
    network = WritesOver(how).eval()
    graph = capture(network, (torch.rand(2, 6),))
    clones = graph.program.graph.find_nodes(op="call_function", target=torch.ops.aten.clone.default)
    assert len(list(clones)) == copied
    given = torch.rand(4, 6)
    before = given.clone()
    with torch.no_grad():
        found, wanted = graph(given), network(given.clone())
    assert torch.equal(given, before)
    assert torch.equal(found, wanted)
