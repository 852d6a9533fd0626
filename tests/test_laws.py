"""The laws, each over the whole zoo."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.analysis import analyze
from compressor.errors import PlanError
from compressor.graphs import Graph, capture, export_program
from compressor.planning import empty_plan, plan, plan_keeping
from compressor.proof import prove
from compressor.removal import mask, remove
from compressor.scoring import score
from compressor.types import Analysis, Plan, Scores
from export.descriptions import Description
from export.onnx_files import write_onnx
from tests import zoo
from tests.old_torch import require_counted
from tests.zoo import HALF, NAMES, ZOO

EXACT = tuple(name for name in NAMES if ZOO[name].exact)


def drawn_scores(analysis: Analysis, seed: int) -> Scores:
    draw = np.random.default_rng(seed).random
    values = tuple(tuple(draw(group.units).tolist()) for group in analysis.groups)
    return Scores(criterion="drawn", fingerprint=analysis.fingerprint, values=values)


def drawn_plan(analysis: Analysis, seed: int) -> Plan:
    return plan(analysis, drawn_scores(analysis, seed), HALF)


def extreme_plans(analysis: Analysis) -> Iterator[Plan]:
    """One unit left in every group: the first, the last; and all but one unit left."""
    for place, keeps in ((0, True), (-1, True), (0, False)):
        parts = []
        for group in analysis.groups:
            part = np.full(group.units, not keeps)
            part[place] = keeps
            parts.append(part)
        yield plan_keeping(analysis, np.concatenate([np.ones(1, dtype=bool), *parts]))


def drawn_subset(analysis: Analysis, seed: int) -> Plan:
    """Every unit stays or goes by the toss of a coin; one of each group stays."""
    generator = np.random.default_rng(seed)
    keep = [True]
    for group in analysis.groups:
        part = generator.random(group.units) < 0.5
        part[generator.integers(group.units)] = True
        keep.extend(part.tolist())
    return plan_keeping(analysis, np.array(keep))


def run_in_double(graph: Graph, inputs: tuple[Tensor, ...]) -> Tensor:
    real = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    with torch.no_grad():
        return zoo.in_double(graph)(*real)


@pytest.mark.parametrize("name", NAMES)
def test_masked_equals_removed(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    for chosen in (drawn_plan(analysis, 1), drawn_subset(analysis, 2), *extreme_plans(analysis)):
        proof = prove(graph, remove(graph, analysis, chosen), analysis, chosen)
        assert proof.passed, proof.first_wrong
        assert proof.max_relative_error < 1e-12
        assert proof.nodes_compared > 5
        assert proof.moved > 1e-6, "a proof on a network that does not move proves nothing"


@pytest.mark.parametrize("name", EXACT)
def test_zeroing_equals_removing_in_exact_networks(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    assert all(group.exact for group in analysis.groups)
    chosen, inputs = drawn_subset(analysis, 3), ZOO[name].inputs(seed=4)
    masked = run_in_double(mask(graph, analysis, chosen), inputs)
    removed = run_in_double(remove(graph, analysis, chosen), inputs)
    assert float((masked - removed).abs().max()) <= 1e-12 * max(1.0, float(masked.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_empty_plan_is_the_identity(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    nothing = empty_plan(analysis)
    same, inputs = remove(graph, analysis, nothing), ZOO[name].inputs(seed=5)
    assert torch.equal(same(*inputs), graph(*inputs))
    assert torch.equal(mask(graph, analysis, nothing)(*inputs), graph(*inputs))
    assert parameter_count(same) == parameter_count(graph)
    assert nothing.before == nothing.after
    assert not same.kept
    assert same.fingerprint == graph.fingerprint


def parameter_count(graph: nn.Module) -> int:
    return sum(parameter.numel() for parameter in graph.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_predicted_cost_equals_counted_cost(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    assert analysis.model.parameters == parameter_count(graph)
    narrowest = next(extreme_plans(analysis))
    for chosen in (drawn_plan(analysis, 1), drawn_subset(analysis, 6), narrowest):
        student = remove(graph, analysis, chosen)
        facts = analyze(student).model
        assert chosen.after.params == parameter_count(student) == facts.parameters
        assert chosen.after.macs == facts.macs


# torch's counter has no formula for the fused LSTM
@pytest.mark.parametrize("name", [name for name in NAMES if name != "lstm"])
def test_macs_agree_with_torchs_own_counter(name: str) -> None:
    for graph, macs in (
        (zoo.graph(name), zoo.analysis(name).model.macs),
        (zoo.student(name), zoo.half(name).after.macs),
    ):
        require_counted(graph)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            graph(*ZOO[name].inputs(batch=3))
        assert counter.get_total_flops() == 2 * 3 * macs


def values_of(graph: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in graph.state_dict().items()}


def assert_values(graph: nn.Module, before: dict[str, Tensor]) -> None:
    after = graph.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("name", ["chain", "shuffle", "tied", "attention"])
def test_capture_leaves_the_network_as_it_was(name: str) -> None:
    network = ZOO[name].build().train()
    before = values_of(network)
    graph = capture(network, ZOO[name].inputs())
    step(graph.train(), name)
    assert network.training
    assert_values(network, before)


@pytest.mark.parametrize("name", NAMES)
def test_no_stage_changes_its_input(name: str) -> None:
    graph = zoo.graph(name).copy()
    before, fingerprint = values_of(graph), graph.fingerprint
    code = graph.program.code
    analysis = analyze(graph)
    chosen = plan(analysis, score(graph, analysis), HALF)
    masked, student = mask(graph, analysis, chosen), remove(graph, analysis, chosen)
    prove(graph, student, analysis, chosen)
    cut = values_of(student)
    step(masked.train(), name)
    assert_values(student, cut)
    step(student.train(), name)
    assert_values(graph, before)
    assert graph.fingerprint == fingerprint
    assert graph.program.code == code
    assert not graph.training


@pytest.mark.parametrize("name", NAMES)
def test_values_between_stages_survive_json(name: str) -> None:
    analysis, scores, chosen = zoo.analysis(name), zoo.scores(name), zoo.half(name)
    proof = prove(zoo.graph(name), zoo.student(name), analysis, chosen)
    for value in (analysis, scores, chosen, proof):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
    again = msgspec.json.decode(msgspec.json.encode(chosen), type=Plan)
    student = remove(zoo.graph(name), analysis, again)
    assert_values(student, values_of(zoo.student(name)))


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_plan(name: str) -> None:
    graph = zoo.graph(name).copy()
    analysis = analyze(graph)
    assert analysis == zoo.analysis(name)
    assert score(graph, analysis) == zoo.scores(name)
    assert drawn_plan(analysis, 1) == drawn_plan(zoo.analysis(name), 1)


def step(graph: Graph, name: str) -> float:
    """One step of gradient descent on the mean square of the answer."""
    optimiser = torch.optim.SGD(graph.parameters(), lr=0.01)
    answer = graph(*ZOO[name].inputs(batch=4, seed=7))
    loss = answer.square().mean()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


@pytest.mark.parametrize("name", NAMES)
def test_a_student_trains_a_step_and_runs_at_other_batches(name: str) -> None:
    student = zoo.student(name).copy()
    before = values_of(student)
    statistics = [key for key in before if key.endswith(("running_mean", "running_var"))]
    assert np.isfinite(step(student.train(), name))
    after = student.state_dict()
    assert any(not torch.equal(after[key], before[key]) for key in dict(student.named_parameters()))
    assert all(not torch.equal(after[key], before[key]) for key in statistics)
    student.eval()
    inputs = ZOO[name].inputs(batch=5)
    with torch.no_grad():
        whole = student(*inputs)
        for batch in (1, 2):
            part = student(*(x[:batch] for x in inputs))
            torch.testing.assert_close(part, whole[:batch], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(whole).all()


def tensor_nodes(graph: Graph) -> list[fx.Node]:
    return [
        node
        for node in graph.program.graph.nodes
        if node.op in ("call_function", "get_attr", "placeholder")
        and isinstance(node.meta.get("shape"), tuple)
        and all(isinstance(size, int) for size in node.meta["shape"])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_predicted_shapes_are_the_actual_ones(name: str) -> None:
    for graph in (zoo.graph(name), zoo.student(name)):
        nodes = tensor_nodes(graph)
        watched = graph.observe([node.name for node in nodes])
        with torch.no_grad():
            _, values = watched(*zoo.at_hints(graph, ZOO[name].inputs()))
        assert {node.name: node.meta["shape"] for node in nodes} == {
            node.name: tuple(value.shape) for node, value in zip(nodes, values, strict=True)
        }


@pytest.mark.parametrize("name", NAMES)
def test_a_student_knows_which_rows_of_every_node_it_kept(name: str) -> None:
    teacher, student = zoo.graph(name), zoo.student(name)
    shapes = {node.name: node.meta["shape"] for node in tensor_nodes(student)}
    whole = {node.name: node.meta["shape"] for node in tensor_nodes(teacher)}
    assert student.kept
    for node, dims in student.kept.items():
        for dim, rows in dims.items():
            assert len(rows) == shapes[node][dim] < whole[node][dim]
            assert sorted(set(rows)) == list(rows)
            assert rows[-1] < whole[node][dim]
    untouched = shapes.keys() - student.kept.keys()
    assert all(shapes[node] == whole[node] for node in untouched & whole.keys())


@pytest.mark.parametrize("name", NAMES)
def test_a_student_can_be_cut_again(name: str) -> None:
    student = zoo.student(name)
    analysis = analyze(student)
    again = drawn_subset(analysis, 8)
    smaller = remove(student, analysis, again)
    proof = prove(student, smaller, analysis, again)
    assert proof.passed, proof.first_wrong
    assert proof.max_relative_error < 1e-12
    assert parameter_count(smaller) == again.after.params < parameter_count(student)


def renamed(graph: Graph) -> Graph:
    """The same graph with other names for all nodes and parameters."""
    program, tensors = copy.deepcopy(graph.program.graph), {}
    for number, node in enumerate(program.nodes):
        node.meta["where"] = f"other.{node.meta.get('where', '')}"
        if node.op == "get_attr":
            path = f"zz{97 - number}.inner.{str(node.target).rpartition('.')[2]}"
            tensors[path] = graph.tensors[str(node.target)]
            node.target = path
        if node.op == "call_function":
            node._rename(f"anything_{number}")
    return graph.rebuild(program, tensors)


@pytest.mark.parametrize("name", NAMES)
def test_renaming_changes_no_cut(name: str) -> None:
    graph = renamed(zoo.graph(name))
    analysis = analyze(graph)
    assert analysis.fingerprint != zoo.analysis(name).fingerprint
    chosen = plan(analysis, score(graph, analysis), HALF)
    assert [group.kept for group in chosen.groups] == [
        group.kept for group in zoo.half(name).groups
    ]
    inputs = ZOO[name].inputs(seed=9)
    student = remove(graph, analysis, chosen)
    assert torch.equal(student(*inputs), zoo.student(name)(*inputs))


ONNX_NOW = ("padded_shortcut", "heads_by_view", "shuffle")


@pytest.mark.parametrize(
    "name",
    [
        name if name in ONNX_NOW else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
        if name != "unknown"  # the exporter has no operator for it either
    ],
)
def test_onnx_agrees_with_torch(name: str, tmp_path: Path) -> None:
    student = zoo.student(name)
    description = Description(architecture=name, tool_version="0")
    written = write_onnx(export_program(student), tmp_path / "student.onnx", description)
    session = onnxruntime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        inputs = ZOO[name].inputs(batch, seed=batch)
        feed = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
        (answer,) = session.run(None, feed)
        with torch.no_grad():
            expected = student(*inputs)
        torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=1e-4, atol=1e-5)


def test_a_network_inside_another_is_cut_alike() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv9 = ZOO["residual"].build()

        def forward(self, x: Tensor) -> Tensor:
            return self.conv9(x)

    graph = zoo.captured(Outer(), ZOO["residual"].inputs())
    analysis = analyze(graph)
    chosen = plan(analysis, score(graph, analysis), HALF)
    assert [group.kept for group in chosen.groups] == [
        group.kept for group in zoo.half("residual").groups
    ]
    assert analysis.groups[0].name == "conv9.stem"


@pytest.mark.parametrize(("name", "other"), [("chain", "residual"), ("tied", "embedding")])
def test_a_plan_for_another_structure_is_refused(name: str, other: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    for call in (mask, remove):
        with pytest.raises(PlanError, match="another structure"):
            call(graph, analysis, zoo.half(other))
        with pytest.raises(PlanError, match="another structure"):
            call(graph, zoo.analysis(other), zoo.half(other))
    with pytest.raises(PlanError, match="another structure"):
        prove(graph, zoo.student(name), analysis, zoo.half(other))
    with pytest.raises(PlanError, match="another structure"):
        score(graph, zoo.analysis(other))
    with pytest.raises(PlanError, match="another structure"):
        remove(zoo.student(name), analysis, zoo.half(name))


def test_a_plan_for_other_weights_of_the_same_structure_is_taken() -> None:
    network, specimen = ZOO["shuffle"].build(seed=1), ZOO["shuffle"]
    graph = zoo.captured(network, specimen.inputs())
    assert graph.fingerprint == zoo.graph("shuffle").fingerprint
    analysis, chosen = zoo.analysis("shuffle"), zoo.half("shuffle")
    student = remove(graph, analysis, chosen)
    assert parameter_count(student) == chosen.after.params
    assert prove(graph, student, analysis, chosen).passed


def test_an_unknown_operator_freezes_what_it_touches_and_is_named() -> None:
    analysis = zoo.analysis("unknown")
    told = [entry for entry in analysis.frozen if "cumprod" in entry.op]
    assert len(told) == 1
    assert told[0].op == "aten.cumprod.default"
    assert told[0].reason.startswith("no rule is known")
    assert told[0].source.startswith("tests/zoo_images.py:")
    assert told[0].parameters == 12 * 16 * 9 + 16 * 12 * 9
    cut = {(m.parameter, m.dim) for group in analysis.groups for m in group.members}
    assert ("conv2.weight", 0) not in cut
    assert ("conv3.weight", 1) not in cut
    assert {("conv2.weight", 1), ("conv3.weight", 0)} <= cut
