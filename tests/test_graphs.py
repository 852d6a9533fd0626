"""Capturing: the program is the network, with names, modes, a free batch and reduced paths."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.analysis import analyze
from compressor.errors import CaptureError
from compressor.graphs import Graph, capture, export_program, graph_from_program, source_line
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import remove
from tests import zoo
from tests.old_torch import OLD
from tests.zoo import NAMES, ZOO


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_answers_as_the_network_under_the_same_names(name: str) -> None:
    network, graph = ZOO[name].build(), zoo.graph(name)
    for batch in (1, 3):
        inputs = ZOO[name].inputs(batch, seed=batch)
        with torch.no_grad():
            torch.testing.assert_close(graph(*inputs), network(*inputs))
    named = dict(network.named_parameters(remove_duplicate=False))
    assert dict(graph.named_parameters(remove_duplicate=False)).keys() == named.keys()
    missing = network.state_dict().keys() - graph.state_dict().keys()
    assert all(key.endswith("num_batches_tracked") for key in missing)


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_training_mode_is_the_networks_training_mode(name: str) -> None:
    network, graph = ZOO[name].build(), zoo.graph(name).copy()
    for mode in (True, False):
        network.train(mode)
        assert graph.train(mode) is graph
        assert graph.training is mode
        inputs = ZOO[name].inputs(4, seed=3)
        torch.testing.assert_close(graph(*inputs), network(*inputs))
        running = {k: v for k, v in graph.named_buffers() if not k.endswith("batches_tracked")}
        assert len(running) > 3
        for key, value in running.items():
            torch.testing.assert_close(value, network.get_buffer(key))


class Noisy(nn.Module):
    """Dropout that follows the mode, and statistics that are always the batch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(6, 16), nn.Dropout(0.5), nn.Linear(16, 4)

    def forward(self, x: Tensor, *, shift: Tensor) -> dict[str, Tensor]:
        hidden = F.batch_norm(self.first(x), None, None, training=True)
        features = hidden.exp()
        return {"logits": self.last(self.drop(hidden) + shift), "features": features}


def noisy() -> tuple[Graph, Noisy, Tensor, Tensor]:
    network = Noisy().eval()
    x, shift = torch.randn(3, 6), torch.randn(3, 16)
    return capture(network, (x,), {"shift": shift}), network, x, shift


def test_keyword_inputs_and_named_outputs_pass_through() -> None:
    graph, network, x, shift = noisy()
    assert graph.input_names == ("x", "shift")
    answer, expected = graph(x, shift=shift), network(x, shift=shift)
    assert answer.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(answer[key], value)


