"""Second names of operators: the first takes the same arguments and gives the same values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from compressor.rules import find_rule
from compressor.spellings import FIRST_NAMES, first_name, write_first_names
from tests.rules.cases import Between
from tests.rules.test_rules import by_second_names
from tests.zoo import captured, randomised

aten = torch.ops.aten


def forms(name: str) -> Iterator[torch._ops.OpOverload]:
    """All overloads, those in place too; but none that is given the tensor to write into."""
    for packet in (getattr(aten, form, None) for form in (name, f"{name}_")):
        for overload in packet.overloads() if packet is not None else ():
            if "out" not in overload:
                yield getattr(packet, overload)


@pytest.mark.parametrize("name", FIRST_NAMES)
def test_every_form_of_a_second_name_has_a_twin_with_a_rule(name: str) -> None:
    assert list(forms(name))
    for form in forms(name):
        twin = first_name(form)
        assert twin is not None
        assert first_name(twin) is None
        assert [str(a) for a in twin._schema.returns] == [str(a) for a in form._schema.returns]
        assert find_rule(torch.fx.Graph().call_function(twin)) is not None


UNARY = [
    name
    for name in FIRST_NAMES
    if [str(formal.type) for formal in next(forms(name))._schema.arguments] == ["Tensor"]
]


@pytest.mark.parametrize("name", UNARY)
def test_a_twin_gives_the_same_bits(name: str) -> None:
    form = next(forms(name))
    twin = first_name(form)
    assert twin is not None
    given = torch.linspace(-1, 2, 50)
    torch.testing.assert_close(twin(given), form(given), rtol=0, atol=0, equal_nan=True)


def test_a_network_of_second_names_is_captured_under_first_ones() -> None:
    network = randomised(lambda: Between(by_second_names)).eval()
    x = torch.randn(2, 5, 6)
    graph = captured(network, (x,))
    targets = [node.target for node in graph.program.graph.nodes]
    assert all(first_name(target) is None for target in targets)
    assert aten.rsub.Tensor not in targets
    assert torch.equal(graph(x), network(x))
    write_first_names(graph.program.graph)
    assert [node.target for node in graph.program.graph.nodes] == targets
