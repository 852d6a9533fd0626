"""The proof notices wrong cuts: of values, of constants, of couplings, of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.annotation import repeated
from compressor.graphs import Graph
from compressor.labels import Labels, Units
from compressor.planning import empty_plan, plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from compressor.rules import Call, registry
from compressor.types import Analysis, Plan, Proof
from tests import zoo
from tests.zoo import ZOO


def drawn(analysis: Analysis, seed: int = 0) -> Plan:
    """Something goes and something stays of every group."""
    generator = np.random.default_rng(seed)
    keep = [True]
    for group in analysis.groups:
        part = generator.random(group.units) < 0.6
        part[generator.permutation(group.units)[:2]] = (True, False)
        keep.extend(part.tolist())
    return plan_keeping(analysis, np.array(keep))


def proof_of(name: str, student: Graph) -> Proof:
    return prove(zoo.graph(name), student, zoo.analysis(name), zoo.half(name))


@pytest.mark.parametrize("name", ["chain", "shuffle", "heads_by_view", "tied"])
def test_two_swapped_rows_of_any_parameter_fail_and_are_named(name: str) -> None:
    for parameter in dict(zoo.student(name).named_parameters()):
        student = zoo.student(name).copy()
        with torch.no_grad():
            rows = student.get_parameter(parameter)
            rows[:2] = rows[[1, 0]].clone()
        proof = proof_of(name, student)
        assert not proof.passed
        assert proof.max_relative_error > 1e-6
        assert proof.first_wrong is not None
        assert parameter in proof.first_wrong


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_student_that_gives_no_number_fails(wrong: float) -> None:
    student = zoo.student("chain").copy()
    with torch.no_grad():
        student.get_parameter("head.bias")[0] = wrong
    proof = proof_of("chain", student)
    assert not proof.passed
    assert proof.max_relative_error == float("inf")


class Forbidden(nn.Module):
    """One of the classes is never the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)
        self.register_buffer("hidden", torch.tensor([0.0, float("-inf"), 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).exp()) + self.hidden


def test_what_is_infinite_in_both_networks_has_not_moved() -> None:
    graph = zoo.captured(zoo.randomised(Forbidden), (torch.randn(2, 6),))
    analysis = analyze(graph)
    chosen = drawn(analysis)
    proof = prove(graph, remove(graph, analysis, chosen), analysis, chosen)
    assert proof.passed, proof.first_wrong
    assert 0.0 < proof.moved < float("inf")


def test_a_constant_that_was_not_rewritten_fails_and_is_named() -> None:
    student = zoo.student("heads_by_view").copy()
    node = next(n for n in student.program.graph.nodes if "view" in str(n.target))
    node.args = (node.args[0], [*node.args[1][:2], 8, 8])
    student.program.recompile()
    proof = proof_of("heads_by_view", student)
    assert not proof.passed
    assert proof.max_relative_error == float("inf")
    assert proof.first_wrong is not None
    assert proof.first_wrong.startswith(node.name)
    assert "aten.view" in proof.first_wrong
    assert "tests/zoo_sequences.py:" in proof.first_wrong
    assert "cannot run" in proof.first_wrong


def test_a_lost_attention_scale_fails() -> None:
    student = zoo.student("heads_by_view").copy()
    node = next(n for n in student.program.graph.nodes if "attention" in str(n.target))
    assert node.kwargs["scale"] == 8**-0.5
    node.kwargs = {}
    student.program.recompile()
    assert not proof_of("heads_by_view", student).passed


def unchanged_but_for(analysis: Analysis, other: Analysis) -> bool:
    """Whether two analyses couple the same rows."""

    def couplings(of: Analysis) -> set[object]:
        return {
            (group.units, frozenset((m.parameter, m.dim, m.rows) for m in group.members))
            for group in of.groups
        }

    return couplings(analysis) == couplings(other)


def skipping(monkeypatch: pytest.MonkeyPatch, skipped: int) -> list[int]:
    """Make every analysis lose its k-th unification; counts how many there are."""
    original, calls = Units.unify, [0]

    def unify(self: Units, u: Labels, v: Labels, reason: int, depth: int = 0) -> None:
        if depth == 0:
            self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
            calls[0] = max(calls[0], self.__dict__["calls"])
            if self.__dict__["calls"] == skipped:
                return
        original(self, u, v, reason, depth)

    monkeypatch.setattr(Units, "unify", unify)
    return calls


def survives(name: str) -> bool:
    """Whether a cut made with broken labels passes for right; equal couplings are no break."""
    graph = zoo.graph(name)
    try:
        analysis = analyze(graph)
        if unchanged_but_for(analysis, zoo.analysis(name)):
            return False
        plans = [drawn(analysis, seed) for seed in (0, 1)]  # a dead unit may hide one difference
        return all(prove(graph, remove(graph, analysis, p), analysis, p).passed for p in plans)
    except Exception:
        return False  # noticed even before the proof


@pytest.mark.parametrize(
    "name",
    [
        "residual",
        "padded_shortcut",
        "heads_by_view",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("concat", "shuffle", "grouped", "attention", "gated_mlp", "layer_norm")
        ),
    ],
)
def test_a_forgotten_coupling_never_passes(name: str) -> None:
    zoo.analysis(name)
    with pytest.MonkeyPatch.context() as patch:
        calls = skipping(patch, 0)
        analyze(zoo.graph(name))
    survivors = []
    for number in range(1, calls[0] + 1):
        with pytest.MonkeyPatch.context() as patch:
            skipping(patch, number)
            if survives(name):
                survivors.append(number)
    assert calls[0] > 8
    assert not survivors


