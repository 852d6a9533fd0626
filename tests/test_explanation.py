"""What people ask of an analysis, on the zoo: kinds, who moves with whom, what stays and why."""

from __future__ import annotations

from functools import cache
from math import prod

import msgspec
import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.errors import OptionError
from compressor.explanation import Explanation, document, explain, find, layer_of
from compressor.labelling import label
from compressor.tables import answers
from compressor.types import Analysis
from tests import zoo


@cache
def explanation(name: str) -> Explanation:
    return explain(zoo.graph(name), label(zoo.graph(name)), zoo.analysis(name))


def explained(network: nn.Module, *inputs: Tensor) -> Explanation:
    graph = zoo.captured(network, inputs)
    return explain(graph, label(graph), analyze(graph))


KINDS = {
    "chain": {"channels"},
    "residual": {"residual width", "channels"},
    "grouped": {"convolution groups", "channels per group"},
    "heads_by_view": {"heads", "query/key width", "value width"},
    "explicit_attention": {"heads"},
    "embedding": {"embedding width", "MLP width"},
    "lstm": {"recurrent width", "channels"},
    "gru": {"recurrent width", "channels"},
    "gated_mlp": {"residual width", "MLP width"},
    "layer_norm": {"residual width", "MLP width"},
}


@pytest.mark.parametrize("name", KINDS)
def test_operators_tell_what_a_groups_units_are(name: str) -> None:
    kinds = {group.kind for group in explanation(name).groups}
    assert KINDS[name] <= kinds
    if name != "explicit_attention":  # its widths depend on how far q, k and v are taken apart
        assert kinds == KINDS[name]


def test_kinds_do_not_hang_on_names() -> None:
    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.mlp = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.mlp(torch.relu(self.heads(x)))

    found = explained(Renamed(), torch.randn(2, 3, 8, 8))
    assert [group.kind for group in found.groups] == ["channels"]


def test_parameters_that_nothing_computes_with_are_called_unused() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.left_over = nn.Linear(6, 4), nn.Linear(9, 7)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    found = explained(Dead(), torch.randn(2, 6))
    assert {group.kind for group in found.groups} <= {"unused"}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_groups_come_largest_first_and_hold_the_analysis(name: str) -> None:
    found, analysis = explanation(name), zoo.analysis(name)
    sizes = [group.parameters for group in found.groups]
    assert sizes == sorted(sizes, reverse=True)
    assert all(0 < size <= analysis.model.parameters for size in sizes)
    by_id = {group.id: group for group in found.groups}
    for group in analysis.groups:
        assert set(by_id[group.id].layers) == {layer_of(m.parameter) for m in group.members}
    assert len({(group.name, group.kind) for group in found.groups}) == len(found.groups)


def test_parameters_of_a_group_are_the_elements_in_its_rows() -> None:
    # stem writes 16 channels into conv1, conv2 and head; conv1's 12 are its own
    (stem,) = [group for group in explanation("residual").groups if group.name == "stem"]
    weights = dict(zoo.graph("residual").named_parameters())
    touched = sum(
        weights[name].numel() for name in weights if not name.startswith(("bn1", "head.bias"))
    )
    inner = weights["conv1.bias"].numel() if "conv1.bias" in weights else 0
    assert stem.parameters == touched - inner


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_row_is_in_a_group_or_stays_for_a_reason(name: str) -> None:
    for parameter in explanation(name).parameters:
        for side in parameter.sides:
            free = side.size - sum(stay.rows for stay in side.stays)
            rows = [share.rows for share in side.shares]
            assert max(rows, default=0) <= free <= sum(rows)
            assert all(stay.reason for stay in side.stays)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_reasons_cost_what_the_analysis_says(name: str) -> None:
    told: dict[tuple[str, str], int] = {}
    for parameter in explanation(name).parameters:
        for side in parameter.sides:
            for stay in side.stays if parameter.trained else ():
                key = (stay.node, stay.reason)
                others = prod(parameter.shape) // side.size
                told[key] = told.get(key, 0) + stay.rows * others
    for facts in explanation(name).frozen:
        if facts.entry.parameters and facts.entry.node:
            assert told[facts.entry.node, facts.entry.reason] == facts.entry.parameters
            assert facts.held


