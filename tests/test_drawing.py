"""The picture: what is drawn, where it stands, and that the page needs nothing but itself."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.drawing import hue, render
from compressor.explanation import Explanation, explain
from compressor.flow import Flow, Stop, thin
from compressor.graphs import Graph
from compressor.labelling import label
from compressor.placing import place
from tests import zoo


def explained(graph: Graph) -> Explanation:
    return explain(graph, label(graph), analyze(graph))


@cache
def page(name: str) -> str:
    told = explained(zoo.graph(name))
    return render(told, thin(zoo.graph(name), told.freezers))


def flow_of(network: nn.Module, *inputs: Tensor) -> Flow:
    return thin(zoo.captured(network, inputs), ())


def chain(*depths: int) -> Flow:
    """Layers one after the other at these depths, with an edge from each to the next."""
    stops = tuple(
        Stop(kind="layer", node=f"n{i}", op="conv2d", where="", source="", parameters=(), depth=d)
        for i, d in enumerate(depths)
    )
    return Flow(stops=stops, edges=tuple((i, i + 1) for i in range(len(depths) - 1)))


# -- flow --------------------------------------------------------------------------------------


def test_a_network_is_thinned_to_layers_joins_and_ends() -> None:
    flow = thin(zoo.graph("residual"), ())
    drawn = [stop.parameters[0].rpartition(".")[0] for stop in flow.stops if stop.kind == "layer"]
    assert drawn == ["stem", "bn", "conv1", "bn1", "conv2", "bn2", "head"]
    assert [stop.op for stop in flow.stops if stop.kind == "join"] == ["add"]
    assert flow.stops[0].kind == "input"
    assert flow.stops[-1].kind == "output"


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_edge_goes_deeper_and_depth_is_the_longest_path(name: str) -> None:
    flow = thin(zoo.graph(name), ())
    above: dict[int, list[int]] = {}
    for source, target in flow.edges:
        above.setdefault(target, []).append(flow.stops[source].depth)
    for number, stop in enumerate(flow.stops):
        assert stop.depth == max(above.get(number, [-1])) + 1


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_parameter_that_is_used_is_drawn(name: str) -> None:
    graph = zoo.graph(name)
    drawn = {parameter for stop in thin(graph, ()).stops for parameter in stop.parameters}
    used = {str(n.target) for n in graph.program.graph.find_nodes(op="get_attr") if n.users}
    assert drawn >= used & {parameter for parameter, _ in graph.named_parameters()}


def test_a_value_that_is_only_measured_is_no_source() -> None:
    class Measured(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.second(y) + torch.zeros_like(x)

    flow = flow_of(Measured(), torch.randn(2, 4))
    assert [stop.kind for stop in flow.stops] == ["input", "layer", "layer", "output"]


def test_an_operator_that_freezes_is_drawn() -> None:
    told = explained(zoo.graph("unknown"))
    stops = thin(zoo.graph("unknown"), told.freezers).stops
    assert [stop.op for stop in stops if stop.kind == "operator"] == ["cumprod"]


# -- placing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.NAMES)
def test_boxes_do_not_overlap_and_stay_inside(name: str) -> None:
    placed = place(thin(zoo.graph(name), ()), frozenset())
    boxes = list(zip(placed.x, placed.y, placed.heights, strict=True))
    for i, (x, y, height) in enumerate(boxes):
        assert 0 <= x <= placed.width - placed.box_width
        assert 0 <= y <= placed.height - height
        for x2, y2, height2 in boxes[i + 1 :]:
            apart = abs(x - x2) >= placed.box_width or y + height < y2 or y2 + height2 < y
            assert apart


def test_deeper_is_lower_and_parallel_layers_stand_side_by_side() -> None:
    flow = Flow(stops=chain(0, 1, 1, 2).stops, edges=((0, 1), (0, 2), (1, 3), (2, 3)))
    placed = place(flow, frozenset())
    assert placed.y[0] < placed.y[1] == placed.y[2] < placed.y[3]
    assert placed.x[1] != placed.x[2]
    assert placed.x[3] == min(placed.x)


def test_an_edge_that_passes_boxes_goes_around_them() -> None:
    flow = Flow(stops=chain(0, 1, 2).stops, edges=((0, 1), (1, 2), (0, 2)))
    placed = place(flow, frozenset())
    (around,) = [path for path in placed.paths if "Q" in path]
    left = min(int(number) for number in re.findall(r"Q(\d+)", around))
    assert left < min(placed.x)


def test_a_join_of_many_values_shows_the_nearest_and_counts_the_rest() -> None:
    flow = Flow(stops=chain(*range(12)).stops, edges=tuple((i, 11) for i in range(11)))
    placed = place(flow, frozenset())
    assert placed.hidden == {11: 7}
    assert len(placed.paths) == 4


# -- page --------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Tags, attributes and whether all that opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", zoo.NAMES)
def test_page_is_well_formed_and_loads_nothing(name: str) -> None:
    elements = Elements(page(name))
    assert elements.open == []
    for tag, attributes in elements.found:
        assert tag not in ("link", "img", "iframe", "object")
        assert not {"src", "href", "onclick"} & set(attributes)
    assert "http://" not in page(name)
    assert "https://" not in page(name)
    assert "default-src 'none'" in page(name)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_group_is_in_the_picture_and_in_the_table(name: str) -> None:
    elements = Elements(page(name)).found
    for kind in ("rect", "tr"):
        shown = {a["data-g"] for tag, a in elements if tag == kind and "data-g" in a}
        assert shown == {str(group.id) for group in zoo.analysis(name).groups}


def test_members_of_a_group_have_its_colour_and_no_other() -> None:
    for tag, attributes in Elements(page("residual")).found:
        if tag == "rect" and "data-g" in attributes:
            assert attributes["style"] == f"--h:{hue(int(attributes['data-g'] or 0))}"
    assert len({hue(group) for group in range(40)}) == 40


def test_what_stays_is_hatched_and_says_why() -> None:
    assert re.search(
        r'class="hatched"[^>]*><title>stays: no rule is known for this operator\n'
        r"aten\.cumprod\.default tests/zoo_images\.py:\d+",
        page("unknown"),
    )
    assert "stays: is the network&#39;s output" in page("unknown")


def test_widths_are_shown_on_both_ends_of_a_layer() -> None:
    sizes = re.findall(r'class="size"[^>]*>(\d+)<', page("residual"))
    assert {"3", "16", "12"} <= set(sizes)


def test_names_are_escaped() -> None:
    graph = zoo.captured(nn.Linear(4, 2), (torch.randn(2, 4),), "<b>&amp;")
    told = explained(graph)
    text = render(told, thin(graph, told.freezers))
    assert "<b>&amp;" not in text
    assert "&lt;b&gt;&amp;amp;" in text


def test_the_same_values_give_the_same_page() -> None:
    told = explained(zoo.graph("concat"))
    flow = thin(zoo.graph("concat"), told.freezers)
    assert render(told, flow) == render(told, flow)