def shifted(answer: Any) -> Any:
    """The labels of the first labelled dimension moved by one row."""
    if answer and isinstance(answer[0], tuple):
        return (shifted(answer[0]), *answer[1:])
    dims = list(answer)
    place = next(i for i, labels in enumerate(dims) if labels is not None and len(labels) > 1)
    dims[place] = np.roll(dims[place], 1, axis=0)
    return tuple(dims)


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("chain", "aten.conv2d"),
        ("chain", "aten.batch_norm"),
        ("concat", "aten.cat"),
        ("padded_shortcut", "aten.pad"),
        ("split", "aten.split_with_sizes"),
        ("shuffle", "aten.view"),
        ("flatten", "aten.flatten"),
        ("transposed", "aten.conv_transpose2d"),
        ("gated_mlp", "aten.linear"),
        ("embedding", "aten.embedding"),
        ("layer_norm", "aten.layer_norm"),
        ("group_norm", "aten.group_norm"),
        ("squeeze_excite", "pointwise"),
        ("heads_by_view", "aten.scaled_dot_product_attention"),
        ("heads_by_view", "aten.transpose"),
        ("grouped_queries", "aten.expand"),
        ("explicit_attention", "aten.matmul"),
    ],
)
def test_labels_off_by_one_never_pass(
    name: str, operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.analysis(name)
    right = registry._RULES[operator]
    calls = []

    def wrong(call: Call) -> Any:
        calls.append(call)
        return shifted(right(call))

    monkeypatch.setitem(registry._RULES, operator, wrong)
    assert not survives(name)
    assert calls, f"{name} does not use {operator}"


def test_exact_and_inexact_groups_are_reported_apart() -> None:
    for name, exact, inexact in (("layer_norm", 1, 1), ("gated_mlp", 2, 0), ("group_norm", 2, 1)):
        graph, analysis = zoo.graph(name), zoo.analysis(name)
        chosen = drawn(analysis)
        proof = prove(graph, remove(graph, analysis, chosen), analysis, chosen)
        assert (proof.exact_groups, proof.inexact_groups) == (exact, inexact)
        assert (proof.inexact_nodes > 0) == (inexact > 0)
        assert proof.exact_error <= proof.max_relative_error < proof.tolerance


def test_groups_that_stay_whole_are_not_counted_and_nothing_moves() -> None:
    graph, analysis = zoo.graph("layer_norm"), zoo.analysis("layer_norm")
    nothing = empty_plan(analysis)
    proof = prove(graph, remove(graph, analysis, nothing), analysis, nothing)
    assert proof.passed
    assert (proof.exact_groups, proof.inexact_groups, proof.inexact_nodes) == (0, 0, 0)
    assert proof.moved < 1e-5  # of float32


def test_a_layer_norm_is_only_equal_when_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.proof import _Comparison

    graph, analysis = zoo.graph("layer_norm"), zoo.analysis("layer_norm")
    chosen = drawn(analysis)
    student = remove(graph, analysis, chosen)
    monkeypatch.setattr(_Comparison, "_is_inexact", lambda self, node: False)
    proof = prove(graph, student, analysis, chosen)
    assert not proof.passed
    assert "layer_norm" in str(proof.first_wrong)


def test_a_proof_leaves_the_students_mode_and_uses_evaluation() -> None:
    student = zoo.student("residual").copy().train()
    teacher = zoo.graph("residual").copy().train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    proof = prove(teacher, student, zoo.analysis("residual"), zoo.half("residual"))
    assert proof.passed
    assert student.training
    assert all(torch.equal(student.state_dict()[name], value) for name, value in before.items())


def test_other_seeds_prove_too() -> None:
    graph, analysis, chosen = zoo.graph("concat"), zoo.analysis("concat"), zoo.half("concat")
    proofs = [prove(graph, zoo.student("concat"), analysis, chosen, seed=seed) for seed in (0, 1)]
    assert all(proof.passed for proof in proofs)
    assert proofs[0].moved != proofs[1].moved


class WritesIntoItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.mul_(2.0)).exp())


def test_a_network_that_writes_into_its_input_is_proved() -> None:
    network = zoo.randomised(WritesIntoItsInput)
    for dtype in (torch.float32, torch.float64):
        graph = zoo.captured(network.to(dtype), (torch.randn(2, 6, dtype=dtype),))
        analysis = analyze(graph)
        chosen = drawn(analysis)
        proof = prove(graph, remove(graph, analysis, chosen), analysis, chosen)
        assert proof.passed, proof.first_wrong


HEADS = np.array([True, False, True, True])
Pattern = Callable[[int], NDArray[np.bool_]]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda batch: np.tile(HEADS, batch), id="batch_x_heads"),
        pytest.param(lambda batch: np.repeat(HEADS, batch), id="heads_x_batch"),
    ],
)
def test_rows_known_at_the_hint_fit_the_batch_that_runs(
    rows: Pattern,
) -> None:
    known = rows(13)
    assert np.array_equal(known[repeated(known, {13: 2})], rows(2))
    assert np.array_equal(known[repeated(known, {13: 13})], known)
    assert np.array_equal(HEADS[repeated(HEADS, {13: 2})], HEADS)


def test_rows_of_two_free_sizes_fit_both() -> None:
    known = np.repeat(np.tile(HEADS, 13), 17)
    assert np.array_equal(known[repeated(known, {13: 2, 17: 6})], np.repeat(np.tile(HEADS, 2), 6))
    known = np.tile(np.repeat(HEADS, 17), 13)
    assert np.array_equal(known[repeated(known, {13: 1, 17: 3})], np.repeat(HEADS, 3))


def test_a_specimen_is_not_trivially_zero() -> None:
    for name in ZOO:
        outputs = zoo.graph(name)(*ZOO[name].inputs())
        assert float(outputs.detach().abs().max()) > 1e-3
