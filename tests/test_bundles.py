"""Bundles: packed projections are cut into their parts, bit by bit the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import bundles, canonical
from compressor.analysis import analyze
from compressor.bundles import take_bundles_apart
from compressor.graphs import Graph, capture
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from compressor.types import Group
from tests import zoo, zoo_packed
from tests.zoo import ZOO

PACKED = (
    "packed_heads",
    "packed_in_heads",
    "packed_pair",
    "packed_maps",
    "explicit_attention",
    "attention",
)


@pytest.fixture
def captured_as_it_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module, Tensor], Graph]:
    def captured(network: nn.Module, example: Tensor) -> Graph:
        with monkeypatch.context() as patch:
            patch.setattr(canonical, "take_bundles_apart", lambda graph, free: None)
            return capture(network, (example,))

    return captured


As_It_Is = Callable[[nn.Module, Tensor], Graph]


@pytest.mark.parametrize("name", PACKED)
def test_parts_are_bit_identical_and_have_widths_of_their_own(
    name: str, captured_as_it_is: As_It_Is
) -> None:
    before = captured_as_it_is(ZOO[name].build(), *ZOO[name].inputs())
    inputs = ZOO[name].inputs(batch=3, seed=1)
    with torch.no_grad():
        assert torch.equal(before(*inputs), zoo.graph(name)(*inputs))
    assert len(zoo.analysis(name).groups) == len(analyze(before).groups) + 1


@pytest.mark.parametrize("name", PACKED)
def test_what_survives_keeps_its_name_and_what_is_new_tells_its_place(
    name: str, captured_as_it_is: As_It_Is
) -> None:
    before = captured_as_it_is(ZOO[name].build(), *ZOO[name].inputs())
    old = {node.name: node for node in before.program.graph.nodes}
    new = {node.name: node for node in zoo.graph(name).program.graph.nodes}
    assert old.keys() - new.keys()
    assert new.keys() - old.keys()
    for shared in old.keys() & new.keys():
        assert old[shared].target == new[shared].target
        assert old[shared].meta == new[shared].meta
    for added in new.keys() - old.keys():
        origin = old[added.rpartition("_")[0]]
        assert new[added].meta["where"] == origin.meta["where"]
        assert new[added].meta["source"] == origin.meta["source"]
        assert new[added].users, "nothing is left that nobody reads"


def width_groups(name: str) -> tuple[Group, Group]:
    """The group of query and key width, and that of value width."""
    groups = [
        group
        for group in zoo.analysis(name).groups
        if group.units == 8 and any("qkv" in member.parameter for member in group.members)
    ]
    reads_out = [any(m.parameter == "out.weight" for m in group.members) for group in groups]
    weights = [
        sum(stop - start for m in group.members for start, stop in m.rows) for group in groups
    ]
    key = next(g for g, out in zip(groups, reads_out, strict=True) if not out)
    rest = [(w, g) for g, out, w in zip(groups, reads_out, weights, strict=True) if out]
    return key, min(rest, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("name", ["packed_heads", "packed_in_heads", "explicit_attention"])
def test_value_width_is_cut_unlike_query_and_key_width(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    key, value = width_groups(name)
    keep = [np.ones(1, dtype=bool)]
    for group in analysis.groups:
        units = np.ones(group.units, dtype=bool)
        if group.id == key.id:
            units[[0, 2, 3, 5, 7]] = False
        if group.id == value.id:
            units[6] = False
        keep.append(units)
    chosen = plan_keeping(analysis, np.concatenate(keep))
    student = remove(graph, analysis, chosen)
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert proof.moved > 1e-6
    assert student.tensors["qkv.weight"].shape == (8 * (3 + 3 + 7), 6)
    assert student.tensors["out.weight"].shape == (4, 8 * 7)
    with torch.no_grad():
        assert student(*ZOO[name].inputs(batch=5)).shape == (5, 4)


class Packed(nn.Module):
    """A packed projection of 5 to 48, and what is done with it."""

    def __init__(self, use: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pack, self.head = nn.Linear(5, 48), nn.Linear(16, 3)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.use(self.pack(x)))


def pieces(graph: Graph) -> list[str]:
    return [node.name for node in graph.program.graph.nodes if "_rows" in node.name]


def carried(x: Tensor) -> Tensor:
    x = x.view(-1, 3, 4, 4).transpose(1, 2).contiguous().unsqueeze(1)
    x = x.squeeze(1).permute(2, 0, 1, 3).reshape(3, -1, 16)
    return x[0] * x[1] + x[2]


def in_two_picks(x: Tensor) -> Tensor:
    x = x.view(-1, 3, 16)
    pair = x[:, :2]
    return pair[:, 0] * pair[:, 1] + x[:, -1]


def one_unread(x: Tensor) -> Tensor:
    first, _, last = x.view(-1, 3, 16).unbind(1)
    return first * last


def six_parts(x: Tensor) -> Tensor:
    a, b, *_, f = x.view(-1, 6, 8).chunk(6, dim=1)
    return torch.cat([a + b, f], dim=2).squeeze(1)


@pytest.mark.parametrize(
    ("use", "count"), [(carried, 3), (in_two_picks, 3), (one_unread, 2), (six_parts, 3)]
)
def test_parts_are_followed_through_what_only_moves_them(
    use: Callable[[Tensor], Tensor], count: int, captured_as_it_is: As_It_Is
) -> None:
    network, x = zoo.randomised(lambda: Packed(use)).eval(), torch.randn(2, 5)
    graph = capture(network, (x,))
    assert len(pieces(graph)) == count
    with torch.no_grad():
        assert torch.equal(graph(x), network(x))
        assert torch.equal(graph(x), captured_as_it_is(network, x)(x))
    assert all(node.users for node in graph.program.graph.nodes if node.op == "call_function")


def read_whole(x: Tensor) -> Tensor:
    x = x.view(-1, 3, 16)
    return x[:, 0] + x.sum(1)


def single_rows(x: Tensor) -> Tensor:
    return x.view(-1, 16, 3)[:, :, 1]


def written_in_place(x: Tensor) -> Tensor:
    x = x.view(-1, 3, 16)
    x.mul_(2)
    return x[:, 0] * x[:, 1]


def calculated_with(x: Tensor) -> Tensor:
    """Over one part alone, vector code may round otherwise."""
    return torch.tanh(x.view(-1, 3, 16))[:, 0]


def mixed_parts(x: Tensor) -> Tensor:
    return x.view(-1, 3, 16).softmax(1)[:, 0]


def too_many(x: Tensor) -> Tensor:
    x = x.view(-1, 12, 4)
    return torch.cat([x[:, place] for place in range(4)], dim=1)


@pytest.mark.parametrize(
    "use",
    [read_whole, single_rows, written_in_place, calculated_with, mixed_parts, too_many],
)
def test_a_bundle_that_is_read_in_another_way_stays(
    use: Callable[[Tensor], Tensor], captured_as_it_is: As_It_Is
) -> None:
    network, x = zoo.randomised(lambda: Packed(use)).eval(), torch.randn(2, 5)
    as_it_is = captured_as_it_is(network, x)
    again = copy.deepcopy(as_it_is.program.graph)
    take_bundles_apart(again, as_it_is.sizes.symbolic)
    assert str(again) == str(as_it_is.program.graph)


def test_a_layout_for_four_dimensions_is_not_asked_of_three(captured_as_it_is: As_It_Is) -> None:
    def use(x: Tensor) -> Tensor:
        x = x.view(-1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        return (x[:, 0] + x[:, 1]).flatten(1)

    network, x = zoo.randomised(lambda: Packed(use)).eval(), torch.randn(2, 5)
    graph = capture(network, (x,))
    assert pieces(graph) == []
    assert len(graph.program.graph.nodes) == len(captured_as_it_is(network, x).program.graph.nodes)


def test_the_limit_on_parts_covers_what_packs_most() -> None:
    assert bundles.MOST_PARTS >= 6
    assert set(PACKED) <= set(ZOO)
    assert zoo_packed.PackedHeads is ZOO["packed_heads"].network