def test_inputs_and_outputs_are_placed_at_the_call_beside_them() -> None:
    found = {facts.entry.reason: facts.entry for facts in explanation("chain").frozen}
    assert found["is the network's output"].where == "head"
    assert found["is the network's input"].where == "conv1"
    assert all("zoo_images.py:" in entry.source for entry in found.values())


def test_an_operator_without_a_rule_is_named_with_its_line_and_what_it_holds() -> None:
    lines = answers.frozen_lines(explanation("unknown"), everything=False)
    text = "\n".join(lines)
    assert "no rule is known for this operator" in text
    assert "aten.cumprod.default" in text
    assert "zoo_images.py:" in text
    assert "conv2.weight, conv3.weight" in text


def test_a_layer_is_found_by_its_path_and_parameters_below_it() -> None:
    found = explanation("residual")
    assert [p.name for p in find(found, "conv1.weight")] == ["conv1.weight"]
    assert {p.name.split(".")[0] for p in find(found, "bn1")} == {"bn1"}


def test_a_tied_parameter_is_found_under_both_names() -> None:
    found = explanation("tied")
    (tied,) = [p for p in found.parameters if p.aliases]
    for name in (tied.name, *tied.aliases):
        assert tied in find(found, name)


def test_an_unknown_layer_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(OptionError, match=r"conv9.*the nearest: .*conv"):
        find(explanation("residual"), "conv9")
    with pytest.raises(OptionError, match="con: no such"):
        find(explanation("residual"), "con")  # the beginning of a name is not a path


def test_one_layer_is_told_who_moves_with_it_and_why_it_stays() -> None:
    found = explanation("residual")
    text = "\n".join(answers.parameter_lines(found, find(found, "head"), everything=False))
    assert "stays, is the network's output" in text
    assert "reads group stem (residual width, 16 units, exact)" in text
    assert "moves with stem, conv2" in text


def test_document_is_the_analysis_with_answers_added() -> None:
    analysis = zoo.analysis("residual")
    found = document(analysis, explanation("residual"))
    assert msgspec.convert(found, Analysis, strict=False) == analysis
    assert found["groups"][0]["kind"] == "residual width"
    assert found["frozen"][0]["held"]
    asked = find(explanation("residual"), "conv1")
    named = document(analysis, explanation("residual"), asked)["layers"]
    assert [entry["name"] for entry in named] == [p.name for p in asked]


# -- lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.NAMES)
def test_answers_fit_in_eighty_columns(name: str) -> None:
    found = explanation(name)
    for everything in (False, True):
        lines = [
            *answers.group_lines(found, everything=everything),
            *answers.frozen_lines(found, everything=everything),
            *answers.parameter_lines(found, found.parameters, everything=everything),
        ]
        assert [line for line in lines if len(line) > 80] == []
        assert all(line.isascii() and line.isprintable() for line in lines)


def test_groups_that_differ_by_a_number_are_shown_once_unless_all_are_asked_for() -> None:
    blocks = [
        layer
        for _ in range(20)
        for layer in (nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
    ]
    found = explained(nn.Sequential(*blocks), torch.randn(2, 16))
    short = answers.group_lines(found, everything=False)
    long = answers.group_lines(found, everything=True)
    assert f"--all lists each of the {len(found.groups)}" in short[-1]
    assert len(short) < 50 < len(long)
    assert sum("MLP width" in line for line in long) == len(found.groups)


def test_share_is_rounded_down_so_that_only_the_whole_is_called_whole() -> None:
    from compressor.tables.text import percent

    assert (percent(0.999988), percent(1.0), percent(0.5)) == ("99.99 %", "100.00 %", "50.00 %")
