"""What a plan does, layer by layer, on the zoo: nothing may differ from the student."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from compressor.errors import PlanError
from compressor.narrowing import Contest, Narrowing, Width, narrow, part_depth
from compressor.planning import empty_plan, plan_keeping
from compressor.tables import widths
from tests import zoo


@cache
def halved(name: str) -> Narrowing:
    return narrow(zoo.graph(name), zoo.analysis(name), zoo.half(name))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_shapes_told_are_those_of_the_student(name: str) -> None:
    shapes = {key: tuple(value.shape) for key, value in zoo.student(name).tensors.items()}
    told = {layer.parameter: layer.after for layer in halved(name).layers}
    assert told
    assert told == {parameter: shapes[parameter] for parameter in told}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_parts_add_up_to_the_plans_costs(name: str) -> None:
    made, parts = zoo.half(name), halved(name).parts
    for measure in ("params", "macs"):
        for moment in ("before", "after"):
            parted = sum(getattr(getattr(part, moment), measure) for part in parts)
            assert parted == getattr(getattr(made, moment), measure)


def test_heads_and_their_widths_compete_and_the_choice_is_told() -> None:
    graph, analysis = zoo.graph("heads_by_view"), zoo.analysis("heads_by_view")
    keep = np.ones(1 + sum(group.units for group in analysis.groups), dtype=np.bool_)
    keep[1] = False  # one head
    made = narrow(graph, analysis, plan_keeping(analysis, keep))
    kinds = [{width.kind for width in contest.widths} for contest in made.contests]
    assert kinds == [{"heads", "query/key width"}, {"heads", "value width"}]
    assert made.contests[0].where == ("query", "key")
    for contest in made.contests:
        assert [(w.kind, w.before, w.after) for w in contest.chosen] == [("heads", 8, 7)]
    text = " ".join(widths.contest_lines(made, everything=False))
    assert "heads 8 -> 7, query/key width 8 -> 8; cut: heads" in text


def test_long_lists_share_lines_and_say_so() -> None:
    widths_of = tuple(
        Width(group=n, name=f"layers.{n}.mlp", kind="MLP width", before=64, after=32 + n % 2)
        for n in range(80)
    )
    contest = [Contest(where=(w.name,), widths=(w, w)) for w in widths_of]
    made = Narrowing(widths=widths_of, layers=(), parts=(), contests=tuple(contest))
    lines = widths.width_lines(made, everything=False)
    assert [line.split() for line in lines[2:3]] == [
        ["layers.*.mlp", "MLP", "width", "64", "->", "32-33", "51", "%", "x", "80"]
    ]
    assert "--all shows each of the 80" in lines[-1]
    assert len(widths.width_lines(made, everything=True)) == 82
    (line,) = widths.contest_lines(made, everything=False)[1:2]
    assert line.startswith("  layers.*.mlp: MLP width 64 -> 32-33, MLP width 64 -> 32-33; all are")
    assert len(widths.contest_lines(made, everything=True)) > 80


def test_groups_and_channels_per_group_compete() -> None:
    kinds = {frozenset(w.kind for w in contest.widths) for contest in halved("grouped").contests}
    assert kinds == {frozenset({"convolution groups", "channels per group"})}


@pytest.mark.parametrize("name", ["chain", "residual", "concat"])
def test_networks_without_factors_have_no_contest(name: str) -> None:
    assert halved(name).contests == ()
    assert widths.contest_lines(halved(name), everything=False) == []


def test_an_empty_plan_changes_no_shape() -> None:
    analysis = zoo.analysis("residual")
    made = narrow(zoo.graph("residual"), analysis, empty_plan(analysis))
    assert all(layer.before == layer.after for layer in made.layers)
    assert widths.layer_lines(made) == ["Weights that change shape"]


def test_a_plan_for_another_network_is_refused() -> None:
    with pytest.raises(PlanError, match="make a plan for this network"):
        narrow(zoo.graph("chain"), zoo.analysis("chain"), zoo.half("residual"))


def test_parts_are_cut_until_none_holds_half_of_the_parameters() -> None:
    blocks = [(f"encoder.layers.{number}.mlp", 10) for number in range(6)]
    assert part_depth([("stem", 1), *blocks]) == 3
    assert part_depth([("a", 1), ("b", 1), ("c", 1)]) == 1
    many = [(f"encoder.layers.{number}.mlp", 10) for number in range(60)]
    assert part_depth(many) == 2  # a line for each of sixty layers says no more


@pytest.mark.parametrize("name", zoo.NAMES)
def test_lines_fit_in_eighty_columns_and_show_before_and_after(name: str) -> None:
    made = halved(name)
    lines = [
        *widths.width_lines(made, everything=True),
        *widths.layer_lines(made),
        *widths.contest_lines(made, everything=True),
        *widths.part_lines(made, zoo.half(name), everything=True),
    ]
    assert [line for line in lines if len(line) > 80 or not line.isascii()] == []
    for width in made.widths:
        assert any(f"{width.before} -> {width.after} " in line for line in lines)