class Called(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)

    def through(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


class WithSettings(Called):
    def forward(
        self, x: Tensor, times: int, flag: bool = False, extra: None = None, *, scale: Tensor
    ) -> Tensor:
        return self.through(x) * (times + flag) * scale


class WithContainers(Called):
    def forward(self, *pair: Tensor, more: dict[str, Tensor], **others: Tensor) -> Tensor:
        return self.through(pair[0] + pair[1] * more["a"]) + others["b"].sum(1, keepdim=True)


HERE = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("network", "args", "kwargs"),
    [
        (WithSettings, (HERE, 2), {"flag": True, "extra": None, "scale": torch.tensor(2.0)}),
        pytest.param(
            WithContainers,
            (HERE, HERE + 1),
            {"more": {"a": HERE}, "b": HERE},
            marks=pytest.mark.skipif(OLD, reason="this torch cannot export keywords of containers"),
        ),
    ],
)
def test_inputs_of_any_form_are_passed_as_they_were(
    network: type[nn.Module], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    module = network()
    graph = capture(module, args, kwargs)
    torch.testing.assert_close(graph(*args, **kwargs), module(*args, **kwargs))
    analysis = analyze(graph)
    chosen = plan_keeping(analysis, np.array([True, *[True, False] * 8]))
    student = remove(graph, analysis, chosen)
    proof = prove(graph, student, analysis, chosen)
    assert proof.passed, proof.first_wrong
    again = graph_from_program(export_program(student))
    assert torch.equal(again(*args, **kwargs), student(*args, **kwargs))
    assert again.free == graph.free


class Named(nn.Module):
    """Its one part bears the name that it is given."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.Linear(6, 16))

    def forward(self, x: Tensor) -> Tensor:
        (part,) = self._modules.values()
        return part(x)  # type: ignore[no-any-return,misc]


@pytest.mark.parametrize("name", ["program", "sizes", "notes", "kept", "example_inputs"])
def test_parts_may_bear_the_names_of_a_graphs_own_attributes(name: str) -> None:
    network = Named(name)
    graph = capture(network, (HERE,))
    assert graph.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(graph.copy()(HERE), network(HERE))


@pytest.mark.parametrize("name", ["meta", "graph", "code"])
def test_parts_with_names_that_torch_takes_for_itself_are_told(name: str) -> None:
    with pytest.raises(CaptureError, match=f"called '{name}', .*; rename that submodule"):
        capture(Named(name), (HERE,))
    exported = torch.export.export(Named(name), (HERE,))
    with pytest.raises(CaptureError, match=f"called '{name}', .*; rename that submodule"):
        graph_from_program(exported)


def test_only_what_evaluation_switched_off_follows_the_mode() -> None:
    graph, _, x, shift = noisy()
    quiet = graph(x, shift=shift)
    graph.train()
    assert not torch.equal(graph(x, shift=shift)["logits"], quiet["logits"])
    assert torch.equal(graph(x, shift=shift)["features"], quiet["features"])
    graph.eval()
    assert torch.equal(graph(x, shift=shift)["logits"], quiet["logits"])


@pytest.mark.parametrize("copied", [Graph.copy, copy.deepcopy])
def test_copies_share_nothing(copied: Callable[[Graph], Graph]) -> None:
    graph = zoo.graph("tied")
    other = copied(graph)
    assert other.fingerprint == graph.fingerprint
    own = {tensor.data_ptr() for tensor in graph.tensors.values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in other.tensors.values())
    other.train()
    assert not graph.training


def test_observed_nodes_come_beside_the_answer_and_share_parameters() -> None:
    graph = zoo.graph("residual").copy()
    names = [n.name for n in graph.program.graph.nodes if "relu" in str(n.target)]
    forward = graph.observe(names[:2])
    inputs = ZOO["residual"].inputs()
    answer, values = forward(*inputs)
    assert torch.equal(answer, graph(*inputs))
    assert [tuple(value.shape) for value in values] == [(2, 16, 8, 8), (2, 12, 8, 8)]
    answer.sum().backward()
    assert graph.get_parameter("stem.weight").grad is not None


@pytest.mark.parametrize("name", NAMES)
def test_nodes_carry_shape_place_and_reduced_source(name: str) -> None:
    graph = zoo.graph(name)
    calls = [node for node in graph.program.graph.nodes if node.op == "call_function"]
    assert all(set(node.meta) <= {"shape", "where", "source", "follows_mode"} for node in calls)
    assert all(not node.meta["source"].startswith("/") for node in calls)
    assert any(node.meta["source"].startswith("tests/zoo_") for node in calls)
    assert {node.meta["where"] for node in calls} - {""}
    sizes = [size for tensor in graph.tensors.values() for size in tensor.shape]
    assert all(size % graph.batch_hint for size in sizes)


def test_chunk_and_split_are_written_with_their_sizes() -> None:
    targets = {str(node.target) for node in zoo.graph("shuffle").program.graph.nodes}
    assert "aten.split_with_sizes.default" in targets
    assert "aten.chunk.default" not in targets


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ('  File "/home/me/work/nets/block.py", line 7, in forward\n    x', "nets/block.py:7"),
        (
            '  File "/x/lib/python3.11/site-packages/torchvision/models/resnet.py", line 92, in f\n'
            '  File "/x/lib/python3.11/site-packages/torch/nn/modules/conv.py", line 5, in g\n',
            "torchvision/models/resnet.py:92",
        ),
        ("", ""),
    ],
)
def test_source_lines_name_package_and_file_only(trace: str, expected: str) -> None:
    assert source_line(trace) == expected


def test_the_fingerprint_is_of_structure_not_of_values() -> None:
    graph = zoo.graph("chain").copy()
    with torch.no_grad():
        graph.get_parameter("conv1.weight").zero_()
    assert graph.fingerprint == zoo.graph("chain").fingerprint
    assert graph.copy().train().fingerprint == graph.fingerprint
    assert zoo.student("chain").fingerprint != graph.fingerprint
    assert zoo.graph("residual").fingerprint != graph.fingerprint


@pytest.mark.parametrize("name", ["split", "heads_by_view", "tied"])
def test_a_student_goes_through_an_exported_program_unchanged(name: str) -> None:
    student = zoo.student(name).copy().train()
    program = export_program(student)
    assert student.training
    inputs = ZOO[name].inputs(5, seed=2)
    expected = zoo.student(name)(*inputs)
    assert torch.equal(program.module()(*inputs), expected)
    assert program.example_inputs is not None
    assert not any(x.any() for x in program.example_inputs[0])
    traces = [node.meta.get("stack_trace") or "" for node in program.graph.nodes]
    assert any("tests/zoo_" in trace for trace in traces)
    assert not any('"/' in trace for trace in traces)
    again = graph_from_program(program)
    assert torch.equal(again(*inputs), expected)
    assert [n.name for n in again.program.graph.nodes if n.op == "call_function"] == [
        n.name for n in student.program.graph.nodes if n.op == "call_function"
    ]


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + torch.ones(2, 6))


class Branching(FixedBatch):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (FixedBatch, "its batch size is fixed.*capture it with a batch of 2"),
        (Branching, "torch.export cannot capture"),
    ],
)
def test_what_cannot_be_captured_is_refused_in_one_line(
    network: type[nn.Module], message: str
) -> None:
    module = network().train()
    with pytest.raises(CaptureError, match=message) as told:
        capture(module, (torch.randn(2, 6),))
    assert "\n" not in str(told.value)
    assert module.training


def test_a_program_of_one_batch_is_told_to_be_exported_with_a_free_one() -> None:
    program = torch.export.export(nn.Linear(6, 4), (torch.randn(2, 6),))
    with pytest.raises(CaptureError, match=r"its batch size is fixed.*with dynamic_shapes"):
        graph_from_program(program)


class Sharing(nn.Module):
    """A decoder that is the encoder turned, as a view of its memory or as the same tensor."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        if how == "view":
            self.two.weight = nn.Parameter(self.one.weight.data.t())
        elif how == "tied":
            self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x).relu())


@pytest.mark.parametrize(("how", "count"), [("view", 1), ("tied", 0), ("apart", 0)])
def test_views_of_one_memory_that_are_parted_are_told(how: str, count: int) -> None:
    graph = capture(Sharing(how).eval(), (torch.zeros(2, 6),))
    told = [note for note in graph.notes if "share memory" in note]
    assert len(told) == count
    assert all("one.weight and two.weight" in note for note in told)
